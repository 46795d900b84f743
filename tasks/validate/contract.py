"""The data contract: what is expected of a night's data, built from the schema and the limits of the configuration.

With `checks.suite`, a file takes the place of the limits (`expect/files.py`). What later steps rely on holds in any
case: columns and their types, ids that are there, ratings that are numbers, times for all rows or for none.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from tasks.errors import ConfigError
from tasks.expect.contract import (
    AsOf,
    Between,
    Check,
    HasRows,
    NotBlank,
    OneOf,
    Present,
    Rule,
    Severity,
    Similar,
    Unique,
    resolved,
)
from tasks.expect.files import dump, load
from tasks.expect.words import FINITE
from tasks.schema import ID, INTERACTIONS
from tasks.store.keys import make_hash
from tasks.validate.config import ChecksConfig
from tasks.validate.vocabulary import ID_COLUMN, VOCABULARY, always_known, sentence_of

Suite: TypeAlias = Mapping[str, tuple[Rule, ...]]
"""Rules by table: interactions, users, items, dataset. Their dates may still move with the night's."""

HEAD = """Expectations of the data, in Great Expectations' words. In force with checks.suite: <this file>.

severity: row      rows that break it go to quarantine (interactions only)
          night    the night is refused, and what is in production stays
          warning  it is shown
What is marked "always" is expected whatever stands here. Times are dates (UTC), or move with the night's: as_of+1d.
To allow ratings from 0.5 to 5 and three kinds of events only, add to the interactions:
  - {type: expect_column_values_to_be_between, column: rating, min_value: 0.5, max_value: 5, severity: row}
  - {type: expect_column_values_to_be_in_set, column: event, value_set: [view, cart, purchase], severity: row}
"""


def columns_of(table: str) -> tuple[Rule, ...]:
    """The columns that a staged table of this kind must have. Judged on their types, before any row is."""
    required = [(field.name, str(field.type)) for field in INTERACTIONS]
    if table in ID_COLUMN:
        required = [(ID_COLUMN[table], str(ID))]
    return tuple(Rule(f"there is a column {name} of type {kind}", name, OneOf((kind,))) for name, kind in required)


def rows_of(table: str, checks: ChecksConfig, as_of: datetime, is_dated: bool = True) -> tuple[Rule, ...]:
    """What every row of a staged file must fulfil. A file whose times are mere ordinals, as all others' are, is not
    dated: then no rule about the calendar applies to it."""
    rules = (rule for rule in suite_of(checks)[table] if is_dated or not _is_of_calendar(rule))
    return tuple(resolved(rule, as_of) for rule in rules)


def dataset_rules(checks: ChecksConfig, tables: frozenset[str], known: frozenset[str]) -> tuple[Rule, ...]:
    """What all files together must fulfil: the rules about those facts that are known tonight, given the tables that
    there are. What may drift is left to `drift.py`.

    Raises ValueError where a fact is missing that every night has: its rule must not be passed over.
    """
    if missing := always_known(tables) - known:
        raise ValueError(f"facts are missing: {', '.join(sorted(missing))}")
    rules = suite_of(checks)["dataset"]
    return tuple(rule for rule in rules if rule.column in known and not isinstance(rule.check, Similar))


def drift_rules(checks: ChecksConfig) -> tuple[Rule, ...]:
    """How far distributions may drift from the last good night's. Their shares are not filled in yet."""
    return tuple(rule for rule in suite_of(checks)["dataset"] if isinstance(rule.check, Similar))


def suite_of(checks: ChecksConfig) -> Suite:
    """The suite in force. Raises ConfigError where its file is missing or wrong."""
    if checks.suite is None:
        return default_suite(checks)
    return load_suite(_text(checks.suite), checks.suite)


def load_suite(text: str, label: str) -> Suite:
    """A suite from the text of its file, completed by what holds in any case. Raises ConfigError; `label` names the
    file in it."""
    written = load(text, label, VOCABULARY)
    suite: dict[str, tuple[Rule, ...]] = {}
    for table in VOCABULARY.columns:
        rules = [
            Rule(sentence_of(table, rule.column, rule.check), rule.column, rule.check, label, rule.severity)
            for rule in written.get(table, ())
        ]
        suite[table] = (*_missing(structure(table), rules, label), *rules)
    return suite


def dump_suite(checks: ChecksConfig) -> str:
    """The suite in force as the text of a file to edit."""
    return dump(suite_of(checks), {table: structure(table) for table in VOCABULARY.columns}, HEAD)


def _missing(structure: tuple[Rule, ...], rules: list[Rule], label: str) -> tuple[Rule, ...]:
    """What holds in any case and is not among the rules. A file may be stricter with it, not laxer."""
    severity = {(rule.column, rule.check): rule.severity for rule in rules}
    for rule in structure:
        if severity.get((rule.column, rule.check)) == "warning":
            raise ConfigError(
                f'{label}: "{rule.sentence}" cannot be a warning: later steps rely on it',
                f"write severity: {rule.severity}, or leave the entry out",
            )
    return tuple(rule for rule in structure if (rule.column, rule.check) not in severity)


def suite_hash(checks: ChecksConfig) -> str:
    """Of the expectations in force, for keys: the configuration holds only the name of their file."""
    return make_hash(checks, None if checks.suite is None else _text(checks.suite))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"checks.suite {path} cannot be read: {error}", "give the path of a YAML file") from error


def _is_of_calendar(rule: Rule) -> bool:
    return rule.column == "timestamp" and isinstance(rule.check, Between)


def default_suite(checks: ChecksConfig) -> Suite:
    return {
        "interactions": (*structure("interactions"), *_limits(checks)),
        "users": structure("users"),
        "items": structure("items"),
        "dataset": (*structure("dataset"), *_volume(checks), *_baseline(checks), *_drift(checks)),
    }


def structure(table: str) -> tuple[Rule, ...]:
    """What later steps rely on: it holds whatever a suite says."""
    if table == "dataset":
        return (
            _fact("timestamp_share", OneOf((0.0, 1.0))),
            _fact("users_in_two_files", Between(None, 0)),
            _fact("items_in_two_files", Between(None, 0)),
        )
    if table == "interactions":
        ids = [_of("row", column, check) for column in ID_COLUMN.values() for check in (Present(), NotBlank())]
        return (_of("night", "user_id", HasRows()), *ids, _of("row", "rating", FINITE))
    column = ID_COLUMN[table]
    return tuple(_of("night", column, check) for check in (HasRows(), Present(), NotBlank(), Unique()))


def _limits(checks: ChecksConfig) -> tuple[Rule, ...]:
    limits = [
        ("timestamp", Between(checks.earliest), "earliest"),
        ("timestamp", Between(None, AsOf(checks.future_days)), "future_days"),
        ("rating", Between(checks.min_rating), "min_rating"),
        ("rating", Between(None, checks.max_rating), "max_rating"),
    ]
    return tuple(
        _of("row", column, check, f"checks.{field}") for column, check, field in limits if check != Between(None, None)
    )


def _volume(checks: ChecksConfig) -> tuple[Rule, ...]:
    return (
        _fact("rows", Between(checks.min_rows), "min_rows"),
        _fact("users", Between(checks.min_users), "min_users"),
        _fact("items", Between(checks.min_items), "min_items"),
        *_most("quarantined_share", checks.max_quarantine_share, "max_quarantine_share"),
        *_most("duplicate_share", checks.max_duplicate_share, "max_duplicate_share"),
        *_most("unknown_users_share", checks.max_unknown_share, "max_unknown_share"),
        *_most("unknown_items_share", checks.max_unknown_share, "max_unknown_share"),
        _fact("volume", Between(checks.min_volume), "min_volume"),
        *_most("silent_days", checks.max_silent_days, "max_silent_days"),
    )


def _baseline(checks: ChecksConfig) -> tuple[Rule, ...]:
    return (
        _fact("new_rows_ratio", Between(checks.min_new_rows), "min_new_rows", "warning"),
        *_most("new_rows_ratio", checks.max_new_rows, "max_new_rows", "warning"),
        *_most("lost_users_share", checks.max_lost_users, "max_lost_users", "warning"),
        *_most("lost_items_share", checks.max_lost_items, "max_lost_items", "warning"),
        *_most("new_items_row_share", checks.max_new_item_rows, "max_new_item_rows", "warning"),
        *_most("silence_ratio", checks.max_silence, "max_silence", "warning"),
        *_most("changed_files", checks.max_changed_files, "max_changed_files", "warning"),
        *_most("repeated_files", checks.max_repeated_files, "max_repeated_files", "warning"),
    )


def _drift(checks: ChecksConfig) -> tuple[Rule, ...]:
    limits = {
        "popularity": checks.max_popularity_drift,
        "rating": checks.max_rating_drift,
        "hour": checks.max_hour_drift,
    }
    return tuple(
        _fact(column, Similar((), most), f"max_{column}_drift", "warning")
        for column, most in limits.items()
        if most is not None
    )


def _most(name: str, high: float | None, field: str, severity: Severity = "night") -> tuple[Rule, ...]:
    return () if high is None else (_fact(name, Between(None, high), field, severity),)


def _fact(name: str, check: Check, field: str = "", severity: Severity = "night") -> Rule:
    return Rule(sentence_of("dataset", name, check), name, check, f"checks.{field}" if field else "", severity)


def _of(severity: Severity, column: str, check: Check, setting: str = "") -> Rule:
    return Rule(sentence_of("", column, check), column, check, setting, severity)
