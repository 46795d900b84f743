"""Suites as files: what is written is read back, what is not understood is named in one line."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigError
from tasks.expect.contract import (
    Absent,
    AsOf,
    Between,
    Check,
    HasRows,
    Matches,
    NotBlank,
    OneOf,
    Present,
    Rule,
    Severity,
    Similar,
    Unique,
)
from tasks.expect.files import ARGUMENTS, dump, load
from tasks.expect.patterns import portable
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import (
    default_suite,
    drift_rules,
    dump_suite,
    load_suite,
    rows_of,
    structure,
    suite_hash,
)
from tasks.validate.vocabulary import DISTRIBUTIONS, FACTS, VOCABULARY

AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)
ALL_SET = ChecksConfig(min_rating=0.5, max_rating=5, max_silent_days=3, earliest=date(1995, 1, 1), future_days=0.5)

EVERY_CHECK: list[tuple[str, str, Check, Severity]] = [
    ("interactions", "user_id", HasRows(7), "night"),
    ("interactions", "rating", Present(), "row"),
    ("interactions", "event", Absent(), "warning"),
    ("interactions", "event", NotBlank(), "row"),
    ("interactions", "user_id", Matches('u[0-9]+|it\'s: {}, "#" \\\\ é'), "row"),
    ("interactions", "event", OneOf(("view", "1", "null", "it's")), "row"),
    ("interactions", "rating", OneOf((0.5, 1, 5)), "warning"),
    ("interactions", "rating", Between(None, 5), "night"),
    ("interactions", "timestamp", Between(date(1990, 1, 1), AsOf(1)), "row"),
    ("interactions", "timestamp", Between(datetime(2020, 1, 1, 12, 30, 1), AsOf(0)), "row"),
    ("interactions", "timestamp", Between(AsOf(-30.5)), "warning"),
    ("items", "item_id", Unique(), "night"),
    ("dataset", "rows", Between(1_000_000), "night"),
    ("dataset", "late_share", Between(None, 1e-3), "warning"),
    ("dataset", "hour", Similar((), 0.3), "warning"),
]


@pytest.mark.parametrize(("table", "column", "check", "severity"), EVERY_CHECK)
def test_every_check_is_read_as_it_was_written(table: str, column: str, check: Check, severity: Severity) -> None:
    rule = Rule("", column, check, "", severity)
    assert load(dump({table: [rule]}, {}), "f", VOCABULARY) == {table: (rule,)}


def test_every_type_has_a_check_that_is_written_so() -> None:
    text = dump({table: [Rule("", column, check)] for table, column, check, _ in EVERY_CHECK}, {})
    lines = [dump({table: [Rule("", column, check)]}, {}) for table, column, check, _ in EVERY_CHECK]
    assert all(any(f"type: {kind}," in line for line in lines) for kind in ARGUMENTS)
    assert text.count("type:") == 3  # one a table


@pytest.mark.parametrize("checks", [ChecksConfig(), ALL_SET])
def test_the_suite_in_force_is_read_as_it_was_written(checks: ChecksConfig) -> None:
    found = load_suite(dump_suite(checks), "f")
    for table, rules in default_suite(checks).items():
        assert [replace(rule, setting="") for rule in found[table]] == [replace(rule, setting="") for rule in rules]


def test_an_entry_in_the_words_of_great_expectations() -> None:
    line = "{type: expect_column_values_to_be_between, column: rating, min_value: 0.5, max_value: 5, severity: row}"
    assert f"  - {line}\n" in dump({"interactions": [Rule("", "rating", Between(0.5, 5), "", "row")]}, {})
    found = load_suite(f"interactions:\n  - {line}", "f")["interactions"][-1]
    assert found == Rule("no rating is below 0.5 or above 5", "rating", Between(0.5, 5), "f", "row")


def test_a_file_takes_the_place_of_the_limits(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("dataset:\n  - {type: expect_column_kl_divergence_to_be_less_than, column: hour, threshold: 1}\n")
    checks = ChecksConfig(suite=str(file), max_rating=5)
    assert [rule.check for rule in rows_of("interactions", checks, AS_OF)] == [
        rule.check for rule in structure("interactions")
    ]
    assert [(rule.check, rule.severity) for rule in drift_rules(checks)] == [(Similar((), 1), "night")]


def test_a_file_may_be_stricter_with_what_holds_in_any_case_not_laxer() -> None:
    entry = "interactions:\n  - {type: expect_column_values_to_not_be_null, column: user_id, severity: %s}"
    found = [
        rule.severity
        for rule in load_suite(entry % "night", "f")["interactions"]
        if (rule.column, rule.check) == ("user_id", Present())
    ]
    assert found == ["night"]
    with pytest.raises(ConfigError, match='"every row has a user id" cannot be a warning'):
        load_suite(entry % "warning", "f")


def test_an_empty_file_leaves_what_holds_in_any_case() -> None:
    assert load_suite("", "f") == {table: structure(table) for table in ("interactions", "users", "items", "dataset")}


BETWEEN = "type: expect_column_values_to_be_between"
WRONG = {
    "yaml": ("interactions: [", "f is no YAML", "mend the file"),
    "no date": ("interactions: [{a: 2024-13-45}]", "f is no YAML", "mend the file"),
    "list": ("- 1", "f: there is no table of expectations", "interactions, users, items, dataset"),
    "table": ("events: []", "f: there is no table 'events'", "interactions, users, items, dataset"),
    "mapping": ("users: {type: x}", "f: users: there is no list", "- {type"),
    "entry": ("users: [3]", "f: users, entry 1: there is no expectation", "{type"),
    "type": ("users: [{type: expect_magic}]", "there is no type 'expect_magic'", "expect_column_values_to_be_unique"),
    "list as type": ("users: [{type: [1]}]", "there is no type [1]", "expect_column_values_to_be_unique"),
    "argument": (f"interactions: [{{{BETWEEN}, column: rating, min: 1}}]", "takes no 'min'", "max_value, min_value"),
    "column": (f"interactions: [{{{BETWEEN}, column: stars, max_value: 1}}]", "there is no column 'stars'", "rating"),
    "no column": (f"interactions: [{{{BETWEEN}, max_value: 1}}]", "there is no column None", "rating"),
    "no row number": (f"interactions: [{{{BETWEEN}, column: source_row, max_value: 1}}]", "no column", "rating"),
    "kind": (f"interactions: [{{{BETWEEN}, column: user_id, max_value: 1}}]", "user_id cannot have", "match_regex"),
    "fact": (f"dataset: [{{{BETWEEN}, column: volumes, max_value: 1}}]", "no column 'volumes'", "volume, new_rows"),
    "rows": ("dataset: [{type: expect_table_row_count_to_be_between, min_value: 1}]", "there is no column", "rows"),
    "unique": (
        "interactions: [{type: expect_column_values_to_be_unique, column: user_id}]", "user_id cannot have", "in_set"
    ),
    "severity": (
        f"interactions: [{{{BETWEEN}, column: rating, max_value: 1, severity: bad}}]",
        "there is no severity 'bad'",
        "row, night, warning",
    ),
    "row of a user": (
        "users: [{type: expect_column_values_to_not_be_null, column: user_id, severity: row}]",
        "no single row",
        "night, warning",
    ),
    "row of a fact": (f"dataset: [{{{BETWEEN}, column: rows, min_value: 1, severity: row}}]", "no single row", "night"),
    "no limit": (f"interactions: [{{{BETWEEN}, column: rating}}]", "there is no limit", "min_value, max_value"),
    "nan": (f"interactions: [{{{BETWEEN}, column: rating, max_value: .nan}}]", "a limit is no number: nan", "a number"),
    "yes": (f"interactions: [{{{BETWEEN}, column: rating, max_value: yes}}]", "a limit is no number: True", "a number"),
    "text": (f"interactions: [{{{BETWEEN}, column: rating, max_value: '5'}}]", "no number: '5'", "a number"),
    "empty range": (
        f"interactions: [{{{BETWEEN}, column: rating, min_value: 2, max_value: 1}}]", "nothing is between 2 and 1", "≤"
    ),
    "number as time": (f"interactions: [{{{BETWEEN}, column: timestamp, min_value: 5}}]", "'5' is no moment", "as_of"),
    "moment": (f"interactions: [{{{BETWEEN}, column: timestamp, max_value: as_of+1h}}]", "no moment", "as_of+1d"),
    "least": (
        "interactions: [{type: expect_table_row_count_to_be_between, min_value: 0}]", "min_value is 0", "at least 1"
    ),
    "set": (
        "interactions: [{type: expect_column_values_to_be_in_set, column: event, value_set: []}]", "no list", "view"
    ),
    "set of numbers": (
        "interactions: [{type: expect_column_values_to_be_in_set, column: event, value_set: [1]}]", "texts", "'1'"
    ),
    "threshold": (
        "dataset: [{type: expect_column_kl_divergence_to_be_less_than, column: hour, threshold: -1}]",
        "threshold is -1",
        "at least 0",
    ),
    "blank": (
        "users: [{type: expect_column_values_to_not_match_regex, column: user_id, regex: x}]",
        "only blank text",
        "regex: '[",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_not_understood_is_named_in_one_line(fault: str) -> None:
    text, problem, known = WRONG[fault]
    with pytest.raises(ConfigError) as refused:
        load_suite(text, "f")
    assert problem in refused.value.message
    assert known in refused.value.hint
    assert "\n" not in str(refused.value)


def test_a_file_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no YAML"):
        load_suite(f"users: !!python/object/apply:os.mkdir ['{tmp_path}/made']", "f")
    assert not (tmp_path / "made").exists()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"checks.suite nowhere.yaml cannot be read"):
        rows_of("interactions", ChecksConfig(suite="nowhere.yaml"), AS_OF)


def test_the_key_of_a_suite_is_its_content(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("users: []")
    checks = ChecksConfig(suite=str(file))
    before = suite_hash(checks)
    assert suite_hash(checks) == before
    file.write_text("items: []")
    assert suite_hash(checks) != before
    assert suite_hash(ChecksConfig()) != suite_hash(ChecksConfig(min_rows=11))


def test_a_hostile_sentence_stays_in_its_comment() -> None:
    rule = Rule("bad\nusers: []\r\x85\u2028", "user_id", Matches("\n"), "", "row")
    assert load(
        dump({"interactions": [rule]}, {"interactions": [replace(rule, severity="night")]}), "f", VOCABULARY
    ) == {"interactions": (replace(rule, sentence=""),)}


@pytest.mark.parametrize("pattern", ["u[0-9]+", "[^ ]*", "a|b", "(ab){2,3}", r"\.\$\^\(\?", r"[\-\]]", "", "é?", r"\t"])
def test_patterns_that_every_engine_reads_alike(pattern: str) -> None:
    assert portable("f", pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [r"\d", r"\w+", r"\x41", r"(a)\1", "(?i)a", "^a", "a$", "a^b", "[[:alpha:]]", "a++", "a{,2}", "[a-z--b]", "(", 7,
     "(((a{9}){99}){99}){99}"],
)  # fmt: skip
def test_patterns_that_engines_read_differently_are_refused(pattern: object) -> None:
    with pytest.raises(ConfigError, match="f: "):
        portable("f", pattern)


@given(st.text("ab[]()^-|*+?{}12,.\\$ \n&~:", max_size=8), st.text("ab-^]\n", max_size=3))
def test_a_portable_pattern_means_the_same_to_arrow_and_python(pattern: str, cell: str) -> None:
    try:
        portable("f", pattern)
    except ConfigError:
        return
    found = pc.match_substring_regex(pa.array([cell]), rf"\A(?:{pattern})\z")[0].as_py()
    assert found == (re.fullmatch(pattern, cell) is not None)


def test_nothing_that_may_be_expected_is_without_a_word() -> None:
    assert set(VOCABULARY.columns["dataset"]) == {*FACTS, *DISTRIBUTIONS}
    for name, fact in FACTS.items():
        assert fact.words.startswith("the "), name
