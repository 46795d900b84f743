"""What the cells of a column hold, told from a sample of them: ids, numbers, instants, a few words."""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import pyarrow as pa

Kind: TypeAlias = Literal[
    "nothing", "whole numbers", "numbers", "yes or no", "instants", "other dates", "text", "nested"
]
"""instants: ISO 8601, or Arrow's own. other dates: such as 31/12/2024, which no night reads: day or month first?"""

MOSTLY = 0.9
"""Share of the cells that must fit: a feed with some broken cells still is what it is."""
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?|nan|NaN|inf")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_OTHER_DATE = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*|\d{4}[/.]\d\d?[/.]\d\d?\b.*|\w{3,9}\.? \d{1,2},? \d{4}.*"
)
_YES_OR_NO = re.compile(r"true|false|yes|no|t|f|y|n", re.IGNORECASE)
_TESTS: tuple[tuple[Kind, "re.Pattern[str]"], ...] = (
    ("whole numbers", _WHOLE),
    ("numbers", _NUMBER),
    ("instants", _INSTANT),
    ("other dates", _OTHER_DATE),
    ("yes or no", _YES_OR_NO),
)


def kind_of(column: pa.ChunkedArray) -> Kind:
    """Of a column as its file has it: text for CSV, any type for Parquet."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind):
        return "nested"
    if column.null_count == len(column):
        return "nothing"
    if pa.types.is_boolean(kind):
        return "yes or no"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "instants"
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = [float(value) for value in column.drop_null().to_pylist()]
        return "whole numbers" if all(value.is_integer() for value in values) else "numbers"
    return _kind_of_text([str(value).strip() for value in column.drop_null().to_pylist()])


def _kind_of_text(cells: Sequence[str]) -> Kind:
    present = [cell for cell in cells if cell]
    if not present:
        return "nothing"
    for kind, pattern in _TESTS:
        if sum(pattern.fullmatch(cell) is not None for cell in present) >= MOSTLY * len(present):
            return kind
    return "text"


def unit_of(column: pa.ChunkedArray, kind: Kind) -> str:
    """In what a night would take the column for instants: ISO 8601, s, ms, us, ns; "order" for small numbers, which
    would keep their order as seconds; empty where it could not be one. As in `ingest`, the median tells."""
    if kind == "instants":
        return "ISO 8601"
    if kind not in ("whole numbers", "numbers"):
        return ""
    numbers = sorted(abs(value) for value in map(number, column.drop_null().to_pylist()) if value is not None)
    if not numbers:
        return ""
    typical = numbers[len(numbers) // 2]
    limits = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))
    return next((unit for least, unit in limits if typical >= least), "order")


def number(value: object) -> float | None:
    """A cell as a number, if it is one."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def one_line(text: str, length: int = 40) -> str:
    """Safe to print: data may hold line breaks, escape sequences for the terminal, or a megabyte."""
    clean = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[: length + 1])
    return clean if len(text) <= length else clean[:length] + "…"
