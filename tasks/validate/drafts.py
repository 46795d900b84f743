"""Drafts: the partitions that a night adds to the lake once it has passed, and how they are written."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import RunFailed
from tasks.schema import ID_COUNTS, INTERACTIONS
from tasks.store.engine import Engine
from tasks.store.keys import make_hash
from tasks.store.refs import DatasetRef
from tasks.store.store import Writer
from tasks.validate.counting import Counted
from tasks.validate.incoming import Batch, Incoming
from tasks.validate.lake import COUNTS, Origin, Partition, Tally, read_partition
from tasks.validate.ledger import Content
from tasks.validate.profile import Profile
from tasks.validate.quarantine import unread_reasons
from tasks.validate.text import instant

IntArray = npt.NDArray[np.int64]
FORM = 1
"""Of a partition's files. Raise it where they change: partitions of an earlier form are then made anew."""


@dataclass(frozen=True)
class Draft:
    """A partition to be made of a file that is new, or anew of one that is in the lake."""

    number: int  # of the file, among tonight's contents
    name: str  # of its folder
    origin: Origin
    tally: Tally
    lost_to: tuple[str, ...]
    batch: Batch | None  # the new file alone; None: made of `old`
    old: Partition | None


def draft_new(
    engine: Engine,
    batch: Batch,
    file: Incoming,
    counted: Counted,
    profile: Profile,
    rules: str,
    contents: Sequence[Content],
) -> Draft:
    """Of a file that was judged tonight. Needs `repeats` of duplicates.py where it holds interactions."""
    alone, ref = replace(batch, files=(file,)), file.ref
    refused = _refused(engine, alone) if counted.n_refused else _rows([])
    repeats = Repeats.of(engine, file.number, contents) if file.table == "interactions" else Repeats()
    columns = {field.name: str(field.type) for field in file.schema}
    origin = Origin(
        file.table, ref.source, ref.sha256, rules, ref.data.fingerprint, _hash(refused), columns, counted.span
    )
    n_quarantined = counted.n_refused + (ref.unread.rows if ref.unread else 0)
    reasons = (*counted.reasons, *unread_reasons(engine, ref))
    tally = Tally(ref.rows, n_quarantined, len(repeats.rows), profile, reasons)
    return Draft(file.number, folder_name(origin, repeats), origin, tally, repeats.lost_to, alone, None)


def draft_again(engine: Engine, number: int, old: Partition, profile: Profile, contents: Sequence[Content]) -> Draft:
    """Of a file in the lake, which keeps other rows than before."""
    repeats = Repeats.of(engine, number, contents)
    n_before = old.repeated.rows if old.repeated else 0
    n_duplicates = old.tally.duplicates - n_before + len(repeats.rows)
    tally = replace(old.tally, duplicates=n_duplicates, profile=profile)
    return Draft(number, folder_name(old.origin, repeats), old.origin, tally, repeats.lost_to, None, old)


def stays(engine: Engine, number: int, old: Partition, contents: Sequence[Content]) -> bool:
    """Whether a file in the lake, whose rows were compared with others again, keeps just those that it had."""
    return folder_name(old.origin, Repeats.of(engine, number, contents)) == old.folder.rpartition("/")[2]


def write_partition(engine: Engine, dataset: str, draft: Draft) -> Partition:
    """Needs `repeats` of duplicates.py, and `new_users`, `new_items` of profile.py, where it holds interactions."""
    folder = f"lake/{dataset}/{draft.name}"
    engine.store.build(folder, lambda writer: _fill(engine, writer, draft))
    partition = read_partition(engine.store, folder)
    if partition is None:
        raise RunFailed(f"{folder} is incomplete", "delete it and run again")
    return partition


def _fill(engine: Engine, writer: Writer, draft: Draft) -> dict[str, Any]:
    origin, span = draft.origin, draft.tally.profile.span
    files = {"part": _write_rows(engine, writer, draft)}
    if origin.table == "interactions":
        aside = f"SELECT source_row FROM repeats WHERE file = {draft.number} AND is_first"
        if engine.one(f"SELECT count(*) FROM ({aside})")[0]:
            repeated = f"SELECT * FROM ({_own_rows(engine, draft)}) WHERE source_row IN ({aside}) ORDER BY source_row"
            files["repeated"] = writer.stream("repeated", engine.blocks(repeated), INTERACTIONS)
        for kind, name in COUNTS.items():
            counts = f"SELECT id, rows FROM new_{kind} WHERE file = {draft.number} ORDER BY id"
            files[name] = writer.stream(name, engine.blocks(counts), ID_COUNTS)
    about = {
        "table": origin.table,
        "source": origin.source,
        "sha256": origin.sha256,
        "rows": files["part"].rows,
        "first": None if span.first is None else instant(span.first),
        "last": None if span.last is None else instant(span.last),
        "quarantined": draft.tally.quarantined,
        "duplicates": draft.tally.duplicates,
        "columns": origin.columns,
    }
    refs = {name: asdict(ref) for name, ref in files.items()}
    partition = {"origin": asdict(origin), "tally": asdict(draft.tally), "lost_to": draft.lost_to, **refs}
    return {**about, "partition": partition}


def _write_rows(engine: Engine, writer: Writer, draft: Draft) -> DatasetRef:
    """Where no row is left out, the staged file itself becomes the partition."""
    if draft.batch is None:
        others = f"source_row NOT IN (SELECT source_row FROM repeats WHERE file = {draft.number})"
        left = f"SELECT * FROM ({_own_rows(engine, draft)}) WHERE {others} ORDER BY source_row"
        return writer.stream("interactions", engine.blocks(left), INTERACTIONS)
    ref, store = draft.batch.files[0].ref, engine.store
    if draft.tally.profile.rows == ref.data.rows or draft.origin.table != "interactions":
        return writer.link(draft.origin.table, store.path(ref.data.path), ref.data)
    repeated = engine.table(f"SELECT source_row FROM repeats WHERE file = {draft.number}")["source_row"]
    excluded = np.union1d(_refused(engine, draft.batch), _rows(repeated))
    return writer.stream("interactions", _without(store.blocks(ref.data), excluded), INTERACTIONS)


def _own_rows(engine: Engine, draft: Draft) -> str:
    """A query: the rows that passed the rules, those that other files have among them."""
    if draft.batch is not None:
        return draft.batch.accepted(engine)
    assert draft.old is not None
    return f"SELECT * FROM {engine.rows(draft.old.files)}"


def _without(blocks: Iterable[pa.Table], excluded: IntArray) -> Iterator[pa.Table]:
    """The rows but those of these numbers. Both are in the order of the numbers."""
    for block in blocks:
        rows = block["source_row"].to_numpy()
        here = excluded[slice(*np.searchsorted(excluded, [rows[0], rows[-1] + 1]))]
        yield block.filter(pa.array(~np.isin(rows, here, assume_unique=True))) if len(here) else block


@dataclass(frozen=True)
class Repeats:
    """A file's rows that are left out because an earlier row is the same."""

    rows: IntArray = field(default_factory=lambda: _rows([]))  # source rows, in their order
    aside: IntArray = field(default_factory=lambda: _rows([]))  # those whose earlier row is in another file
    lost_to: tuple[str, ...] = ()  # the contents of these files

    @classmethod
    def of(cls, engine: Engine, number: int, contents: Sequence[Content]) -> "Repeats":
        ours = f"FROM repeats WHERE file = {number}"
        found = engine.table(f"SELECT source_row, is_first {ours} ORDER BY source_row")
        files = engine.table(f"SELECT DISTINCT first_file AS file {ours} AND is_first ORDER BY ALL")["file"].to_pylist()
        rows = _rows(found["source_row"])
        return cls(rows, rows[found["is_first"].to_numpy()], tuple(contents[file].sha256 for file in files))


def _refused(engine: Engine, alone: Batch) -> IntArray:
    """The source rows of a file that go to quarantine, in their order."""
    sql = f"SELECT source_row FROM ({alone.rows(engine)}) WHERE {alone.refused} ORDER BY source_row"
    return _rows(engine.table(sql)["source_row"])


def _rows(values: pa.ChunkedArray | list[int]) -> IntArray:
    return np.asarray(values, dtype=np.int64)


def _hash(rows: IntArray) -> str:
    return hashlib.sha256(rows.data).hexdigest()[:16]  # without a copy: they may be many


def folder_name(origin: Origin, repeats: Repeats) -> str:
    """By what came in and what is left out."""
    left_out = make_hash(FORM, origin.table, origin.rules, origin.staged, origin.refused, _hash(repeats.aside))
    return f"{origin.sha256[:16]}-{left_out[:8]}"
