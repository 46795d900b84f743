"""Quarantine: the rows that were refused, each with its source, its row there, the reason and the night.

quarantine/<dataset>/<partition>/quarantine.parquet   of a file that was taken in, named as its partition in the lake;
                                                      immutable, beside it a manifest with the counts by reason
quarantine/<dataset>/<night>/quarantine.parquet       of a night that was refused, beside its report.html; such a night
                                                      takes nothing in, so these rows are also still in their files

Both have the columns of `schema.QUARANTINE`, in the order of the files' rows. The reason is the sentence of the first
expectation that the row breaks, or what kept it from being read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from tasks.schema import INTERACTIONS, QUARANTINE
from tasks.store.atomic import new_file
from tasks.store.engine import Engine, literal, quoted
from tasks.store.refs import StagedRef
from tasks.store.sink import write_blocks
from tasks.store.store import Writer
from tasks.validate.incoming import Batch, Incoming
from tasks.validate.result import reasons_of

FILE = "quarantine"


def write_quarantine(
    engine: Engine, folder: str, batch: Batch, reasons: Sequence[tuple[str, int]], night: datetime
) -> None:
    """Keeps the refused rows of one file, `batch` alone, in a folder of their own. A folder of that name holds them
    already."""
    file = batch.files[0]

    def write(writer: Writer) -> dict[str, Any]:
        kept = writer.stream(FILE, _blocks(engine, batch, file, night), QUARANTINE)
        about = {"source": file.ref.source, "sha256": file.ref.sha256, "night": night, "rows": kept.rows}
        return {**about, "reasons": dict(reasons_of(reasons))}

    engine.store.build(folder, write)


def write_refused_night(engine: Engine, path: str, batches: Sequence[Batch], night: datetime) -> None:
    """Keeps the refused rows of all files of a night that is refused as a whole, in one file."""
    blocks = (
        block
        for batch in batches
        if batch.table == "interactions"
        for file in batch.files
        for block in _blocks(engine, batch, file, night)
    )
    with new_file(engine.store.path(path)) as temporary:
        write_blocks(temporary, blocks, QUARANTINE)


def unread_reasons(engine: Engine, ref: StagedRef) -> list[tuple[str, int]]:
    """How many rows could not be read, by the cell that was in the way: the cells themselves may all be different."""
    if ref.unread is None:
        return []
    kind = "split_part(split_part(problem, '=', 1), ':', 1)"
    sql = f"SELECT {kind} AS kind, count(*) AS rows FROM {engine.rows([ref.unread])} GROUP BY ALL ORDER BY ALL"
    return [(f"could not be read: {row['kind']}", row["rows"]) for row in engine.table(sql).to_pylist()]


def _blocks(engine: Engine, batch: Batch, file: Incoming, night: datetime) -> Iterator[pa.RecordBatch]:
    alone = replace(batch, files=(file,))
    sentences = " ".join(f"WHEN {number} THEN {literal(r.sentence)}" for number, r in enumerate(batch.refusing))
    reason = f"CASE {alone.reason} {sentences} END" if batch.refusing else "''"
    cells = ", ".join(f"{literal(name)}: {_json(name)}" for name in INTERACTIONS.names if name != "source_row")
    rows = (
        f"SELECT source_row, {reason} AS reason, to_json({{{cells}}})::VARCHAR AS row "
        f"FROM ({alone.rows(engine)}) WHERE {alone.refused}"
    )
    if file.ref.unread is not None:
        rows += f" UNION ALL SELECT source_row, problem AS reason, row FROM {engine.rows([file.ref.unread])}"
    about = f"{literal(file.ref.source)} AS source, {literal(file.ref.sha256)} AS sha256"
    moment = f"{literal(night.isoformat())}::TIMESTAMPTZ AS night"
    yield from engine.blocks(f"SELECT {about}, source_row, reason, row, {moment} FROM ({rows}) ORDER BY source_row")


def _json(name: str) -> str:
    """JSON has no word for a number that is none."""
    if name != "rating":
        return quoted(name)
    return "CASE WHEN isfinite(rating) THEN to_json(rating) ELSE to_json(rating::VARCHAR) END"
