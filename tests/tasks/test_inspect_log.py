"""What stands in a log, which limits fit it, what of it would be refused, and the configuration that follows."""

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
import yaml

from tasks.expect.contract import Between, NotBlank, OneOf, Present, Rule
from tasks.inspect.configuration import Line, as_mapping, as_yaml, how_to_judge, positives, which_model
from tasks.inspect.limits import Limits, limits_of, scale_of
from tasks.inspect.log import Activity, Log, facts_of, profile_log
from tasks.inspect.refusals import (
    Reason,
    accepted,
    broken_row_rules,
    failed_facts,
    is_broken,
    merged,
    unread_reasons,
)
from tasks.schema import ID, INTERACTIONS, UNREAD
from tasks.store.engine import Engine, engine
from tasks.store.refs import DatasetRef
from tasks.store.store import Store
from tests.factories import tiny_log

SMALL = Activity(100, 1, (1.0, 2.0, 3.0, 4.0, 5.0), 9, 0.1)
PLAIN = Log(1_000, SMALL, SMALL, 1.0, "2024-01-01", "2024-02-01", 1.0, 0, 0, 1.0, (), ())


def stored(store: Store, table: pa.Table, name: str = "log") -> DatasetRef:
    built = store.build(f"staging/{name}", lambda writer: {"ref": vars(writer.table(name, table))})
    return DatasetRef(**built.manifest["ref"])


def asked(store: Store, table: pa.Table, question: Any) -> Any:
    ref = stored(store, table)
    with engine(store) as one:
        return question(one, one.rows([ref]))


# ---- the log


def test_the_profile_by_hand(store: Store) -> None:
    log = tiny_log(
        ("a", "x", 100, 1.0, "view"),
        ("a", "x", 100, 1.0, "view"),  # an exact duplicate
        ("a", "x", 150, 5.0, "cart"),  # the pair again
        ("a", "y", 86_500, 5.0, None),
        ("b", "x", 200, None, "view"),
        (None, "x", 300, 2.0, "view"),
    )
    log = log.set_column(0, "user_id", pa.array(["a", "a", "a", "a", "b", None]))
    found = asked(store, log, profile_log)
    assert (found.rows, found.duplicates, found.repeats) == (6, 1, 2)
    assert found.repeat_share == pytest.approx(1 / 5)  # of the rows that are no duplicates, the cart
    assert (found.users.count, found.users.least, found.users.most) == (2, 1, 4)
    assert found.users.median == 2.5
    assert found.users.commonest_share == pytest.approx(4 / 5)  # rows without a user are nobody's
    assert (found.items.count, found.items.most) == (2, 5)
    assert (found.first, found.last) == ("1970-01-01 00:01:40", "1970-01-02 00:01:40")
    assert (found.seconds, found.timestamp_share) == (86_400, 1.0)
    assert found.ratings == (("1", 2), ("2", 1), ("5", 2))
    assert found.events == (("view", 4), ("cart", 1), (None, 1))


def test_a_log_without_times_ratings_and_events(store: Store) -> None:
    found = asked(store, tiny_log(("a", "x", None), ("b", "x", None)), profile_log)
    assert (found.timestamp_share, found.first, found.seconds, found.known_share) == (0.0, None, 0.0, None)
    assert (found.ratings, found.events) == ((), ())


def test_an_empty_log(store: Store) -> None:
    found = asked(store, INTERACTIONS.empty_table(), profile_log)
    assert (found.rows, found.users.count, found.duplicates, found.repeat_share) == (0, 0, 0, 0.0)


def test_many_ratings_are_shown_in_ranges(store: Store) -> None:
    rows = [("u", f"i{n}", n, float(n)) for n in range(200)]
    ratings = asked(store, tiny_log(*rows), profile_log).ratings
    assert len(ratings) == 20
    assert sum(n for _, n in ratings) == 200
    assert ratings[0][0].startswith("0 to ")
    assert ratings[-1][0].endswith(" to 199")


def test_the_share_of_the_newest_rows_whose_user_is_known(store: Store) -> None:
    """100 rows; of the ten newest, four are of the user of the first ninety."""
    old = [("old", f"i{n}", n) for n in range(90)]
    new = [("old" if n % 5 in (0, 1) else f"new{n}", "i", 1_000 + n) for n in range(10)]
    assert asked(store, tiny_log(*old, *new), profile_log).known_share == pytest.approx(0.4, abs=0.06)


def test_facts() -> None:
    log = Log(90, SMALL, SMALL, 0.5, None, None, 0.0, 10, 20, None, (), ())
    assert facts_of(log, quarantined=10, read=100) == {
        "rows": 80, "users": 100, "items": 100,
        "timestamp_share": 0.5, "quarantined_share": 0.1, "duplicate_share": 0.1,
    }  # fmt: skip


# ---- limits


@pytest.mark.parametrize(
    ("low", "high", "steps", "scale"),
    [
        (1, 5, 5, (1, 5)),
        (0.5, 5, 10, (0.5, 5)),
        (0, 5, 6, (0, 5)),
        (2, 5, 4, (1, 5)),
        (1, 10, 10, (1, 10)),
        (0, 1, 2, (0, 1)),
        (-10, 10, 41, (-10, 10)),
        (0, 100, 101, (0, 100)),
        (0, 2, 3, None),  # not half of any scale but one that it leaves
        (1, 1, 1, None),
        (0, 100, 102, None),
        (3, 4711, 50, None),
    ],
)
def test_scales(low: float, high: float, steps: int, scale: tuple[float, float] | None) -> None:
    assert scale_of(low, high, steps) == scale


def test_a_few_wrong_values_stretch_no_limit(store: Store) -> None:
    """Of 1,000 ratings from 1 to 5, two are 99; of the times from 1985 on, two are 0."""
    began = int(datetime(1985, 6, 1, tzinfo=UTC).timestamp())
    rows = [("u", f"i{n}", began + n, float(1 + n % 5)) for n in range(998)] + [("u", "i", 0, 99.0)] * 2
    found = asked(store, tiny_log(*rows), lambda one, source: limits_of(one, source, date(1990, 1, 1)))
    assert found == Limits((1.0, 5.0), date(1985, 1, 1))


def test_ordinals_and_recent_logs_need_no_other_first_day(store: Store) -> None:
    for seconds in (5, 1_700_000_000):
        log = tiny_log(("u", "i", seconds), ("v", "j", seconds + 1))
        with engine(store) as one:
            rows = one.rows([stored(store, log, f"log{seconds}")])
            assert limits_of(one, rows, date(1990, 1, 1)) == Limits(None, None)


# ---- refusals

RULES = (
    Rule("there is a user", "user_id", Present(), severity="row"),
    Rule("no user is blank", "user_id", NotBlank(), severity="row"),
    Rule("no rating is above 5", "rating", Between(None, 5), "checks.max_rating", severity="row"),
    Rule("events are known", "event", OneOf(("view",)), severity="warning"),
)


def broken_log() -> pa.Table:
    log = tiny_log(("", "x", 1, 9.0), ("b", "x\x1b[2J", 2, 9.0), ("c", "x", 3, 7.0, "odd"), ("d", "x", 4, 3.0, "view"))
    return log.set_column(0, "user_id", pa.array([None, "b", " ", "d"]))


def test_a_row_is_refused_for_the_first_rule_that_it_breaks(store: Store) -> None:
    found = asked(store, broken_log(), lambda one, rows: broken_row_rules(one, rows, RULES))
    assert {reason.reason: reason.rows for reason in found} == {
        "there is a user": 1, "no user is blank": 1, "no rating is above 5": 1,
    }  # fmt: skip
    high = next(reason for reason in found if reason.setting == "checks.max_rating")
    assert high.examples == ("row 2: rating=9.0, user_id=b, item_id=x\\x1b[2J, timestamp=1970-01-01 00:00:02+00",)


def test_only_row_rules_keep_rows_out(store: Store) -> None:
    def users(one: Engine, rows: str) -> Any:
        return one.table(f"SELECT user_id FROM {rows} WHERE {accepted(RULES)}")["user_id"].to_pylist()

    assert asked(store, broken_log(), users) == ["d"]
    unknown = broken_log().set_column(4, "event", pa.array(["odd"] * 4))
    store_of_two = Store(store.root / "two")
    assert asked(store_of_two, unknown, users) == ["d"]  # a warning


def test_rules_on_other_tables(store: Store) -> None:
    schema = pa.schema([("item_id", ID)])
    with engine(store) as one:
        rows = one.rows([stored(store, pa.table({"item_id": ["a", ""]}))])
        assert is_broken(one, rows, Rule("", "item_id", NotBlank()), schema)
        assert not is_broken(one, rows, Rule("", "item_id", Present()), schema)


def test_unread_rows_are_told_apart_by_what_is_wrong(store: Store) -> None:
    problems = ["timestamp='yesterday'", "3 cells, not 4", "timestamp='a\x1b[31m'", "timestamp='x'", "timestamp='y'"]
    rows = pa.table([[9, 4, 7, 8, 2], problems, ["{}"] * 5], schema=UNREAD)
    found = asked(store, rows, unread_reasons)
    assert [(reason.reason, reason.rows) for reason in found] == [
        ("could not be read: timestamp", 4),
        ("could not be read: 3 cells, not 4", 1),
    ]
    assert found[0].examples == ("row 2: timestamp='y'", "row 7: timestamp='a\\x1b[31m'", "row 8: timestamp='x'")


def test_equal_reasons_of_several_files_are_one() -> None:
    one, two = Reason("a", "row", 2, "", ("1", "2")), Reason("a", "row", 3, "", ("3", "4"))
    assert merged([one, Reason("b", "row", 4, "", ()), two])[0] == Reason("a", "row", 5, "", ("1", "2", "3"))


def test_facts_that_break_a_rule() -> None:
    rules = (Rule("enough", "rows", Between(10)), Rule("few", "users", Between(2)))
    assert failed_facts(rules, {"rows": 9, "users": 2}) == (rules[0],)


# ---- the configuration


def log_with(**more: Any) -> Log:
    return Log(**(vars(PLAIN) | more))


def items(count: int) -> Activity:
    return Activity(**(vars(SMALL) | {"count": count}))


@pytest.mark.parametrize(
    ("log", "protocol"),
    [
        (log_with(), "temporal"),
        (log_with(timestamp_share=0.0, known_share=None), "random"),
        (log_with(known_share=0.49), "leave_last_out"),
    ],
)
def test_the_protocol(log: Log, protocol: str) -> None:
    assert as_mapping(how_to_judge(log))["split"]["protocol"] == protocol


@pytest.mark.parametrize(
    ("log", "model"),
    [
        (log_with(), "blend"),
        (log_with(items=items(20_001)), "item_knn"),
        (log_with(rows=20_000_001), "ease"),
        (log_with(repeats=300), "markov"),
        (log_with(repeats=300, timestamp_share=0.0), "blend"),  # without times nothing follows anything
        (log_with(repeats=300, events=(("view", 1_000),)), "blend"),
    ],
)
def test_the_model(log: Log, model: str) -> None:
    assert which_model(log).value == model


def test_repeats_are_kept_where_people_come_back() -> None:
    assert "repeats" not in as_mapping(how_to_judge(log_with(repeats=299))).get("split", {})
    kept = as_mapping(how_to_judge(log_with(repeats=300)))
    assert kept["split"]["repeats"] == "keep"
    assert kept["recommend"]["seen"] == "include"
    assert all(line.field != "repeats" for line in how_to_judge(log_with(repeats=49)))  # not even offered
    assert any(line.field == "repeats" and line.is_off for line in how_to_judge(log_with(repeats=50)))


def test_events_get_weights_and_ratings_a_threshold_that_is_off() -> None:
    log = log_with(events=(("view", 9), ("purchase", 5), ("refund", 2), (None, 1)), ratings=(("1", 1), ("5", 1)))
    lines = positives(log, (1.0, 5.0))
    assert as_mapping(lines) == {"ingest": {"events": {"view": 1.0, "purchase": 5.0}}}
    assert [(line.field, line.value) for line in lines if line.is_off] == [("min_rating", 4.0)]
    assert "refund left out" in lines[0].why


@pytest.mark.parametrize(
    ("scale", "least"), [((0.5, 5.0), 4), ((1.0, 10.0), 8), ((0.0, 1.0), 1), ((0.0, 100.0), 75), ((-10.0, 10.0), 5)]
)
def test_the_threshold_is_three_quarters_up_the_scale(scale: tuple[float, float], least: float) -> None:
    assert [line.value for line in positives(log_with(ratings=(("1", 1),)), scale)] == [least]


def test_the_text_says_what_is_in_force() -> None:
    lines = [
        Line("model", "name", "ease", "quick"),
        Line("ingest", "columns", {"a: b": "user_id", "c\nd": "item_id"}, "a name\nover two lines: evil: [yaml"),
        Line("ingest", "interactions", ["/a b/*.csv", "- x: #"], "paths"),
        Line("ingest", "events", {"view": 1.0, "cart": 2.5}, "weights"),
        Line("ingest", "min_rating", 4.0, "offered", is_off=True),
        Line("recommend", "seen", "include", "offered", is_off=True),
        Line("ingest", "", None, "a remark"),
    ]
    text = as_yaml(lines, ["head\nmodel: {name: evil}"])
    assert yaml.safe_load(text) == as_mapping(lines)
    assert "  # min_rating: 4.0\n" in text
    assert "# recommend:\n" in text
    assert "view: 1," in text
    assert text.index("ingest:") < text.index("model:\n")
