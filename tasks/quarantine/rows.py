"""The rows in quarantine, of all files of a dataset together, as DuckDB sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.schema import QUARANTINE
from tasks.store.engine import Engine, literal, parquet
from tasks.store.reasons import kind
from tasks.store.store import MANIFEST
from tasks.store.traces import folders, read_json

FILE = "quarantine.parquet"
CELLS = ("user_id", "item_id", "rating", "timestamp", "event", "line")
"""What a refused row holds: the cells of a log, or the line where it could not be told apart into cells."""
ID = "left(sha256(sha256 || ':' || source_row), 16)"
"""The name of a refused row, which an exported row keeps: of the content and its row there, whatever the reason is."""
REASONS = ("kind", "reason")


@dataclass(frozen=True)
class Held:
    """Which files hold the refused rows of a dataset."""

    current: tuple[Path, ...]  # of contents that were taken in, one a content
    refused: tuple[Path, ...]  # of nights that were refused: their files may come again
    reasons: tuple[str, ...]  # as their manifests count them


def held(engine: Engine, dataset: str, in_lake: Mapping[str, int]) -> Held:
    """`in_lake`: how many rows of a content are in quarantine by its newest judgement, for contents in the lake.

    A content that was judged by other rules later has a folder for each judgement: the newest one counts."""
    newest: dict[str, tuple[str, Path]] = {}
    refused: list[Path] = []
    reasons: set[str] = set()
    for folder in folders(engine.store.path(f"quarantine/{dataset}")):
        manifest = read_json(folder / MANIFEST)
        if not (folder / FILE).is_file():
            continue
        if manifest is None:
            refused.append(folder / FILE)
            continue
        reasons.update(manifest["reasons"])
        if in_lake.get(manifest["sha256"], 1):
            one = (str(manifest["night"]), folder / FILE)
            newest[manifest["sha256"]] = max(one, newest.get(manifest["sha256"], one))
    return Held(tuple(path for _, path in newest.values()), tuple(refused), tuple(sorted(reasons)))


def make_views(engine: Engine, dataset: str, found: Held, reason: str | None) -> None:
    """The views `refused` (id, source, source_row, kind, reason, row, night, taken) and `nights`, of refused nights,
    the same. `kind` puts the reasons of rows that could not be read together: their cells may all be different."""
    _make_taken(engine, dataset)
    columns = f"{ID} AS id, source, source_row, {kind(found.reasons)} AS kind, reason, row, night"
    holds = "TRUE" if reason is None else " OR ".join(f"contains({name}, {literal(reason)})" for name in REASONS)
    for name, paths in (("refused", found.current), ("nights", found.refused)):
        rows = f"SELECT {columns} FROM {_rows(paths)}"
        engine.run(
            f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT r.*, t.id IS NOT NULL AS taken "
            f"FROM ({rows}) AS r LEFT JOIN taken AS t ON t.id = r.id WHERE {holds}"
        )


def mended_files(engine: Engine, dataset: str) -> list[Path]:
    return sorted(engine.store.path(f"mended/{dataset}").glob("[!._]*.parquet"))


def _make_taken(engine: Engine, dataset: str) -> None:
    """The table `taken`: the rows that were mended, by their names in quarantine."""
    paths = mended_files(engine, dataset)
    rows = f"SELECT DISTINCT quarantine_id AS id FROM {parquet(paths)}" if paths else "SELECT '' AS id LIMIT 0"
    engine.run(f"CREATE OR REPLACE TEMP TABLE taken AS {rows}")


def _rows(paths: tuple[Path, ...]) -> str:
    if paths:
        return parquet(paths)
    kinds = {pa.string(): "VARCHAR", pa.int64(): "BIGINT"}
    columns = ", ".join(f"NULL::{kinds.get(field.type, 'TIMESTAMPTZ')} AS {field.name}" for field in QUARANTINE)
    return f"(SELECT {columns} LIMIT 0)"
