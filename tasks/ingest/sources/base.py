"""What every source has in common: the name and identity of a piece of data, and the blocks it is read in.

R rows of a part
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import DataRefused
from tasks.ingest.progress import Progress
from tasks.schema import UNREAD

TableName = Literal["interactions", "users", "items"]
Longs = npt.NDArray[np.int64]
BLOCK = 8 << 20
"""Bytes read at a time. A line longer than two of them is no row of a log, and is refused."""
BLOCK_ROWS = 1 << 20
MENDED = "mended/"
"""What the labels of mended rows, and of nothing else, begin with: the contract knows them by it."""
MOST_UNREAD = 1_000_000
"""Rows of a file that cannot be read and yet are kept, with up to `MOST_UNREAD_BYTES` of text: a file with more of them
is something else than a log."""
MOST_UNREAD_BYTES = 1 << 28


@dataclass(frozen=True)
class SourceFile:
    """One file, or one member of an archive, that becomes one staged table."""

    table: TableName
    label: str  # what a person calls it: the path as given, or `ml-100k.inter`
    sha256: str  # identity of the content
    path: Path | None = None  # of a file on this machine
    stamp: tuple[int, int] = (
        0,
        0,
    )  # its size and time of change when it was hashed: shows a file that changes under us
    is_mended: bool = False  # rows that were refused once, in our own columns: the user's mapping is not theirs


@dataclass(frozen=True)
class Part:
    """Some rows of a file as they came, under our names."""

    cells: pa.Table
    numbers_R: Longs  # of its rows in the file, from 1
    unread: pa.Table  # UNREAD: what stands between them and is no row


@dataclass(frozen=True)
class Block:
    """Some rows of a log."""

    rows: pa.Table  # INTERACTIONS, text as dictionaries
    unread: pa.Table  # UNREAD, in the order of the file


def unread_table(numbers: Sequence[int], problems: Sequence[str], rows: Sequence[str]) -> pa.Table:
    """UNREAD from its columns."""
    return pa.table([numbers, problems, rows], schema=UNREAD)


def too_many_unread(label: str) -> DataRefused:
    return DataRefused(
        f"more than {MOST_UNREAD:,} rows of {label} (or {MOST_UNREAD_BYTES >> 20} MB of them) cannot be read",
        "look at its first lines: the delimiter, the header, and one row a line",
    )


def identity(*parts: object) -> str:
    """sha256 of content that is known without reading it, such as a member of a pinned archive."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file of any size, read in blocks."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file, Progress(f"checking {path.name}", path.stat().st_size) as progress:
        while block := file.read(BLOCK):
            digest.update(block)
            progress.advance(len(block))
    return digest.hexdigest()
