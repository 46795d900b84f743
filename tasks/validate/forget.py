"""Taking a user out of the lake: partitions, snapshots and the ledger are written anew without the user's rows.

First what is new, under its own names; then the ledger, which names it; then what is old goes. A kill anywhere leaves a
lake that nights can use, and the same call finds what is left to do: the old partitions still have the user.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.schema import ID_COUNTS
from tasks.store.engine import Engine, literal, parquet
from tasks.store.keys import make_hash
from tasks.store.refs import DatasetRef
from tasks.store.store import Writer
from tasks.store.traces import Trace, folders, is_named, read_json, remove, rows_of, write_without
from tasks.validate.drafts import Repeats, folder_name
from tasks.validate.lake import COUNTS, TABLES, Origin, Partition, Tally, read_partition, write_snapshot
from tasks.validate.ledger import read_ledger, write_ledger
from tasks.validate.profile import Profile, Span, profiles
from tasks.validate.text import instant

NOT_PARTITIONS = ("snapshots", "checked")


@dataclass(frozen=True)
class LakeTraces:
    """What the lake keeps of a user."""

    traces: tuple[Trace, ...]  # to be cleared in their order
    snapshots: tuple[str, ...]  # hashes of those that hold the user
    left: tuple[str, ...]  # hashes of all others


def find_in_lake(engine: Engine, dataset: str, user_id: str) -> LakeTraces:
    """Scans the ids of every partition."""
    root = f"lake/{dataset}"
    named = [
        path
        for path in folders(engine.store.path(root))
        if path.name not in NOT_PARTITIONS and is_named(engine, path, user_id)
    ]
    partitions = [f"{root}/{path.name}" for path in named]
    snapshots = folders(engine.store.path(f"{root}/snapshots"))
    held = [path for path in snapshots if is_named(engine, path, user_id) or _is_of(path, partitions)]
    rewrite = _Rewrite(engine, dataset, user_id, partitions, [f"{root}/snapshots/{path.name}" for path in held])
    traces = [rewrite.trace_of(folder) for folder in partitions]
    traces += [Trace("snapshots", folder, "rewritten", partial(rewrite.snapshot, folder)) for folder in rewrite.held]
    if traces:
        traces.append(Trace("lake", f"{root}/ledger.json", "rewritten", rewrite.switch))
    hashes = tuple(path.name for path in held)
    return LakeTraces(tuple(traces), hashes, tuple(path.name for path in snapshots if path.name not in hashes))


def _is_of(snapshot: Path, partitions: Collection[str]) -> bool:
    """Whether a snapshot has one of these partitions."""
    return not partitions_of(snapshot).isdisjoint(partitions)


def partitions_of(snapshot: Path) -> set[str]:
    return set(_listed(read_json(snapshot / "_manifest.json") or {}))


def _listed(manifest: dict[str, Any]) -> list[str]:
    """The partitions' folders, in the snapshot's order."""
    return [ref["path"].rpartition("/")[0] for table in TABLES for ref in manifest.get(table, ())]


@dataclass(frozen=True)
class _Rewrite:
    """One user's way out of the lake of one dataset."""

    engine: Engine
    dataset: str
    user_id: str
    named: list[str]  # partitions that have the user
    held: list[str]  # snapshots that have the user
    made: dict[str, str] = field(default_factory=dict)  # new folders by the old ones

    def trace_of(self, folder: str) -> Trace:
        partition = read_partition(self.engine.store, folder)
        if partition is None:  # of an earlier form of this program, or damaged: no night reads it
            return Trace("lake", folder, "removed", lambda: None)
        rows = sum(len(self._rows(ref)) for ref in partition.files)
        return Trace("lake", folder, "rewritten", partial(self.partition, partition), rows)

    def partition(self, old: Partition) -> None:
        """Makes the same partition without the user."""
        store = self.engine.store
        gone = [self._source_rows(ref, True) for ref in old.files]
        origin = replace(old.origin, staged=make_hash("without", old.origin.staged, gone), span=self._span(old))
        aside = np.array(self._source_rows(old.repeated, False) if old.repeated else [], dtype=np.int64)
        name = folder_name(origin, Repeats(aside=aside))
        built = store.build(f"lake/{self.dataset}/{name}", lambda writer: self._fill(writer, old, origin))
        self.made[old.folder] = built.path

    def snapshot(self, folder: str) -> None:
        """Makes the same snapshot of the new partitions; not where one of its partitions is gone for other reasons."""
        manifest = self.engine.store.manifest(folder)
        new = [read_partition(self.engine.store, self.made.get(one, one)) for one in _listed(manifest)]
        partitions = [one for one in new if one is not None]
        if len(partitions) < len(new):
            return
        for kind, name in COUNTS.items():
            refs = [ref for one in partitions if (ref := getattr(one, name)) is not None]
            total = f"SELECT id, sum(rows)::BIGINT AS rows FROM {self.engine.rows(refs)} GROUP BY id"
            self.engine.run(f"CREATE OR REPLACE TEMP TABLE all_{kind} AS {total}")
        self.made[folder] = write_snapshot(self.engine, self.dataset, partitions).path

    def switch(self) -> None:
        """Lets the ledger name what is new, then takes away what is old. What the last night judged is gone with it,
        so the next one judges again."""
        store = self.engine.store
        ledger = read_ledger(store, self.dataset)
        entries = tuple(replace(one, partition=self.made.get(one.partition, one.partition)) for one in ledger.entries)
        nights = tuple(replace(one, snapshot=self.made.get(one.snapshot, one.snapshot)) for one in ledger.nights)
        if (entries, nights) != (ledger.entries, ledger.nights):
            write_ledger(store, self.dataset, replace(ledger, entries=entries, nights=nights, checked=""))
        for path in folders(store.path(f"lake/{self.dataset}/checked")):
            if (read_json(path / "_manifest.json") or {}).get("snapshot") in self.held:
                remove(path)
        for folder in (*self.held, *self.named):
            remove(store.path(folder))

    def _fill(self, writer: Writer, old: Partition, origin: Origin) -> dict[str, Any]:
        engine, store = self.engine, self.engine.store
        files = {"part": self._copied(writer, old.part, origin.table)}
        profile, n_repeated = Profile(Span(files["part"].rows)), 0
        if origin.table == "interactions":
            dated = [0] if old.tally.profile.hours else []
            rows = f"SELECT 0 AS file, * FROM {parquet([writer.path('interactions.parquet')])}"
            profile = profiles(engine, rows, dated, None).get(0, Profile())
            profile = replace(profile, late=min(old.tally.profile.late, profile.rows))
            if old.repeated is not None:
                files["repeated"] = self._copied(writer, old.repeated, "repeated")
                n_repeated = old.repeated.rows - files["repeated"].rows
            for kind, name in COUNTS.items():
                counts = engine.blocks(f"SELECT id, rows FROM new_{kind} ORDER BY id")
                files[name] = writer.stream(name, counts, ID_COUNTS)
        # Rows in quarantine and repeats within the file are only counted here, and stay in these counts.
        kept = (old.tally.quarantined, old.tally.duplicates - n_repeated)
        tally = Tally(profile.rows + sum(kept), *kept, profile, old.tally.reasons)
        about = {
            "rows": files["part"].rows,
            "first": None if profile.span.first is None else instant(profile.span.first),
            "last": None if profile.span.last is None else instant(profile.span.last),
            "duplicates": tally.duplicates,
        }
        refs = {name: asdict(ref) for name, ref in files.items()}
        partition = {"origin": asdict(origin), "tally": asdict(tally), "lost_to": old.lost_to, **refs}
        return {**store.manifest(old.folder), **about, "partition": partition}

    def _copied(self, writer: Writer, ref: DatasetRef, name: str) -> DatasetRef:
        source = self.engine.store.path(ref.path)
        rows, digest = write_without(source, self._rows(ref), writer.path(f"{name}.parquet"))
        return DatasetRef(f"{writer.final}/{name}.parquet", rows, digest)

    def _rows(self, ref: DatasetRef) -> Any:
        return rows_of(self.engine, self.engine.store.path(ref.path), self.user_id)

    def _source_rows(self, ref: DatasetRef, theirs: bool) -> list[int]:
        """The user's rows, or all others; a users file has no numbers of ours, so there its rows are counted from 1."""
        number = "file_row_number + 1" if ref.path.endswith("/users.parquet") else "source_row"
        sql = f"SELECT {number} AS n FROM {self.engine.rows([ref])} WHERE {self._is_user(theirs)} ORDER BY n"
        found: list[int] = self.engine.table(sql)["n"].to_pylist()
        return found

    def _span(self, old: Partition) -> Span:
        """Of the rows that stay, the repeated ones among them."""
        rows = f"FROM {self.engine.rows(old.files)} WHERE {self._is_user(False)}"
        if old.table != "interactions":
            return Span(self.engine.one(f"SELECT count(*) {rows}")[0])
        time = "epoch_us(timestamp)"
        return Span(*self.engine.one(f"SELECT count(*), count(timestamp), min({time}), max({time}) {rows}"))

    def _is_user(self, theirs: bool) -> str:
        """A row without an id is nobody's."""
        return f"user_id IS {'NOT ' if theirs else ''}DISTINCT FROM {literal(self.user_id)}"
