"""What every source has in common: the name and identity of a piece of data before it is read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.ingest.progress import Progress

TableName = Literal["interactions", "users", "items"]
BLOCK = 8 << 20  # bytes read at a time


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
