"""One JSON object a line. Ids stay what they are: text as text, whole numbers without loss.

Arrow reads a block of lines at once where every field has one plain type. A block that it does not read is read line by
line, every value as the text that stands in the file, and a line that is no object is not read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from tasks.errors import ConfigError, DataRefused
from tasks.ingest.sources.base import BLOCK, Part, unread_table
from tasks.ingest.sources.streams import blocks, checked, too_long, unpacked
from tasks.schema import UNREAD

SAMPLE_LINES = 5_000
LONGEST_SHOWN = 80  # characters of a value that is none
LONGEST_INFERRED = 4096
"""Bytes: in longer lines objects may be so deep that Arrow, telling their type, runs out of stack. It does at a depth
of 30,000, and not yet at 16,000."""

MappingOf = Callable[[Sequence[str]], Mapping[str, str]]


class WholeNumber(str):
    """A number as it is written, every digit of it."""


class Fraction(str):
    """As `WholeNumber`; 7.0 is `7`."""


ARROW: dict[frozenset[type], pa.DataType] = {
    frozenset({str}): pa.string(),
    frozenset({WholeNumber}): pa.int64(),
    frozenset({Fraction}): pa.float64(),
    frozenset({WholeNumber, Fraction}): pa.float64(),
    frozenset({bool}): pa.bool_(),
    frozenset(): pa.string(),
}
NESTED = {list, dict}
EXACT = ("user_id", "item_id", "event")
"""Ours, which are text: Arrow would make one id of two long whole numbers in a field that holds fractions, too."""


def read(path: Path, packing: str | None, mapping_of: MappingOf, label: str, *, whole: bool) -> Iterator[Part]:
    """The mapped fields. `mapping_of` the names of all fields gives ours: theirs, and is asked again whenever a new one
    turns up. `whole`: all fields are wanted, and only the first of ours must be a single value.

    Raises DataRefused where the first line is no JSON object, ConfigError where a field holds objects."""
    with unpacked(path, packing) as stream:
        head = next(lines_together(checked(blocks(stream), label), label), b"")
    fields = Fields(mapping_of, whole)
    fields.learn([*islice(first_rows(head, label), SAMPLE_LINES)])
    fields.refuse_nested(label)
    first = 1
    with unpacked(path, packing, show=True) as stream:
        for lines in lines_together(checked(blocks(stream), label), label):
            n_lines, n_objects = _count(lines)
            # Arrow's parser dies of a line that is `null`, and takes what begins on one line and ends on the next.
            table = _at_once(lines, fields) if n_lines == n_objects and not whole else None
            if table is not None and table.num_rows == n_lines:  # two objects on a line are two rows to it
                yield Part(table, np.arange(first, first + n_lines), UNREAD.empty_table())
            else:
                yield _line_by_line(lines, first, fields)
            first += n_lines


class Fields:
    """The fields seen so far: their types, and which of them is which of ours."""

    def __init__(self, mapping_of: MappingOf, whole: bool) -> None:
        self._mapping_of = mapping_of
        self._whole = whole
        self._types: dict[str, set[type]] = {}
        self.mapping: Mapping[str, str] = {}

    def learn(self, rows: Sequence[Mapping[str, Any]]) -> None:
        n_known = len(self._types)
        for row in rows:
            for name, value in row.items():
                self._types.setdefault(name, set()).add(type(value))
        if len(self._types) > n_known or not self.mapping:
            self.mapping = self._mapping_of(list(self._types))

    @property
    def single(self) -> dict[str, str]:
        """Ours: theirs, of the fields that hold one value."""
        return dict(islice(self.mapping.items(), 1) if self._whole else self.mapping.items())

    def refuse_nested(self, label: str) -> None:
        for ours, theirs in self.single.items():
            if (kinds := self._types[theirs] - {type(None)}) and kinds <= NESTED:
                raise ConfigError(
                    f"the column for {ours} in {label} holds lists or objects, which cannot be a {ours}",
                    "map another column with ingest.columns, or write this one as text or numbers",
                )

    def plain(self) -> pa.Schema | None:
        """Types for Arrow's parser, of the fields that have one; None where a mapped field has several."""
        kinds = {name: ARROW.get(frozenset(types - {type(None)})) for name, types in self._types.items()}
        inexact = [theirs for ours, theirs in self.mapping.items() if ours in EXACT and Fraction in self._types[theirs]]
        if inexact or any(kinds[name] is None for name in self.mapping.values()):
            return None
        return pa.schema([(name, kind) for name, kind in kinds.items() if kind is not None])

    @property
    def are_nested(self) -> bool:
        """Whether there are fields of no type that can be named beforehand."""
        return any(frozenset(types - {type(None)}) not in ARROW for types in self._types.values())

    def know(self, names: Sequence[str]) -> bool:
        return self._types.keys() >= set(names)


def _at_once(lines: bytes, fields: Fields) -> pa.Table | None:
    """What Arrow makes of a block; None where it does not read it, and where a new field turns up, lest it be lost."""
    schema = fields.plain()
    if schema is None:
        return None
    others = "infer" if fields.are_nested else "error"
    if others == "infer" and _longest(lines) > LONGEST_INFERRED:
        return None
    try:
        table = pajson.read_json(
            pa.BufferReader(lines),
            pajson.ReadOptions(block_size=len(lines)),
            pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        )
    except pa.ArrowInvalid:
        return None
    if not fields.know(table.column_names):
        return None
    return table.select(list(fields.mapping.values())).rename_columns(list(fields.mapping))


def _longest(lines: bytes) -> int:
    """Length of the longest line."""
    ends = np.flatnonzero(np.frombuffer(lines, dtype=np.uint8) == ord("\n"))
    return int(np.diff(ends, prepend=-1, append=len(lines)).max())


def _line_by_line(lines: bytes, first: int, fields: Fields) -> Part:
    found: list[dict[str, Any]] = []
    numbers: list[int] = []
    unread: list[tuple[int, str, str]] = []
    for number, line in enumerate((line for line in lines.split(b"\n") if line.strip()), start=first):
        try:
            row = _object(line)
            if bad := [ours for ours, theirs in fields.single.items() if type(row.get(theirs)) in NESTED]:
                value = _text(row[fields.mapping[bad[0]]])
                raise ValueError(f"{bad[0]}='{str(value)[:LONGEST_SHOWN]}' is not a single value")
        except ValueError as error:
            unread.append((number, str(error), json.dumps({"line": line.decode().strip()}, ensure_ascii=False)))
            continue
        found.append(row)
        numbers.append(number)
    fields.learn(found)
    columns = {
        ours: pa.array([_text(row.get(theirs)) for row in found], pa.string())
        for ours, theirs in fields.mapping.items()
    }
    left_out = unread_table(*zip(*unread, strict=True)) if unread else UNREAD.empty_table()
    return Part(pa.table(columns), np.array(numbers, dtype=np.int64), left_out)


def _object(line: bytes) -> dict[str, Any]:
    """One line's object, its numbers as they are written. Raises ValueError."""
    try:
        row = json.loads(line, parse_int=WholeNumber, parse_float=_fraction, parse_constant=Fraction)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if b"\\ud" in line.lower() and _has_half_characters(row):
        raise ValueError("not JSON: half of a surrogate pair is no character")
    return row


def _has_half_characters(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def first_rows(lines: bytes, label: str) -> Iterator[dict[str, Any]]:
    """The first lines that are objects. Raises DataRefused where the very first one is none."""
    is_first = True
    for number, line in enumerate(lines.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _object(line)
        except ValueError as error:
            if is_first and line.lstrip().startswith(b"["):
                raise DataRefused(
                    f"{label} is one JSON array, not one object a line", "convert it: jq -c '.[]' OLD > NEW"
                ) from error
            if is_first:
                raise DataRefused(f"{label} is damaged or cut short, line {number}: {error}") from error
        is_first = False
    if is_first:
        raise DataRefused(f"{label} is empty")


def lines_together(parts: Iterator[bytes], label: str) -> Iterator[bytes]:
    """Whole lines, about a block of them at a time."""
    rest = b""
    for part in parts:
        end = part.rfind(b"\n") + 1
        if end:
            yield rest + part[:end]
            rest = b""
        rest += part[end:]
        if len(rest) > 2 * BLOCK:
            raise too_long(label)
    if rest.strip():
        yield rest


def _count(lines: bytes) -> tuple[int, int]:
    """Lines that are not blank, and lines that begin as an object does."""
    n_objects = lines.startswith(b"{") + lines.count(b"\n{")
    n_lines = lines.count(b"\n") + (not lines.endswith(b"\n"))
    if n_lines != n_objects:
        n_lines = sum(bool(line.strip()) for line in lines.split(b"\n"))
    return n_lines, n_objects


def _fraction(written: str) -> Fraction:
    value = float(written)
    return Fraction(int(value) if value.is_integer() and abs(value) < 2**53 else written)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False)
