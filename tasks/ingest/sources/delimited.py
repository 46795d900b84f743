"""CSV and its relatives: the delimiter is found, every cell stays text."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from tasks.errors import DataRefused
from tasks.ingest.sources.base import (
    BLOCK,
    MOST_UNREAD,
    MOST_UNREAD_BYTES,
    Part,
    too_many_unread,
    unread_table,
)
from tasks.ingest.sources.streams import (
    UNIT_SEPARATOR,
    Change,
    blocks,
    checked,
    double_colons,
    encoding_refusal,
    refuse_other_than_text,
    too_long,
    unpacked,
)
from tasks.schema import UNREAD

HEAD = 1 << 18  # bytes that decide on the delimiter
SAMPLE_LINES = 50
DELIMITERS = ("::", "\t", ",", ";", "|")
UNQUOTED = (".inter", ".user", ".item")  # RecBole's files never quote, so a quote there is part of a title


@dataclass(frozen=True)
class Layout:
    names: tuple[str, ...]
    delimiter: str
    quoted: bool = True
    has_header: bool = True
    change: Change | None = None  # what is done to the bytes before they are parsed


def layout(path: Path, packing: str | None, label: str) -> Layout:
    """Delimiter and column names. Raises DataRefused where the file is empty or not UTF-8 text."""
    with unpacked(path, packing) as stream:
        head = stream.read(HEAD)
    if not head.strip():
        raise DataRefused(f"{label} is empty")
    refuse_other_than_text(head, label)
    head = head.removeprefix(codecs.BOM_UTF8)
    lines = re.split(r"\r\n|\r|\n", head.decode("utf-8", errors="replace"))
    sample = [line for line in (lines if len(head) < HEAD else lines[:-1]) if line.strip()][:SAMPLE_LINES]
    if not sample:
        raise DataRefused(f"{label} has no line end in its first {HEAD >> 10} KB", "give one row a line")
    delimiter = find_delimiter(sample)
    quoted = delimiter != "::" and not any(suffix.lower() in UNQUOTED for suffix in path.suffixes)
    return Layout(_header(head, delimiter, quoted, label), delimiter, quoted)


def find_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that cuts most lines into as many fields as the first; among equals the one that cuts finest."""

    def quality(delimiter: str) -> tuple[float, int]:
        counts = [len(fields) for fields in _split(lines, delimiter, quoted=True)]
        agreeing = sum(count == counts[0] for count in counts) / len(counts)
        return (agreeing, counts[0]) if counts[0] > 1 else (0.0, 0)

    best = max(DELIMITERS, key=quality)
    return best if quality(best)[1] > 1 else ","


def read(path: Path, packing: str | None, shape: Layout, mapping: Mapping[str, str], label: str) -> Iterator[Part]:
    """The columns of `mapping` (ours: theirs), all as text; a row with too few or too many cells is not read.

    Raises DataRefused where the file as a whole is no table in UTF-8."""
    with unpacked(path, packing, show=True) as stream:
        yield from read_stream(stream, shape, mapping, label)


def read_stream(stream: IO[bytes], shape: Layout, mapping: Mapping[str, str], label: str) -> Iterator[Part]:
    """As `read`, from a stream of plain bytes."""
    parts = checked(shape.change(blocks(stream)) if shape.change else blocks(stream), label)
    delimiter = shape.delimiter
    if delimiter == "::":
        parts, delimiter = double_colons(parts), UNIT_SEPARATOR.decode()
    first, ragged = 1, Ragged(label)
    for number, lines in enumerate(rows_together(parts, delimiter if shape.quoted else None, label)):
        begins_with_names = shape.has_header and number == 0
        ragged.first = first - begins_with_names
        table = _parsed(lines, delimiter, shape, list(mapping.values()), begins_with_names, ragged)
        part = ragged.around(table.rename_columns(list(mapping)), first)
        first += part.cells.num_rows + part.unread.num_rows
        yield part


def _parsed(
    lines: bytes, delimiter: str, shape: Layout, columns: list[str], begins_with_names: bool, ragged: "Ragged"
) -> pa.Table:
    options = (
        # Only the serial parser knows at which row it stands.
        pacsv.ReadOptions(
            use_threads=False, block_size=len(lines) + 1, column_names=None if begins_with_names else shape.names
        ),
        pacsv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if shape.quoted else False,
            newlines_in_values=shape.quoted,
            invalid_row_handler=ragged.note,
        ),
        pacsv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
    )
    try:
        return pacsv.read_csv(pa.BufferReader(lines), *options)
    except pa.ArrowInvalid as error:
        if ragged.is_full:
            raise too_many_unread(ragged.label) from error
        if "Empty CSV" in str(error):  # names and nothing else, or blank lines
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        raise


class Ragged:
    """Rows with too few or too many cells. The parser leaves them out; they are kept here with their numbers."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.first = 1  # number of the first row that the parser sees
        self._held: list[tuple[int, str, str]] = []
        self._n_rows = self._n_bytes = 0

    @property
    def is_full(self) -> bool:
        return self._n_rows > MOST_UNREAD or self._n_bytes > MOST_UNREAD_BYTES

    def note(self, row: pacsv.InvalidRow) -> str:
        problem = f"{row.actual_columns} cells, not {row.expected_columns}"
        written = json.dumps({"line": row.text}, ensure_ascii=False)
        self._held.append((self.first + row.number - 1, problem, written))
        self._n_bytes += len(written)
        self._n_rows += 1
        return "error" if self.is_full else "skip"

    def around(self, table: pa.Table, first: int) -> Part:
        """The rows of a block and what was left out of it, all with their numbers."""
        left_out, self._held = self._held, []
        numbers_R = np.arange(first, first + table.num_rows + len(left_out))
        if not left_out:
            return Part(table, numbers_R, UNREAD.empty_table())
        numbers_R = np.delete(numbers_R, [number - first for number, _, _ in left_out])
        return Part(table, numbers_R, unread_table(*zip(*left_out, strict=True)))


def rows_together(parts: Iterator[bytes], delimiter: str | None, label: str) -> Iterator[bytes]:
    """Whole rows, about a block of them at a time; `delimiter` where cells may be quoted and hold newlines.

    Arrow could cut a stream itself, but reads it in a thread of its own, which it does not end where reading stops
    early: Python could not be left in peace then."""
    rest = b""
    for part in parts:
        rest += part
        end = _end_of_rows(rest, delimiter)
        if end:
            yield rest[:end]
            rest = rest[end:]
        if len(rest) > 2 * BLOCK:
            raise too_long(label)
    if b"\n" in rest.rstrip(b"\r\n") and _end_of_rows(rest + b"\n", delimiter) <= len(rest):
        # The text behind it would be swallowed up to the end of the file.
        raise DataRefused(f"{label} is damaged: a quote is opened and never closed", "close it, or double the quote")
    if rest:
        yield rest


def _end_of_rows(text: bytes, delimiter: str | None) -> int:
    """Where the last row ends of those that end: behind the last newline that is not in a quoted cell; else 0."""
    newline = b"\n" if b"\n" in text else b"\r"
    if delimiter is None or b'"' not in text:
        return text.rfind(newline) + 1
    byte_B = np.frombuffer(text, dtype=np.uint8)
    quote_Q = np.flatnonzero(byte_B == ord('"'))
    opening = quote_Q[::2]
    before = byte_B[opening[opening > 0] - 1]
    if not np.isin(before, np.frombuffer(f'\n\r"{delimiter}'.encode(), dtype=np.uint8)).all():
        return _end_of_rows_slowly(text, delimiter, newline)
    # Each quote of odd number opens a cell or is the second of a pair: a newline behind an even number is in no cell.
    newline_N = np.flatnonzero(byte_B == newline[0])
    outside_N = newline_N[np.searchsorted(quote_Q, newline_N) % 2 == 0]
    return int(outside_N[-1]) + 1 if len(outside_N) else 0


def _end_of_rows_slowly(text: bytes, delimiter: str, newline: bytes) -> int:
    """As `_end_of_rows`, where there are quotes within cells, which mean nothing."""
    mark = re.escape(delimiter.encode())
    quoted = re.compile(rb"(?:\A|(?<=[\n\r]|" + mark + rb'))"(?:[^"]++|"")*+(?:"|\Z)')
    limit = len(text)
    for cell in reversed([*quoted.finditer(text)]):
        if (end := text.rfind(newline, cell.end(), limit)) >= 0:
            return end + 1
        limit = cell.start()
    return text.rfind(newline, 0, limit) + 1


def _split(lines: Sequence[str], delimiter: str, quoted: bool) -> list[list[str]]:
    if delimiter == "::":
        return [line.rstrip("\r\n").split("::") for line in lines]
    with _long_fields():
        return [
            row
            for row in csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
            if row
        ]


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(HEAD * 4)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _header(head: bytes, delimiter: str, quoted: bool, label: str) -> tuple[str, ...]:
    first = next(line for line in re.split(rb"\r\n|\r|\n", head) if line.strip())
    try:
        first.decode("utf-8")
    except UnicodeDecodeError as error:
        raise encoding_refusal(label, 1, first[error.start]) from error
    text = io.StringIO(head.decode("utf-8", errors="replace"), newline="")
    lines = [line for line in text if line.strip()]
    return tuple(_split(lines[: SAMPLE_LINES if quoted else 1], delimiter, quoted)[0])
