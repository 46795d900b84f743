"""The data contract: what is expected of a night's data, declared once.

Arrow counts what breaks a rule (`rows.py`) and Great Expectations judges it (`suite.py`); both read the declarations
below. Times are compared as microseconds since 1970, because Arrow holds years that Python's datetime does not.
"""

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime

from tasks.schema import ID, STAGED_INTERACTIONS
from tasks.validate.config import ChecksConfig

ID_COLUMN = {"users": "user_id", "items": "item_id"}
_DAY_US = 86_400_000_000
_LATEST_US = 2**63 - 1


@dataclass(frozen=True)
class HasRows:
    """The table has a row."""


@dataclass(frozen=True)
class Present:
    """No cell is null."""


@dataclass(frozen=True)
class Absent:
    """Every cell is null."""


@dataclass(frozen=True)
class NotBlank:
    """No text is empty or only white space; null is not judged."""


@dataclass(frozen=True)
class Unique:
    """No value appears twice; null is not judged."""


@dataclass(frozen=True)
class Between:
    """Every number is in the range, its ends included; null is not judged, NaN is out of every range."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class OneOf:
    """Every value is one of these."""

    values: tuple[str | float, ...]


Check = HasRows | Present | Absent | NotBlank | Unique | Between | OneOf


@dataclass(frozen=True)
class Rule:
    """One expectation: a sentence for people, the column that it looks at, and what must hold there."""

    sentence: str
    column: str
    check: Check
    setting: str = ""  # the option that moves the limit, where there is one


def columns_of(table: str) -> tuple[Rule, ...]:
    """The columns that a staged table of this kind must have. Judged on their types, before any row is."""
    required = [(field.name, str(field.type)) for field in STAGED_INTERACTIONS]
    if table in ID_COLUMN:
        required = [(ID_COLUMN[table], str(ID))]
    return tuple(Rule(f"there is a column {name} of type {kind}", name, OneOf((kind,))) for name, kind in required)


def rows_of(table: str, checks: ChecksConfig, as_of: datetime) -> tuple[Rule, ...]:
    """What every row of a staged file must fulfil."""
    return _interactions(checks, as_of) if table == "interactions" else _features(ID_COLUMN[table])


def _interactions(checks: ChecksConfig, as_of: datetime) -> tuple[Rule, ...]:
    earliest = _microseconds(checks.earliest)
    latest = min(_microseconds(as_of) + int(checks.future_days * _DAY_US), _LATEST_US)
    days = f"{checks.future_days:g} day{'s' * (checks.future_days != 1)}"
    finite = Between(-sys.float_info.max, sys.float_info.max)
    return (
        Rule("the file has rows", "user_id", HasRows()),
        Rule("every cell could be read", "unparsed", Absent()),
        Rule("every row has a user id", "user_id", Present()),
        Rule("no user id is blank", "user_id", NotBlank()),
        Rule("every row has an item id", "item_id", Present()),
        Rule("no item id is blank", "item_id", NotBlank()),
        Rule(f"no timestamp is before {checks.earliest}", "timestamp", Between(earliest), "checks.earliest"),
        Rule(
            f"no timestamp is more than {days} after the night's date ({as_of:%Y-%m-%d %H:%M})",
            "timestamp",
            Between(None, latest),
            "checks.future_days",
        ),
        Rule("every rating is a finite number", "rating", finite),
        *_rating_limits(checks),
    )


def _rating_limits(checks: ChecksConfig) -> tuple[Rule, ...]:
    low, high = checks.min_rating, checks.max_rating
    lowest = () if low is None else (Rule(f"no rating is below {low:g}", "rating", Between(low), "checks.min_rating"),)
    if high is None:
        return lowest
    return (*lowest, Rule(f"no rating is above {high:g}", "rating", Between(None, high), "checks.max_rating"))


def _features(column: str) -> tuple[Rule, ...]:
    name = column.replace("_", " ")
    return (
        Rule("the file has rows", column, HasRows()),
        Rule(f"every row has {'an' if name[0] in 'aeio' else 'a'} {name}", column, Present()),
        Rule(f"no {name} is blank", column, NotBlank()),
        Rule(f"no {name} appears twice", column, Unique()),
    )


def dataset_rules(checks: ChecksConfig, tables: frozenset[str]) -> tuple[Rule, ...]:
    """What all files together must fulfil. The columns are those of `figures.py`, a table of one row.

    Volume is counted without exact duplicates: a file delivered twice is not more data.
    """
    duplicates, unknown = checks.max_duplicate_share, checks.max_unknown_share
    known = [
        Rule(
            f"at most {100 * unknown:.4g}% of the rows have {'an' if table == 'items' else 'a'} {table[:-1]} "
            f"that the {table} table lacks",
            f"unknown_{table}_share",
            Between(None, unknown),
            "checks.max_unknown_share",
        )
        for table in ("users", "items")
        if table in tables
    ]
    apart = [
        Rule(f"no {table[:-1]} is in two files of the {table} table", f"{table}_in_two_files", Between(None, 0))
        for table in ("users", "items")
        if table in tables
    ]
    return (
        Rule(
            f"there are at least {checks.min_rows:,} interactions", "rows", Between(checks.min_rows), "checks.min_rows"
        ),
        Rule(f"there are at least {checks.min_users:,} users", "users", Between(checks.min_users), "checks.min_users"),
        Rule(f"there are at least {checks.min_items:,} items", "items", Between(checks.min_items), "checks.min_items"),
        Rule(
            f"at most {100 * duplicates:.4g}% of the rows are exact duplicates",
            "duplicate_share",
            Between(None, duplicates),
            "checks.max_duplicate_share",
        ),
        Rule("all rows have a timestamp, or none has", "timestamp_share", OneOf((0.0, 1.0))),
        *known,
        *apart,
    )


def _microseconds(when: date | datetime) -> int:
    """Since 1970, UTC; a time without a zone is taken as UTC. Whole numbers throughout: floats would round."""
    if not isinstance(when, datetime):
        return (when - date(1970, 1, 1)).days * _DAY_US
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds
