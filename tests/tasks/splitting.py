"""Splits of tiny logs, written as the step writes them, without its judge."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from tasks.split.audit.check import violations
from tasks.split.audit.claim import Claim
from tasks.split.config import Positives, SplitConfig
from tasks.split.task import Pairs, read_given, write_split
from tasks.store.refs import DatasetRef, SplitRefs
from tasks.store.store import Store, Writer
from tests.factories import make_snapshot, tiny_log

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Written:
    store: Store
    parts: dict[str, DatasetRef]
    claim: Claim
    pairs: Pairs
    tables: dict[str, pa.Table]

    def raw(self, name: str) -> Rows:
        """A part's rows as raw pairs of text, in their order."""
        rows = self.tables[name]
        if name == "test":
            return list(zip(rows["user_id"].to_pylist(), rows["item_id"].to_pylist(), strict=True))
        users, items = (self.tables[f"{one}s"][f"{one}_id"].to_pylist() for one in ("user", "item"))
        indices = zip(rows["user_idx"].to_pylist(), rows["item_idx"].to_pylist(), strict=True)
        return [(str(users[user]), str(items[item])) for user, item in indices]

    def violations(self) -> dict[str, int]:
        """What the audit finds, by fact."""
        return violations(self.store, self.parts, self.claim, self.pairs.judged)

    def refs(self) -> SplitRefs:
        claim, keeps = self.claim, self.claim.config.repeats == "keep"
        fields: dict[str, Any] = {**self.parts, "weighted": bool(claim.positives.events)}
        return SplitRefs("tiny", "key", claim.protocol, keeps, claim.snapshot, **fields)


def write(
    store: Store,
    *files: pa.Table,
    positives: Positives | None = None,
    candidates: str | None = None,
    features: dict[str, pa.Table] | None = None,
    **config: Any,
) -> Written:
    """Splits these partitions into a folder of the store."""
    chosen = SplitConfig(**config)
    writer = Writer(store.path("prepared/split"), "prepared/split")
    writer.folder.mkdir(parents=True, exist_ok=True)
    snapshot = make_snapshot(store, *files, **(features or {}))
    pairs = read_given(chosen, candidates) if chosen.protocol == "given" else Pairs()
    parts, claim = write_split(store, writer, snapshot, chosen, positives or Positives(), pairs)
    return Written(store, parts, claim, pairs, {name: store.read(ref) for name, ref in parts.items()})


def split_of(*rows: tuple[object, ...], **options: Any) -> Written:
    """The same of one tiny log, somewhere that is gone afterwards: its tables stay."""
    with TemporaryDirectory() as folder:
        return write(Store(Path(folder)), tiny_log(*rows), **options)


def parts_of(*rows: tuple[object, ...], **options: Any) -> dict[str, Rows]:
    """Each part's raw pairs."""
    made = split_of(*rows, **options)
    return {name: made.raw(name) for name in ("train", "valid", "test")}
