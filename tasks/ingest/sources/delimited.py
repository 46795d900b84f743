"""CSV and its relatives: the delimiter is found, every cell stays text."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pacsv

from tasks.errors import DataRefused
from tasks.ingest.sources.base import BLOCK
from tasks.ingest.sources.streams import UNIT_SEPARATOR, BlockFile, Change, blocks, double_colons, unpacked

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
    _refuse_other_than_text(head, label)
    head = head.removeprefix(codecs.BOM_UTF8)
    lines = re.split(r"\r\n|\r|\n", head.decode("utf-8", errors="replace"))
    sample = [line for line in (lines if len(head) < HEAD else lines[:-1]) if line.strip()][:SAMPLE_LINES]
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


def load(path: Path, packing: str | None, shape: Layout, columns: Sequence[str], label: str) -> pa.Table:
    """The columns asked for, all as text. Raises DataRefused, with the line, where a row does not fit."""

    def parse(use_threads: bool) -> pa.Table:
        with unpacked(path, packing, show=use_threads) as stream:
            return parse_stream(stream, shape, columns, label, use_threads=use_threads)

    try:
        return parse(use_threads=True)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _not_utf8(path, packing, label) from error
    try:
        # Only the serial parser knows which row it stands at.
        return parse(use_threads=False)
    except pa.ArrowInvalid as error:
        raise DataRefused(f"{label} is damaged or cut short{explain(error)}") from error


def parse_stream(
    stream: IO[bytes], shape: Layout, columns: Sequence[str], label: str, *, use_threads: bool = True
) -> pa.Table:
    """As `load`, from a stream of plain bytes. Raises pyarrow.ArrowInvalid where a row does not fit."""
    parts = shape.change(blocks(stream)) if shape.change else blocks(stream)
    delimiter = shape.delimiter
    if delimiter == "::":
        parts, delimiter = double_colons(parts), UNIT_SEPARATOR.decode()
    source = BlockFile(parts)
    table = pacsv.read_csv(
        source,
        read_options=pacsv.ReadOptions(
            use_threads=use_threads, block_size=BLOCK, column_names=None if shape.has_header else shape.names
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter, quote_char='"' if shape.quoted else False, newlines_in_values=shape.quoted
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())
        ),
    )
    # Text behind a quote that is never closed would be swallowed up to the end of the file.
    if shape.quoted and source.quotes % 2 and source.lines > table.num_rows + shape.has_header:
        raise DataRefused(f"{label} is damaged: a quote is opened and never closed", "close it, or double the quote")
    return table


def explain(error: Exception) -> str:
    """`, line 3: 2 columns expected, 1 found`, from the parser's words."""
    said = str(error).splitlines()[0]
    found = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", said)
    if not found:
        return f": {said}"
    line, expected, got = found.groups()
    return f"{f', line {line}' if line else ''}: {expected} columns expected, {got} found"


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


def _refuse_other_than_text(head: bytes, label: str) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataRefused(f"{label} is UTF-16, not UTF-8", "convert it: iconv -f utf-16 -t utf-8 OLD > NEW")
    if head.startswith(b"PK\x03\x04"):
        raise DataRefused(f"{label} is a zip archive or a spreadsheet, not a table", "unpack it, or save it as CSV")
    if b"\0" in head:
        raise DataRefused(f"{label} is not text", "give CSV, TSV, JSONL or Parquet, with the extension that fits")


def _not_utf8(path: Path, packing: str | None, label: str) -> DataRefused:
    """Names the first bad byte and its line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with unpacked(path, packing) as stream:
        for block in blocks(stream):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return encoding_refusal(
                    label, line + error.object[: error.start].count(b"\n"), error.object[error.start]
                )
            line += block.count(b"\n")
    return encoding_refusal(label, line, None)


def encoding_refusal(label: str, line: int, byte: int | None) -> DataRefused:
    what = f"byte 0x{byte:02x} in line {line}" if byte is not None else f"line {line}"
    return DataRefused(f"{label} is not UTF-8: {what}", "convert it: iconv -f latin1 -t utf-8 OLD > NEW")
