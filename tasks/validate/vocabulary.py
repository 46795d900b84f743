"""What expectations may be about: the columns of each table, and the facts about all files of a night together.

A fact that needs an earlier good night, or a users or items table, is absent where there is none, and then nothing is
expected of it.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from tasks.expect.contract import Between, Check, OneOf, Similar
from tasks.expect.files import Kind, Vocabulary
from tasks.expect.words import said
from tasks.schema import INTERACTIONS

ID_COLUMN = {"users": "user_id", "items": "item_id"}

Unit = Literal["count", "share", "ratio", "days"]


@dataclass(frozen=True)
class Fact:
    """One number about all files of a night."""

    words: str  # what it counts, for "… is at most 5%"
    unit: Unit


FACTS: dict[str, Fact] = {
    # of tonight's snapshot, exact duplicates and quarantine left out: a file that comes twice is not more data
    "rows": Fact("the number of interactions", "count"),
    "users": Fact("the number of users", "count"),
    "items": Fact("the number of items", "count"),
    "timestamp_share": Fact("the share of rows with a timestamp", "share"),
    # of the rows read for it
    "quarantined_share": Fact("the share of rows in quarantine", "share"),
    "duplicate_share": Fact("the share of rows that are exact duplicates", "share"),
    # against the users and items tables
    "unknown_users_share": Fact("the share of rows whose user the users table lacks", "share"),
    "unknown_items_share": Fact("the share of rows whose item the items table lacks", "share"),
    "users_in_two_files": Fact("the number of users in two files of the users table", "count"),
    "items_in_two_files": Fact("the number of items in two files of the items table", "count"),
    # against the last good nights
    "volume": Fact("the number of interactions, against the last good night's,", "ratio"),
    "new_rows_ratio": Fact("the number of new rows, against the median of the last seven good nights,", "ratio"),
    "lost_users_share": Fact("the share of the last good night's users who are gone", "share"),
    "lost_items_share": Fact("the share of the last good night's items that are gone", "share"),
    "new_items_row_share": Fact("the share of new rows whose item the last good night did not know", "share"),
    "late_share": Fact("the share of new rows that are older than the last good night's newest", "share"),
    # time and delivery
    "silent_days": Fact("the time from the newest interaction to the night's date", "days"),
    "silence_ratio": Fact(
        "the time since the newest interaction, against the longest gap between good nights,", "ratio"
    ),
    "changed_files": Fact("the number of files that changed under their name", "count"),
    "repeated_files": Fact("the number of files with the content of another", "count"),
}

ALWAYS_KNOWN = ("rows", "users", "items", "timestamp_share", "quarantined_share", "duplicate_share")


def always_known(tables: frozenset[str]) -> frozenset[str]:
    """The facts that every night has, and those that come with a users or items table."""
    names = [(f"unknown_{table}_share", f"{table}_in_two_files") for table in ID_COLUMN if table in tables]
    return frozenset(ALWAYS_KNOWN).union(*names)


DISTRIBUTIONS = {
    "popularity": "the spread of new rows over popular and rare items",
    "rating": "the distribution of ratings",
    "hour": "the distribution over the hours of the day",
}
"""What may drift, judged by `drift.py`."""


def kind_of(kind: pa.DataType) -> Kind:
    if pa.types.is_timestamp(kind):
        return "time"
    return "text" if pa.types.is_string(kind) else "number"


VOCABULARY = Vocabulary(
    {
        "interactions": {f.name: kind_of(f.type) for f in INTERACTIONS if f.name != "source_row"},
        **{table: {column: "text"} for table, column in ID_COLUMN.items()},
        "dataset": {**dict.fromkeys(FACTS, "fact"), **dict.fromkeys(DISTRIBUTIONS, "distribution")},
    },
    row_tables=frozenset({"interactions"}),
)
"""What a file of expectations may name. Rows of the users and items tables have no quarantine."""


def sentence_of(table: str, column: str, check: Check) -> str:
    """What a rule says, such as "no rating is below 1"."""
    if table != "dataset":
        return said(column, check)
    if isinstance(check, Similar):
        return f"{DISTRIBUTIONS[column]} is the last good night's (KL divergence at most {check.max_divergence:g})"
    return said_of_fact(column, check)


def said_of_fact(name: str, check: Check) -> str:
    """The sentence, such as "the share of rows in quarantine is at most 5%". Raises ValueError for other checks."""
    fact = FACTS[name]
    match check:
        case OneOf(values):
            return f"{fact.words} is {' or '.join(_value(value, fact.unit) for value in values)}"
        case Between(low, high) if low == high or (low is None and high == 0):
            return f"{fact.words} is {_value(high, fact.unit)}"
        case Between(low, high):
            ends = [f"at least {_value(low, fact.unit)}"] if low is not None else []
            ends += [f"at most {_value(high, fact.unit)}"] if high is not None else []
            return f"{fact.words} is {' and '.join(ends)}"
        case _:
            raise ValueError(f"{check} is about rows, not about a number")


def _value(value: object, unit: Unit) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    match unit:
        case "count":
            return f"{value:,.12g}"
        case "share":
            return f"{100 * value:.4g}%"
        case "ratio":
            return f"{value:g} times"
        case "days":
            return f"{value:g} day{'s' * (value != 1)}"
