"""What is kept of a user, found first and cleared afterwards, so that a dry run shows just what a real one does."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.atomic import TEMPORARY, new_file
from tasks.store.engine import Engine, literal, parquet, quoted
from tasks.store.sink import write_blocks
from tasks.store.store import MANIFEST
from tasks.store.tables import read_blocks

Numbers = npt.NDArray[np.int64]
Change = Literal["rewritten", "removed"]


@dataclass(frozen=True)
class Trace:
    """One file or folder, and what becomes of it. Clearing it twice changes nothing more."""

    place: str  # the part of the data folder, or of MLflow
    name: str  # its path there
    change: Change
    clear: Callable[[], None] = field(compare=False, repr=False)
    rows: int | None = None  # of the user, where it is a table
    bytes: int | None = None  # that the disk gets back, where somebody asks


def user_column(path: Path) -> str | None:
    """The column of a Parquet file that names users; None where there is none."""
    names = pq.read_schema(path).names
    return "user_id" if "user_id" in names else "id" if path.stem == "user_counts" else None


def rows_where(engine: Engine, path: Path, condition: str) -> Numbers:
    """The numbers, from 0, of the rows of a Parquet file for which a condition holds, ascending."""
    source = parquet([path], numbered=True)
    found = engine.table(f"SELECT file_row_number AS n FROM {source} WHERE {condition} ORDER BY n")
    numbers: Numbers = found["n"].to_numpy().astype(np.int64)
    return numbers


def rows_of(engine: Engine, path: Path, user_id: str) -> Numbers:
    """The numbers of a user's rows, the ids being text or integers; none where the file names no users."""
    column = user_column(path)
    if column is None:
        return np.empty(0, np.int64)
    return rows_where(engine, path, f"CAST({quoted(column)} AS VARCHAR) = {literal(user_id)}")


def is_named(engine: Engine, folder: Path, user_id: str) -> bool:
    """Whether some Parquet file below a folder has a row of the user."""
    return any(len(rows_of(engine, path, user_id)) for path in sorted(folder.rglob("*.parquet")))


def write_without(source: Path, gone: Numbers, target: Path) -> tuple[int, str]:
    """Copies a table without these rows, a row group at a time; returns what is left: rows and fingerprint."""
    return write_blocks(target, _left(read_blocks(source), gone), pq.read_schema(source))


def _left(blocks: Iterator[pa.Table], gone: Numbers) -> Iterator[pa.Table]:
    start = 0
    for block in blocks:
        stays_R = np.ones(block.num_rows, dtype=bool)
        stays_R[gone[(gone >= start) & (gone < start + block.num_rows)] - start] = False
        yield block if stays_R.all() else block.filter(pa.array(stays_R))
        start += block.num_rows


def replace_without(path: Path, gone: Numbers) -> None:
    """The same file without these rows, switched in one step."""
    with new_file(path) as temporary:
        write_without(path, gone, temporary)


def replace_text(path: Path, text: str) -> None:
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Takes away a file or folder as a whole: what a kill leaves has a temporary name, and the next night sweeps it."""
    if path.is_dir():
        hidden = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}"
        path.rename(hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def folders(root: Path) -> list[Path]:
    """The finished folders in a folder, by name."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(TEMPORARY))


def removal(root: Path, path: Path) -> Trace:
    """That a file or folder below the data folder goes as a whole; its place is the first folder of its path."""
    name = str(path.relative_to(root))
    return Trace(name.split("/")[0], name, "removed", partial(remove, path), bytes=size_of(path))


def size_of(path: Path) -> int:
    """Bytes that go with a file or folder: what another name keeps on the disk is not counted."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(stat.st_size for stat in (one.lstat() for one in files) if stat.st_nlink == 1)


def finished_at(folder: Path) -> datetime:
    """When a folder was finished; of one without a manifest, when anything in it was last written."""
    manifest = folder / MANIFEST
    paths = [manifest] if manifest.is_file() else [folder, *folder.rglob("*")]
    return datetime.fromtimestamp(max(path.lstat().st_mtime for path in paths), UTC)
