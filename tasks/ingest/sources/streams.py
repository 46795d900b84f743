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

from tasks.errors import DataRefused
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


def checked(parts: Iterator[bytes], label: str) -> Iterator[bytes]:
    """The blocks of a text. Raises DataRefused at the first byte that is not UTF-8, and at a zero byte."""
    n_newlines, cut = 0, b""  # cut: a character whose other half is in the next block
    for part in parts:
        refuse_other_than_text(part, label)
        if cut or not part.isascii():
            cut = _cut_character(cut + part, n_newlines, label)
        n_newlines += part.count(b"\n")
        yield part
    if cut:
        raise encoding_refusal(label, 1 + n_newlines, cut[0])


def refuse_other_than_text(head: bytes, label: str) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataRefused(f"{label} is UTF-16, not UTF-8", "convert it: iconv -f utf-16 -t utf-8 OLD > NEW")
    if head.startswith(b"PK\x03\x04"):
        raise DataRefused(f"{label} is a zip archive or a spreadsheet, not a table", "unpack it, or save it as CSV")
    if b"\0" in head:
        raise DataRefused(f"{label} is not text", "give CSV, TSV, JSONL or Parquet, with the extension that fits")


def _cut_character(data: bytes, n_newlines: int, label: str) -> bytes:
    """The bytes at the end that are not yet a character. Raises DataRefused where others are none."""
    try:
        _, n_read = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError as error:
        raise encoding_refusal(label, 1 + n_newlines + data[: error.start].count(b"\n"), data[error.start]) from error
    return data[n_read:]


def encoding_refusal(label: str, line: int, byte: int) -> DataRefused:
    return DataRefused(
        f"{label} is not UTF-8: byte 0x{byte:02x} in line {line}", "convert it: iconv -f latin1 -t utf-8 OLD > NEW"
    )


def too_long(label: str) -> DataRefused:
    return DataRefused(
        f"{label} has a line of more than {2 * BLOCK >> 20} MB",
        "end every row with a newline, and close every quote",
    )


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
