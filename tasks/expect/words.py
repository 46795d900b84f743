"""A check in Great Expectations' words, and as a sentence for people."""

import sys
from datetime import date, datetime
from typing import Any

from tasks.expect.contract import (
    Absent,
    AsOf,
    Between,
    Check,
    HasRows,
    Limit,
    Matches,
    NotBlank,
    OneOf,
    Present,
    Similar,
    Unique,
)

BLANK = "[ \\t\\r\\n\\f\\v]*"
"""Written out, because regular expression engines disagree on what white space is outside ASCII."""
FINITE = Between()


def declared(check: Check) -> tuple[str, dict[str, Any]]:
    """The expectation's type and its arguments, the column not among them."""
    match check:
        case HasRows(least):
            return "expect_table_row_count_to_be_between", {"min_value": least}
        case Present():
            return "expect_column_values_to_not_be_null", {}
        case Absent():
            return "expect_column_values_to_be_null", {}
        case NotBlank():
            return "expect_column_values_to_not_match_regex", {"regex": whole(BLANK)}
        case Matches(pattern):
            return "expect_column_values_to_match_regex", {"regex": whole(pattern)}
        case Unique():
            return "expect_column_values_to_be_unique", {}
        case OneOf(values):
            return "expect_column_values_to_be_in_set", {"value_set": list(values)}
        case Between(low, high):
            # An open end is the largest number, so that infinity, as which NaN comes, is beyond it too.
            low, high = -sys.float_info.max if low is None else low, sys.float_info.max if high is None else high
            return "expect_column_values_to_be_between", {"min_value": low, "max_value": high}
        case Similar(shares, most):
            partition = {"values": [value for value, _ in shares], "weights": [share for _, share in shares]}
            return "expect_column_kl_divergence_to_be_less_than", {"partition_object": partition, "threshold": most}


def whole(pattern: str) -> str:
    """Great Expectations searches for a pattern; ours must fit the whole text, a line break at its end included."""
    return rf"\A(?:{pattern})\Z"


def said(column: str, check: Check) -> str:
    """What a check on the rows of a table expects, such as "no rating is below 1"."""
    name = column.replace("_", " ")
    match check:
        case HasRows(least):
            return "the file has rows" if least == 1 else f"the file has at least {least:,} rows"
        case Present():
            return f"every row has {_article(name)} {name}"
        case Absent():
            return f"no row has {_article(name)} {name}"
        case NotBlank():
            return f"no {name} is blank"
        case Matches(pattern):
            return f"every {name} fits {pattern}"
        case Unique():
            return f"no {name} appears twice"
        case OneOf(values):
            return f"every {name} is one of {', '.join(map(str, values))}"
        case Between() if check == FINITE:
            return f"every {name} is a finite number"
        case Between(low, high):
            sides = [*([_below(low)] if low is not None else []), *([_above(high)] if high is not None else [])]
            return f"no {name} is {' or '.join(sides)}"
        case Similar(_, most):
            return f"the {name} is distributed as on the last good night (KL divergence at most {most:g})"


def _article(name: str) -> str:
    return "an" if name[0] in "aeio" else "a"


def _below(limit: Limit) -> str:
    if isinstance(limit, AsOf):
        return f"before {limit_text(limit)}"
    return f"before {limit_text(limit)}" if isinstance(limit, date) else f"below {limit_text(limit)}"


def _above(limit: Limit) -> str:
    if isinstance(limit, AsOf):
        days = f"{limit.days:g} day{'s' * (limit.days != 1)}"
        return f"more than {days} after the night's date" if limit.days else "after the night's date"
    return f"after {limit_text(limit)}" if isinstance(limit, date) else f"above {limit_text(limit)}"


def limit_text(limit: Limit) -> str:
    if isinstance(limit, AsOf):
        return f"as_of{limit.days:+g}d" if limit.days else "as_of"
    if isinstance(limit, datetime):
        return f"{limit:%Y-%m-%d %H:%M:%S}"
    return str(limit) if isinstance(limit, date) else f"{limit:.12g}"
