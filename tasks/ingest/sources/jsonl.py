"""One JSON object a line. Ids stay what they are: text as text, whole numbers without loss."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from tasks.errors import DataRefused
from tasks.ingest.sources.base import BLOCK
from tasks.ingest.sources.delimited import encoding_refusal
from tasks.ingest.sources.streams import BlockFile, blocks, unpacked

SAMPLE_LINES = 5_000
LINES_AT_A_TIME = 100_000


def load(path: Path, packing: str | None, label: str) -> pa.Table:
    """All fields as columns. Raises DataRefused, with the line, where one is no JSON object."""
    schema = _schema(path, packing, label)
    if schema is not None:
        try:
            with unpacked(path, packing, show=True) as stream:
                table = pajson.read_json(
                    BlockFile(blocks(stream)),
                    read_options=pajson.ReadOptions(block_size=BLOCK),
                    parse_options=pajson.ParseOptions(explicit_schema=schema),
                )
            table.validate(full=True)  # the parser does not look whether text is UTF-8
        except (pa.ArrowInvalid, UnicodeDecodeError):
            pass  # Fields of mixed types, or a broken line: the slow way reads the first and names the second.
        else:
            return table
    return _line_by_line(path, packing, label)


def _schema(path: Path, packing: str | None, label: str) -> pa.Schema | None:
    """Types of the fields, from the first lines; None where a field has several."""
    types: dict[str, set[type]] = {}
    with unpacked(path, packing) as stream:
        for _, row in islice(_rows(blocks(stream), label, exact=False), SAMPLE_LINES):
            for name, value in row.items():
                types.setdefault(name, set()).add(type(value))
    if not types:
        raise DataRefused(f"{label} is empty")
    arrow: dict[frozenset[type], pa.DataType] = {
        frozenset({str}): pa.string(),
        frozenset({int}): pa.int64(),
        frozenset({float}): pa.float64(),
        frozenset({int, float}): pa.float64(),
        frozenset({bool}): pa.bool_(),
        frozenset(): pa.string(),
    }
    fields = []
    for name, kinds in types.items():
        present = frozenset(kinds - {type(None)})
        if present and present <= {list, dict}:
            continue  # the parser infers these
        if present not in arrow:
            return None
        fields.append(pa.field(name, arrow[present]))
    return pa.schema(fields)


def _line_by_line(path: Path, packing: str | None, label: str) -> pa.Table:
    """Every value as the text that stands in the file: slower, for files whose fields change their type."""
    parts: list[pa.Table] = []
    with unpacked(path, packing, show=True) as stream:
        rows = _rows(blocks(stream), label, exact=True)
        while batch := list(islice(rows, LINES_AT_A_TIME)):
            names = dict.fromkeys(name for _, row in batch for name in row)
            columns = {name: pa.array([_text(row.get(name)) for _, row in batch], pa.string()) for name in names}
            parts.append(pa.table(columns))
    if not parts:
        raise DataRefused(f"{label} is empty")
    return pa.concat_tables(parts, promote_options="default")


def _rows(parts: Iterator[bytes], label: str, exact: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object. `exact` keeps numbers as the text that they are."""
    as_written: dict[str, Any] = {"parse_int": str, "parse_float": _float_text, "parse_constant": str}
    for number, line in enumerate(_lines(parts), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"), **(as_written if exact else {}))
        except UnicodeDecodeError as error:
            raise encoding_refusal(label, number, line[error.start]) from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataRefused(f"{label} is damaged or cut short, line {number}: {error}") from error
        if isinstance(row, list) and number == 1:
            raise DataRefused(f"{label} is one JSON array, not one object a line", "convert it: jq -c '.[]' OLD > NEW")
        if not isinstance(row, dict):
            raise DataRefused(f"{label}, line {number}: not a JSON object")
        yield number, row


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        lines = (rest + part).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def _float_text(written: str) -> str:
    value = float(written)
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else written


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False)
