"""Suites of expectations as files that a person edits: YAML, in Great Expectations' own words.

interactions:
  - {type: expect_column_values_to_be_between, column: rating, min_value: 0.5, max_value: 5, severity: row}
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Any, Literal, TypeAlias, cast, get_args

import yaml

from tasks.errors import ConfigError
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
    RowCheck,
    Rule,
    Severity,
    Similar,
    Unique,
)
from tasks.expect.patterns import portable
from tasks.expect.words import BLANK, declared, limit_text

Kind: TypeAlias = Literal["text", "number", "time", "fact", "distribution"]
Entry: TypeAlias = Mapping[str, Any]

ROWS, NOT_NULL, NULL, UNIQUE, BETWEEN, IN_SET, MATCH, NOT_MATCH, KL = (
    declared(check)[0]
    for check in (
        HasRows(), Present(), Absent(), Unique(), Between(), OneOf(()), Matches(""), NotBlank(), Similar((), 0)
    )
)  # fmt: skip
ARGUMENTS = {
    ROWS: {"min_value"},
    NOT_NULL: set[str](),
    NULL: set[str](),
    UNIQUE: set[str](),
    BETWEEN: {"min_value", "max_value"},
    IN_SET: {"value_set"},
    MATCH: {"regex"},
    NOT_MATCH: {"regex"},
    KL: {"threshold"},
}
"""What each type of expectation takes beside a column and a severity."""
TYPES: dict[Kind, tuple[str, ...]] = {
    "text": (NOT_NULL, NULL, UNIQUE, IN_SET, MATCH, NOT_MATCH),
    "number": (NOT_NULL, NULL, BETWEEN, IN_SET),
    "time": (NOT_NULL, NULL, BETWEEN),
    "fact": (BETWEEN, IN_SET),
    "distribution": (KL,),
}
"""The types of expectation that a column of each kind can have."""


@dataclass(frozen=True)
class Vocabulary:
    """What a file may name."""

    columns: Mapping[str, Mapping[str, Kind]]  # by table
    row_tables: frozenset[str]  # those whose rows can go to quarantine


def load(text: str, label: str, words: Vocabulary) -> dict[str, tuple[Rule, ...]]:
    """Rules by table, without sentences. Raises ConfigError, in one line with the known names, where an entry is not
    understood; `label` names the file in it."""
    try:
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{label} is no YAML: {' '.join(str(error).split())}", "mend the file") from error
    if not isinstance(content, dict):
        raise _wrong(label, "there is no table of expectations", words.columns)
    rules = {}
    for table, entries in content.items():
        if table not in words.columns:
            raise _wrong(label, f"there is no table {table!r}", words.columns)
        if not isinstance(entries, list | None):
            raise _wrong(f"{label}: {table}", "there is no list", ["- {type: …, column: …, severity: …}"])
        rules[str(table)] = tuple(
            _rule(f"{label}: {table}, entry {number}", entry, str(table), words)
            for number, entry in enumerate(entries or (), start=1)
        )
    return rules


def dump(suite: Mapping[str, Iterable[Rule]], held: Mapping[str, Iterable[Rule]], head: str = "") -> str:
    """The file of a suite, each entry with its sentence; what is `held` in any case is told in comments."""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for table, rules in suite.items():
        always = [(rule.column, rule.check, rule.severity) for rule in held.get(table, ())]
        entries = [rule for rule in rules if (rule.column, rule.check, rule.severity) not in always]
        lines += ["", f"{table}:" if entries else f"{table}: []"]
        lines += [f"  # always: {_comment(rule.sentence)} ({rule.severity})" for rule in held.get(table, ())]
        for rule in entries:
            lines += [f"  # {_comment(rule.sentence)}", f"  - {_entry(rule)}"]
    return "\n".join(lines).lstrip("\n") + "\n"


def _comment(sentence: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in sentence)


def _entry(rule: Rule) -> str:
    kind, arguments = declared(rule.check)
    entry: dict[str, Any] = {"type": kind} | ({} if kind == ROWS else {"column": rule.column})
    match rule.check:
        case Between(low, high):
            ends = (("min_value", low), ("max_value", high))
            arguments = {name: _written(limit) for name, limit in ends if limit is not None}
        case Matches(pattern):
            arguments = {"regex": pattern}
        case NotBlank():
            arguments = {"regex": BLANK}
        case Similar(_, most):
            arguments = {"threshold": most}
    content = entry | arguments | {"severity": rule.severity}
    return yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()


def _written(limit: Limit) -> float | date | str | None:
    return limit_text(limit) if isinstance(limit, AsOf) else limit


def _rule(place: str, entry: object, table: str, words: Vocabulary) -> Rule:
    if not isinstance(entry, dict):
        raise _wrong(place, "there is no expectation", ["{type: …, column: …, severity: …}"])
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in ARGUMENTS:
        raise _wrong(place, f"there is no type {kind!r}", ARGUMENTS)
    known = {"type", "severity", *ARGUMENTS[kind], *(() if kind == ROWS else ("column",))}
    if unknown := sorted(set(map(str, entry)) - known):
        raise _wrong(place, f"{kind} takes no {unknown[0]!r}", sorted(known))
    column = _column(place, entry, table, words)
    check = _check(place, entry, words.columns[table][column])
    return Rule("", column, check, "", _severity(place, entry, check, table in words.row_tables))


def _column(place: str, entry: Entry, table: str, words: Vocabulary) -> str:
    columns = words.columns[table]
    if entry["type"] == ROWS and "fact" not in columns.values():
        return next(iter(columns))
    column = entry.get("column")
    if not isinstance(column, str) or column not in columns:
        raise _wrong(place, f"there is no column {column!r}", columns)
    fitting = [kind for kind in TYPES[columns[column]] if kind != UNIQUE or table not in words.row_tables]
    if entry["type"] not in fitting:
        raise _wrong(place, f"{column} cannot have {entry['type']}", fitting)
    return column


def _severity(place: str, entry: Entry, check: Check, has_quarantine: bool) -> Severity:
    severity = entry.get("severity", "night")
    if severity not in get_args(Severity):
        raise _wrong(place, f"there is no severity {severity!r}", get_args(Severity))
    if severity == "row" and not (has_quarantine and isinstance(check, get_args(RowCheck))):
        raise _wrong(place, "no single row can be put into quarantine for this", ["night", "warning"])
    return cast(Severity, severity)


def _check(place: str, entry: Entry, kind: Kind) -> Check:
    match entry["type"]:
        case "expect_table_row_count_to_be_between":
            return HasRows(int(_number(place, "min_value", entry.get("min_value"), least=1)))
        case "expect_column_values_to_not_be_null":
            return Present()
        case "expect_column_values_to_be_null":
            return Absent()
        case "expect_column_values_to_be_unique":
            return Unique()
        case "expect_column_values_to_match_regex":
            return Matches(portable(place, entry.get("regex")))
        case "expect_column_values_to_not_match_regex":
            if entry.get("regex") != BLANK:
                raise _wrong(place, "only blank text can be told by what it does not match", [f"regex: '{BLANK}'"])
            return NotBlank()
        case "expect_column_kl_divergence_to_be_less_than":
            return Similar((), _number(place, "threshold", entry.get("threshold"), least=0))
        case "expect_column_values_to_be_in_set":
            return _one_of(place, entry.get("value_set"), kind)
        case _:
            return _between(place, entry, kind)


def _one_of(place: str, values: object, kind: Kind) -> OneOf:
    if not isinstance(values, list) or not values:
        raise _wrong(place, "value_set is no list of values", ["value_set: [view, cart]"])
    if kind == "text":
        if not all(isinstance(value, str) for value in values):
            raise _wrong(place, "the values of a text are texts", ["value_set: ['1', '2']"])
        return OneOf(tuple(values))
    return OneOf(tuple(_number(place, "value_set", value) for value in values))


def _between(place: str, entry: Entry, kind: Kind) -> Between:
    ends = [entry.get("min_value"), entry.get("max_value")]
    if ends == [None, None]:
        raise _wrong(place, "there is no limit", ["min_value", "max_value"])
    if kind == "time":
        return Between(*(None if end is None else _moment(place, end) for end in ends))
    low, high = (None if end is None else _number(place, "a limit", end) for end in ends)
    if low is not None and high is not None and low > high:
        raise _wrong(place, f"nothing is between {low:g} and {high:g}", ["min_value ≤ max_value"])
    return Between(low, high)


def _number(place: str, name: str, value: object, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise _wrong(place, f"{name} is no number: {value!r}", ["a number"])
    if least is not None and value < least:
        raise _wrong(place, f"{name} is {value!r}", [f"at least {least:g}"])
    return value


def _moment(place: str, value: object) -> Limit:
    if isinstance(value, date):
        return value
    text = str(value)
    if found := re.fullmatch(r"as_of(?:([+-]\d{1,6}(?:\.\d{1,6})?)d)?", text):
        return AsOf(float(found[1] or 0))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _wrong(place, f"{text!r} is no moment", ["2024-12-31", "as_of", "as_of+1d", "as_of-0.5d"]) from None


def _wrong(place: str, problem: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"{place}: {problem}", f"known: {', '.join(known)}")
