"""The contract: which rules hold by default, what each limit moves, and what a night without facts does."""

from datetime import UTC, date, datetime

import pytest

from tasks.expect import suite
from tasks.expect.agree import judge_facts
from tasks.expect.contract import Between, HasRows, NotBlank, OneOf, Present, Rule, Severity, Unique
from tasks.expect.words import FINITE
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import columns_of, dataset_rules, default_suite, drift_rules, rows_of, structure
from tasks.validate.vocabulary import FACTS, always_known

AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)
AS_OF_US = 1_717_210_800_000_000
DAY_US = 86_400_000_000
ALL_KNOWN = frozenset(FACTS)
NO_TABLES: frozenset[str] = frozenset()

LIMITS: dict[str, tuple[float, str, str, float | None, float | None, Severity]] = {
    "future_days": (2, "interactions", "timestamp", None, AS_OF_US + 2 * DAY_US, "row"),
    "min_rating": (0.5, "interactions", "rating", 0.5, None, "row"),
    "max_rating": (5, "interactions", "rating", None, 5, "row"),
    "max_quarantine_share": (0.2, "dataset", "quarantined_share", None, 0.2, "night"),
    "min_rows": (7, "dataset", "rows", 7, None, "night"),
    "min_users": (7, "dataset", "users", 7, None, "night"),
    "min_items": (7, "dataset", "items", 7, None, "night"),
    "max_duplicate_share": (0.2, "dataset", "duplicate_share", None, 0.2, "night"),
    "max_unknown_share": (0.2, "dataset", "unknown_users_share", None, 0.2, "night"),
    "min_volume": (0.7, "dataset", "volume", 0.7, None, "night"),
    "max_silent_days": (3, "dataset", "silent_days", None, 3, "night"),
    "min_new_rows": (0.2, "dataset", "new_rows_ratio", 0.2, None, "warning"),
    "max_new_rows": (7, "dataset", "new_rows_ratio", None, 7, "warning"),
    "max_lost_users": (0.2, "dataset", "lost_users_share", None, 0.2, "warning"),
    "max_lost_items": (0.2, "dataset", "lost_items_share", None, 0.2, "warning"),
    "max_new_item_rows": (0.2, "dataset", "new_items_row_share", None, 0.2, "warning"),
    "max_silence": (7, "dataset", "silence_ratio", None, 7, "warning"),
    "max_changed_files": (3, "dataset", "changed_files", None, 3, "warning"),
    "max_repeated_files": (3, "dataset", "repeated_files", None, 3, "warning"),
}
"""Each field: a value, the table and column that it is about, the limits that follow, and the severity."""
DRIFTS = {"max_popularity_drift": "popularity", "max_rating_drift": "rating", "max_hour_drift": "hour"}


def rules_of(table: str, checks: ChecksConfig) -> tuple[Rule, ...]:
    if table == "dataset":
        return dataset_rules(checks, frozenset({"users", "items"}), ALL_KNOWN)
    return rows_of(table, checks, AS_OF)


@pytest.mark.parametrize("field", LIMITS)
def test_each_limit_moves_its_rule(field: str) -> None:
    value, table, column, low, high, severity = LIMITS[field]
    found = [rule for rule in rules_of(table, ChecksConfig(**{field: value})) if rule.setting == f"checks.{field}"]
    assert (column, Between(low, high), severity) in [(rule.column, rule.check, rule.severity) for rule in found]


@pytest.mark.parametrize("field", DRIFTS)
def test_each_drift_has_its_limit_or_none(field: str) -> None:
    (rule,) = [rule for rule in drift_rules(ChecksConfig(**{field: 0.7})) if rule.column == DRIFTS[field]]
    assert (rule.setting, rule.severity) == (f"checks.{field}", "warning")
    assert "at most 0.7" in rule.sentence
    assert DRIFTS[field] not in [rule.column for rule in drift_rules(ChecksConfig(**{field: None}))]


def test_no_limit_is_without_a_test() -> None:
    assert {*LIMITS, *DRIFTS, "earliest", "suite"} == set(ChecksConfig.model_fields)


def test_unknown_items_have_the_limit_of_unknown_users() -> None:
    rules = rules_of("dataset", ChecksConfig(max_unknown_share=0.2))
    assert Between(None, 0.2) in [rule.check for rule in rules if rule.column == "unknown_items_share"]


def test_what_a_row_of_interactions_must_fulfil_by_default() -> None:
    rules = rows_of("interactions", ChecksConfig(), AS_OF)
    assert [(rule.sentence, rule.column, rule.check, rule.severity) for rule in rules] == [
        ("the file has rows", "user_id", HasRows(), "night"),
        ("every row has a user id", "user_id", Present(), "row"),
        ("no user id is blank", "user_id", NotBlank(), "row"),
        ("every row has an item id", "item_id", Present(), "row"),
        ("no item id is blank", "item_id", NotBlank(), "row"),
        ("every rating is a finite number", "rating", FINITE, "row"),
        ("no timestamp is before 1990-01-01", "timestamp", Between(7305 * DAY_US), "row"),
        (
            "no timestamp is more than 1 day after the night's date",
            "timestamp",
            Between(None, AS_OF_US + DAY_US),
            "row",
        ),
    ]  # fmt: skip


def test_the_earliest_day_is_a_limit() -> None:
    rules = rows_of("interactions", ChecksConfig(earliest=date(1970, 1, 3)), AS_OF)
    assert [rule.check for rule in rules if rule.setting == "checks.earliest"] == [Between(2 * DAY_US)]


def test_no_rule_of_the_calendar_applies_to_ordinals() -> None:
    dated = rows_of("interactions", ChecksConfig(), AS_OF)
    ordinals = rows_of("interactions", ChecksConfig(), AS_OF, is_dated=False)
    assert [rule.setting for rule in dated if rule not in ordinals] == ["checks.earliest", "checks.future_days"]


@pytest.mark.parametrize(("table", "column"), [("users", "user_id"), ("items", "item_id")])
def test_what_a_row_of_features_must_fulfil(table: str, column: str) -> None:
    found = [(rule.column, rule.check, rule.severity) for rule in rows_of(table, ChecksConfig(), AS_OF)]
    assert found == [(column, check, "night") for check in (HasRows(), Present(), NotBlank(), Unique())]


def test_the_columns_that_must_be_there() -> None:
    assert [(rule.column, rule.check) for rule in columns_of("users")] == [("user_id", OneOf(("string",)))]
    found = {rule.column: rule.check for rule in columns_of("interactions")}
    assert found["timestamp"] == OneOf(("timestamp[us, tz=UTC]",))
    assert list(found) == ["user_id", "item_id", "rating", "timestamp", "event", "source_row"]


def test_rules_about_a_baseline_wait_for_one() -> None:
    first_night = dataset_rules(ChecksConfig(), NO_TABLES, always_known(NO_TABLES))
    assert {rule.column for rule in first_night} == always_known(NO_TABLES)
    assert {rule.severity for rule in first_night} == {"night"}
    second = dataset_rules(ChecksConfig(), NO_TABLES, always_known(NO_TABLES) | {"volume"})
    assert [rule.column for rule in second if rule not in first_night] == ["volume"]


@pytest.mark.parametrize("missing", ["rows", "quarantined_share", "timestamp_share", "unknown_users_share"])
def test_a_rule_is_not_passed_over_because_its_fact_is_missing(missing: str) -> None:
    with pytest.raises(ValueError, match=f"facts are missing: {missing}"):
        dataset_rules(ChecksConfig(), frozenset({"users"}), ALL_KNOWN - {missing})


GOOD: dict[str, float] = {
    "rows": 10, "users": 2, "items": 2, "timestamp_share": 1, "quarantined_share": 0.05, "duplicate_share": 0.1,
    "unknown_users_share": 0.05, "unknown_items_share": 0.05, "users_in_two_files": 0, "items_in_two_files": 0,
    "volume": 0.5, "new_rows_ratio": 0.1, "lost_users_share": 0.5, "lost_items_share": 0.5, "new_items_row_share": 0.5,
    "late_share": 1, "silent_days": 1000, "silence_ratio": 3, "changed_files": 0, "repeated_files": 0,
}  # fmt: skip
BAD: dict[str, float] = {
    "rows": 9, "users": 1, "items": 1, "timestamp_share": 0.999, "quarantined_share": 0.051, "duplicate_share": 0.11,
    "unknown_users_share": 0.051, "unknown_items_share": 0.051, "users_in_two_files": 1, "items_in_two_files": 1,
    "volume": 0.49, "new_rows_ratio": 0.09, "lost_users_share": 0.51, "lost_items_share": 0.51,
    "new_items_row_share": 0.51, "silence_ratio": 3.1, "changed_files": 1, "repeated_files": 1,
}  # fmt: skip


def failing(facts: dict[str, float]) -> set[str]:
    rules = rules_of("dataset", ChecksConfig())
    verdicts = judge_facts("facts", facts, rules, suite.judge)
    return {rule.column for rule, verdict in zip(rules, verdicts, strict=True) if not verdict.passed}


def test_facts_at_their_limits_pass_and_those_beyond_fail() -> None:
    assert failing(GOOD) == set()
    assert failing(GOOD | BAD) == set(BAD)
    assert failing(GOOD | {"new_rows_ratio": 10.1}) == {"new_rows_ratio"}
    assert failing(GOOD | {"timestamp_share": 0}) == set()


SENTENCES = {
    "checks.min_rows": "the number of interactions is at least 10",
    "checks.max_quarantine_share": "the share of rows in quarantine is at most 5%",
    "checks.min_volume": "the number of interactions, against the last good night's, is at least 0.5 times",
    "checks.max_silent_days": "the time from the newest interaction to the night's date is at most 1 day",
    "checks.max_changed_files": "the number of files that changed under their name is 0",
}


@pytest.mark.parametrize("setting", SENTENCES)
def test_facts_are_named_with_their_unit(setting: str) -> None:
    rules = rules_of("dataset", ChecksConfig(max_silent_days=1))
    assert [rule.sentence for rule in rules if rule.setting == setting] == [SENTENCES[setting]]


def test_times_for_all_rows_or_for_none_whatever_is_configured() -> None:
    (rule,) = [rule for rule in structure("dataset") if rule.column == "timestamp_share"]
    assert rule.sentence == "the share of rows with a timestamp is 0% or 100%"
    assert rule in default_suite(ChecksConfig())["dataset"]
