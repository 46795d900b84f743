"""Bytes of a file, unpacked as they are read, whatever it is packed with."""

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from tasks.ingest.progress import Progress
from tasks.ingest.sources.base import BLOCK

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
UNIT_SEPARATOR = b"\x1f"

Change = Callable[[Iterator[bytes]], Iterator[bytes]]


def compression(path: Path) -> str | None:
    """How a file is packed: by its extension, else by its first bytes."""
    if (known := COMPRESSIONS.get(path.suffix.lower())) is not None:
        return known
    with path.open("rb") as file:
        first = file.read(8)
    return next((name for magic, name in _MAGIC.items() if first.startswith(magic)), None)


@contextmanager
def unpacked(path: Path, packing: str | None, *, show: bool = False) -> Iterator[IO[bytes]]:
    """The file's plain bytes. With `show`, a progress bar counts the bytes read from disk."""
    total = path.stat().st_size
    with path.open("rb") as file, Progress(f"reading {path.name}", total) as progress:
        counted = cast(IO[bytes], _Counted(file, progress)) if show else cast(IO[bytes], file)
        if packing == "gzip":
            with gzip.GzipFile(fileobj=counted) as plain:
                yield cast(IO[bytes], plain)
        elif packing == "bz2":
            with bz2.BZ2File(counted) as plain:
                yield cast(IO[bytes], plain)
        elif packing == "xz":
            with lzma.LZMAFile(counted) as plain:
                yield cast(IO[bytes], plain)
        elif packing == "zstd":
            with pa.CompressedInputStream(pa.PythonFile(counted, mode="r"), "zstd") as plain:
                yield cast(IO[bytes], plain)
        else:
            yield counted


def blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream in blocks, without the byte order mark that some programs put before UTF-8."""
    first = stream.read(BLOCK)
    yield first[3:] if first.startswith(codecs.BOM_UTF8) else first
    while block := stream.read(BLOCK):
        yield block


def double_colons(parts: Iterator[bytes]) -> Iterator[bytes]:
    """`::` as one character, which is what a CSV parser can split at."""
    held = b""
    for part in parts:
        # A single colon at the end of a block may be the first half of a separator.
        joined = held + part
        held = b":" if joined.endswith(b":") and not joined.endswith(b"::") else b""
        yield (joined[:-1] if held else joined).replace(b"::", UNIT_SEPARATOR)
    yield held


def from_latin1(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Latin-1 as UTF-8; only for archives that are known to be Latin-1."""
    return (part.decode("latin-1").encode() for part in parts)


class BlockFile(io.RawIOBase):
    """A readable file over blocks of bytes. Counts quotes and lines on the way, which tells an unclosed quote."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")
        self._last = b"\n"
        self._newlines = 0
        self.quotes = 0

    @property
    def lines(self) -> int:
        return self._newlines + (self._last != b"\n")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
            self._newlines += part.count(b"\n")
            self.quotes += part.count(b'"')
            self._last = part[-1:] or self._last
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class _Counted(io.RawIOBase):
    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._progress.advance(len(data))
        return len(data)
