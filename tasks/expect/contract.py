"""Words for what is expected of data: a rule is one expectation on one column, with what happens where it fails.

Two programs read the same declarations: SQL (`sql.py`) or Python counts what breaks a rule, Great Expectations
(`suite.py`) judges it. Times are compared as microseconds since 1970, because data holds years that Python's datetime
does not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

import pandas as pd

from tasks.errors import ConfigError

Severity: TypeAlias = Literal["row", "night", "warning"]
"""row: rows that break it go to quarantine. night: the night is refused. warning: it is shown."""

BLANKS = " \t\r\n\f\v"
_DAY_US = 86_400_000_000
_LATEST_US = 2**63 - 2  # the next one is DuckDB's infinite instant


@dataclass(frozen=True)
class AsOf:
    """A moment that moves with the night's date: so many days after it."""

    days: float


Limit: TypeAlias = float | date | AsOf | None


@dataclass(frozen=True)
class HasRows:
    """The table has at least so many rows."""

    least: int = 1


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
class Matches:
    """Every text as a whole fits the pattern (of `patterns.py`); null is not judged."""

    pattern: str


@dataclass(frozen=True)
class Unique:
    """No value appears twice; null is not judged."""


@dataclass(frozen=True)
class Between:
    """Every number is finite and in the range, its ends included; null is not judged."""

    low: Limit = None
    high: Limit = None


@dataclass(frozen=True)
class OneOf:
    """Every value is one of these; null is not judged."""

    values: tuple[str | float, ...]


@dataclass(frozen=True)
class Similar:
    """The values are distributed as they were: their Kullback-Leibler divergence from these shares, in nats, is at most
    this. A value that has no share makes it infinite."""

    shares: tuple[tuple[str, float], ...]  # of each value; they add up to 1
    max_divergence: float


Check: TypeAlias = HasRows | Present | Absent | NotBlank | Matches | Unique | Between | OneOf | Similar
RowCheck: TypeAlias = Present | Absent | NotBlank | Matches | Between | OneOf
"""What a single row breaks or does not, whatever the others are."""


@dataclass(frozen=True)
class Rule:
    """One expectation: what it says, the column that it looks at, what must hold there, and what follows if not."""

    sentence: str
    column: str
    check: Check
    setting: str = ""  # the option that moves the limit, where there is one
    severity: Severity = "night"


@dataclass(frozen=True)
class Verdict:
    """What the judge found on one rule: rows that fail (None where it counts none), or the number that it looked at."""

    passed: bool
    n_failing: int | None = None
    observed: float | None = None


Judge: TypeAlias = Callable[[str, pd.DataFrame, tuple[Rule, ...]], tuple[Verdict, ...]]
"""Judges a frame by rules, one verdict a rule and in their order (`suite.judge`). The name tells frames apart."""


def resolved(rule: Rule, as_of: datetime) -> Rule:
    """The rule with every date as microseconds since 1970, UTC. A time without a zone is taken as UTC.

    Raises ConfigError where nothing can lie in the range."""
    if not isinstance(rule.check, Between):
        return rule
    low, high = (_number(limit, as_of) for limit in (rule.check.low, rule.check.high))
    if low is not None and high is not None and low > high:
        raise ConfigError(
            f'"{rule.sentence}": nothing lies between its limits', "the lower limit must not exceed the upper one"
        )
    return replace(rule, check=Between(low, high))


def _number(limit: Limit, as_of: datetime) -> float | None:
    """Whole numbers throughout for times: floats would round."""
    if isinstance(limit, AsOf):
        return min(microseconds(as_of) + round(limit.days * _DAY_US), _LATEST_US)
    return microseconds(limit) if isinstance(limit, date) else limit


def resolved_end(limit: Limit) -> float | None:
    """The limit as the number that it must be by now. Raises ValueError for a moment."""
    if limit is not None and not isinstance(limit, (int, float)):
        raise ValueError(f"{limit!r} is not resolved")
    return limit


def microseconds(when: date | datetime) -> int:
    if not isinstance(when, datetime):
        return (when - date(1970, 1, 1)).days * _DAY_US
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds
