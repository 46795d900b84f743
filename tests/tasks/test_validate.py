"""Validation: each kind of fault is found, named and counted; nothing bad reaches the lake."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tasks.errors import DataRefused, RunFailed
from tasks.expect import suite
from tasks.expect.contract import Judge, Rule, Verdict
from tasks.schema import INTERACTIONS
from tasks.store.engine import engine
from tasks.store.refs import StagedRef
from tasks.store.store import Store
from tasks.validate import counting, judge
from tasks.validate.config import ChecksConfig
from tasks.validate.examine import Examined, examine
from tasks.validate.night import prepare
from tasks.validate.report import render
from tasks.validate.result import Counts, Finding, Validation, refusal
from tests.tasks.nights import (
    AS_OF,
    CHECKS,
    LAX,
    Row,
    changed,
    features,
    interactions,
    log,
    numbered,
    plain_judge,
    run,
    stage,
)

USERS = ["u0", "u1", "u2", "u3"]
great_expectations = suite.judge


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Great Expectations finds is tested where it must find all that DuckDB counts; else a plain judge does."""
    monkeypatch.setattr(suite, "judge", plain_judge)


@pytest.fixture
def examined(store: Store) -> Callable[..., Examined]:
    """Examines one night's files, given as tables."""

    def examine_them(checks: ChecksConfig = CHECKS, **tables: pa.Table | list[Row]) -> Examined:
        return examine_staged(store, *(stage(store, name, content) for name, content in tables.items()), checks=checks)

    return examine_them


def examine_staged(
    store: Store, *staged: StagedRef, checks: ChecksConfig = CHECKS, judged_by: Judge = plain_judge
) -> Examined:
    with engine(store) as opened:
        return examine(opened, prepare(store, staged, "d", checks, AS_OF, True), judged_by)


def broken(found: Examined) -> list[Finding]:
    return [finding for finding in found.validation.findings if not finding.passed]


def test_good_data_passes(examined: Callable[..., Examined]) -> None:
    found = examined(a=log(), users=features("user_id", USERS))
    assert found.validation.passed
    assert not broken(found)
    assert found.validation.counts == Counts(read=20, accepted=20, duplicates=0)


def test_a_log_without_times_and_ratings_passes(examined: Callable[..., Examined]) -> None:
    assert not broken(examined(a=[{**row, "rating": None, "timestamp": None} for row in log()]))


FAULTS: dict[str, tuple[Callable[[], list[Row]], str, str]] = {
    "no user": (lambda: changed(17, user_id=None), "every row has a user id", "row 17: user_id=null"),
    "no item": (lambda: changed(2, item_id=None), "every row has an item id", "row 2: item_id=null"),
    "empty user": (lambda: changed(3, user_id=""), "no user id is blank", "row 3: user_id=''"),
    "blank item": (lambda: changed(4, item_id=" \t"), "no item id is blank", "row 4: item_id=' \\x09'"),
    "too old": (
        lambda: changed(6, timestamp=datetime(1989, 12, 31, tzinfo=UTC)),
        "no timestamp is before 1990-01-01",
        "row 6: timestamp=1989-12-31 00:00:00",
    ),
    "future": (
        lambda: changed(7, timestamp=AS_OF + timedelta(days=1, seconds=1)),
        "no timestamp is more than 1 day after the night's date",
        "row 7: timestamp=2024-06-02 03:00:01",
    ),
    "low rating": (lambda: changed(8, rating=0.5), "no rating is below 1", "row 8: rating=0.5"),
    "high rating": (lambda: changed(9, rating=6.0), "no rating is above 5", "row 9: rating=6"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_row_is_named_counted_and_shown(fault: str, examined: Callable[..., Examined]) -> None:
    content, sentence, example = FAULTS[fault]
    found = examined(a=content())
    assert [(one.expectation, one.n_failing, one.n_total, one.examples) for one in broken(found)] == [
        (sentence, 1, 20, (example,))
    ]
    assert found.validation.passed  # only the row goes
    assert found.validation.counts == Counts(read=20, accepted=19, duplicates=0, quarantined=1)
    assert found.validation.reasons == ((sentence, 1),)


@pytest.mark.parametrize("rating", [float("nan"), float("inf"), float("-inf")])
def test_a_rating_that_is_no_number_is_found(rating: float, examined: Callable[..., Examined]) -> None:
    """NaN above all: pandas takes it for a missing value, so the judge alone would let it pass."""
    found = examined(ChecksConfig(max_quarantine_share=1), a=changed(11, rating=rating))
    assert [one.expectation for one in broken(found)] == ["every rating is a finite number"]


def test_a_row_that_breaks_several_rules_counts_for_the_first(examined: Callable[..., Examined]) -> None:
    found = examined(a=changed(5, user_id=None, item_id="", rating=9.0))
    assert [one.n_failing for one in broken(found)] == [1, 1, 1]
    assert found.validation.reasons == (("every row has a user id", 1),)
    assert found.validation.counts.quarantined == 1


def test_a_year_that_python_does_not_know_is_shown(examined: Callable[..., Examined]) -> None:
    table = interactions(log())
    late = pa.array([2**61] + [1_700_000_000_000_000] * 19, pa.int64()).cast(INTERACTIONS.field("timestamp").type)
    found = broken(examined(a=table.set_column(3, "timestamp", late)))
    assert found[0].examples[0].startswith("row 1: timestamp=75")
    assert "2023-11-14 22:13:20 to 75" in found[0].observed


def test_mere_ordinals_are_no_dates(examined: Callable[..., Examined]) -> None:
    rows = ordinals()
    found = examined(a=rows)
    assert not broken(found)
    assert found.profile.hours == {}
    one_date = examined(a=[*rows[:-1], {**rows[-1], "timestamp": datetime(1973, 3, 4, tzinfo=UTC)}])
    assert one_date.validation.counts.quarantined == 20


def ordinals(n: int = 20) -> list[Row]:
    """A log whose times are no times."""
    return [{**row, "timestamp": datetime.fromtimestamp(number, UTC)} for number, row in enumerate(log(n))]


def test_ordinals_beside_dates_are_refused(store: Store) -> None:
    """They would all come first. On one night, or on a later one."""
    dated, bare = stage(store, "a", log(40)), stage(store, "c", [{**row, "timestamp": None} for row in log()])
    both = examine_staged(store, dated, stage(store, "b", ordinals()))
    assert both.validation.reasons == (("no timestamp is before 1990-01-01", 20),)
    run(store, dated)
    with pytest.raises(DataRefused, match="no timestamp is before"):
        run(store, stage(store, "b", ordinals()), checks=ChecksConfig(), day=1)
    with pytest.raises(DataRefused, match="share of rows with a timestamp"):
        run(store, bare, day=1)


def test_a_users_column_may_be_called_timestamp(examined: Callable[..., Examined]) -> None:
    users = features("user_id", USERS).rename_columns(["user_id", "timestamp"])
    assert not broken(examined(a=log(), users=users))


NIGHTS: dict[str, tuple[list[Row], ChecksConfig, str, str]] = {
    "rows": (log(), ChecksConfig(min_rows=21), "the number of interactions is at least 21", "20"),
    "users": (log(), ChecksConfig(min_users=5), "the number of users is at least 5", "4"),
    "items": (log(), ChecksConfig(min_items=6), "the number of items is at least 6", "5"),
    "some without time": (
        changed(10, timestamp=None),
        CHECKS,
        "the share of rows with a timestamp is 0% or 100%",
        "19 of 20 rows have one",
    ),
    "duplicates": (
        numbered(log() + log(5)),
        CHECKS,
        "the share of rows that are exact duplicates is at most 10%",
        "20.00%",
    ),
    "quarantine": (
        [{**row, "user_id": None} if row["source_row"] < 3 else row for row in log()],
        ChecksConfig(),
        "the share of rows in quarantine is at most 5%",
        "10.00%",
    ),
}


@pytest.mark.parametrize("fault", NIGHTS)
def test_each_fault_of_a_night_is_named_and_shown(fault: str, examined: Callable[..., Examined]) -> None:
    content, checks, sentence, observed = NIGHTS[fault]
    failed = examined(checks, a=content).validation.failed
    assert [(found.expectation, found.observed) for found in failed] == [(sentence, observed)]


def test_examples_of_a_night_name_file_and_row(examined: Callable[..., Examined]) -> None:
    odd = examined(a=log(), b=changed(10, timestamp=None)[5:15]).validation.failed[0]
    assert (odd.n_failing, odd.n_total, odd.examples) == (1, 21, ("b.csv row 10",))
    twice = examined(a=log(), b=numbered([*log(20, 100), *log(6)])).validation.failed[0]
    assert (twice.n_failing, twice.n_total, twice.examples[0]) == (6, 46, "b.csv row 21")


def test_volume_is_counted_without_duplicates(examined: Callable[..., Examined]) -> None:
    checks = ChecksConfig(max_duplicate_share=0.5)
    assert [found.observed for found in examined(checks, a=numbered([*log(8), *log(8)])).validation.failed] == ["8"]


def test_no_file_at_all_is_refused(examined: Callable[..., Examined]) -> None:
    assert not examined().validation.passed
    assert not Validation((), Counts(0, 0, 0)).passed


def test_an_empty_file_is_refused(examined: Callable[..., Examined]) -> None:
    failed = examined(a=log(), b=[]).validation.failed
    assert [(f.source, f.expectation, f.observed) for f in failed] == [("b.csv", "the file has rows", "0 rows")]


@pytest.mark.parametrize("found", ["missing", "int64"])
def test_wrong_columns_are_named_and_nothing_else_is_guessed(found: str, examined: Callable[..., Examined]) -> None:
    table = interactions(log()).drop_columns("rating")
    if found == "int64":
        table = table.append_column("rating", pa.array(range(20)))
    result = examined(a=log(20, 100), b=table)
    assert [(f.source, f.expectation, f.observed) for f in result.validation.failed] == [
        ("b.csv", "there is a column rating of type double", found)
    ]
    assert not result.drafts


FEATURES: dict[str, tuple[list[str | None], str, int, str]] = {
    "repeated": ([*USERS, "u1"], "no user id appears twice", 2, "row 2: user_id='u1'"),
    "null": ([*USERS, None], "every row has a user id", 1, "row 5: user_id=null"),
    "blank": ([*USERS, " "], "no user id is blank", 1, "row 5: user_id=' '"),
    "unknown": ([*USERS[:3]], "the share of rows whose user the users table lacks is at most 5%", 5, "a.csv row 4"),
}


@pytest.mark.parametrize("fault", FEATURES)
def test_faults_of_the_users_table_refuse_the_night(fault: str, examined: Callable[..., Examined]) -> None:
    ids, sentence, n_failing, example = FEATURES[fault]
    failed = examined(a=log(), users=features("user_id", ids)).validation.failed
    assert [(f.expectation, f.n_failing, f.examples[0]) for f in failed] == [(sentence, n_failing, example)]


def test_an_item_in_two_item_files_is_refused(examined: Callable[..., Examined]) -> None:
    first, second = features("item_id", ["i0", "i1", "i2"]), features("item_id", ["i2", "i3", "i4"])
    failed = examined(a=log(), items__1=first, items__2=second).validation.failed
    assert [f.expectation for f in failed] == ["the number of items in two files of the items table is 0"]


def test_the_second_of_four_files_is_caught(examined: Callable[..., Examined]) -> None:
    """Files that share their rules are judged together, and what is found belongs to the right one."""
    files = {name: log(20, 100 * number) for number, name in enumerate("abcd")}
    files["b"][3]["user_id"] = None
    assert [(f.source, f.n_failing, f.examples) for f in broken(examined(**files))] == [
        ("b.csv", 1, ("row 4: user_id=null",))
    ]


def test_the_findings_of_a_file_stand_together_in_the_files_order(examined: Callable[..., Examined]) -> None:
    """Ordinals have rules of their own, so b, which has no times, is judged apart from a and c."""
    bare = [{**row, "timestamp": None} for row in log()]
    found = examined(a=ordinals(), b=bare, c=ordinals(30)).validation.findings
    sources = [finding.source for finding in found]
    assert list(dict.fromkeys(sources)) == ["a.csv", "b.csv", "c.csv", "all files"]
    assert sources == sorted(sources, key=["a.csv", "b.csv", "c.csv", "all files"].index)


def test_a_large_file_is_judged_on_a_sample_and_every_kind_of_failing_row(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr(judge, "N_SAMPLED", 3)
    monkeypatch.setattr(counting, "N_WITNESSES", 2)
    seen: dict[str, int] = {}

    def watched(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> tuple[Verdict, ...]:
        seen[name] = len(frame)
        return great_expectations(name, frame, rules)

    bad = [{**row, "user_id": None} if row["source_row"] % 4 == 2 else row for row in log()]
    users = features("user_id", [*USERS, "x", "y", "z", "z", "y", "x"])
    found = examine_staged(store, stage(store, "a", bad), stage(store, "users", users), judged_by=watched)
    assert [(f.expectation, f.n_failing) for f in broken(found)] == [
        ("every row has a user id", 5),
        ("no user id appears twice", 6),
    ]
    assert (seen["interactions 0: rows"], seen["users 1: rows"]) == (5, 4)  # rows 1, 8, 15 and 2, 6; 1, 5, 9 and 5, 10


def test_great_expectations_finds_every_fault_that_is_counted(store: Store) -> None:
    """Were they to differ on one, the run would stop."""
    bad = numbered([*log(100, 100), *(row for make, _, _ in FAULTS.values() for row in make())])
    bad += [{**row, "rating": rating} for row, rating in zip(log(3, 300), (float("nan"), 1e999, -1e999), strict=True)]
    staged = (stage(store, "a", bad), stage(store, "items", features("item_id", ["i0", "i0", " ", None])))
    checks = CHECKS.model_copy(update={"max_duplicate_share": 1.0})
    found = examine_staged(store, *staged, checks=checks, judged_by=great_expectations)
    plain = examine_staged(store, *staged, checks=checks)
    assert found.validation == plain.validation
    assert {one.expectation for one in broken(found)} >= {sentence for _, sentence, _ in FAULTS.values()}


def test_fewer_results_than_expectations_stop_the_run(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    honest = suite._run
    monkeypatch.setattr(suite, "_run", lambda *args: honest(*args)[:-1])
    with pytest.raises(RunFailed, match="6 expectations were asked for, 5 results came back"):
        examine_staged(store, stage(store, "a", log()), judged_by=great_expectations)


def test_a_judge_that_passes_what_was_counted_as_bad_stops_the_run(store: Store) -> None:
    def blind(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> tuple[Verdict, ...]:
        return tuple(Verdict(True, 0) for _ in rules)

    with pytest.raises(RunFailed, match="1 failing rows were counted and the judge said passed"):
        examine_staged(store, stage(store, "a", changed(1, user_id=None)), judged_by=blind)


def test_duplicates_are_dropped_across_files_and_the_first_is_kept(store: Store) -> None:
    again = [{**log()[4], "source_row": 21}, {**log()[5], "rating": 4.0, "source_row": 22}]  # the second one differs
    other = numbered([log()[0], *log(19, 50)])
    result = run(store, stage(store, "a", log() + again), stage(store, "b", other))
    assert (result.read, result.accepted, result.duplicates) == (42, 40, 2)
    first, second = [store.read(part) for part in result.snapshot.interactions]
    assert first["source_row"].to_pylist() == [*range(1, 21), 22]
    assert second["source_row"].to_pylist() == list(range(2, 21))
    assert first.schema == second.schema == INTERACTIONS


def test_an_event_makes_two_rows_of_one(store: Store) -> None:
    twice = numbered([*log(), {**log()[0], "event": "view"}, {**log()[0], "event": "cart"}])
    assert run(store, stage(store, "a", twice)).duplicates == 0


def test_the_refusal_says_what_and_where_in_one_line(store: Store) -> None:
    bad = [{**row, "user_id": None} if row["source_row"] > 17 else row for row in log()]
    with pytest.raises(DataRefused) as refused:
        run(store, stage(store, "a", bad), checks=ChecksConfig(min_rows=18))
    assert refused.value.message == (
        'all files: "the number of interactions is at least 18" does not hold (found 17); '
        "1 further expectation failed; in quarantine: "
        'a.csv: 3 of 20 rows break "every row has a user id" (row 18: user_id=null)'
    )
    report = store.root / "quarantine/d/2024-06-01T030000/report.html"
    assert refused.value.report == str(report)
    assert refused.value.hint == (
        f"mend the file or change checks.max_quarantine_share, checks.min_rows; report: {report}"
    )
    assert "every row has a user id" in report.read_text(encoding="utf-8")
    assert not (store.root / "lake").exists()


def test_a_hostile_value_stays_on_its_line(store: Store) -> None:
    bad = features("user_id", [*USERS, "\x1b[31m\n" + "x" * 1000, "\x1b[31m\n" + "x" * 1000])
    message, _ = refusal(examine_staged(store, stage(store, "a", log()), stage(store, "users", bad)).validation)
    assert message.isprintable()
    assert len(message) < 250


def test_the_second_call_is_cached_and_does_not_import_the_judge(store: Store) -> None:
    staged = (stage(store, "a", log()), stage(store, "users", features("user_id", USERS)))
    first = run(store, *staged)
    code = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from tasks.store.refs import *; from tasks.store.store import Store\n"
        "from tasks.validate.config import ChecksConfig; from tasks.validate.task import validate\n"
        f"again = validate.fn(Store(Path({str(store.root)!r})), {staged!r}, 'd', "
        f"ChecksConfig(min_rating=1, max_rating=5, max_quarantine_share=1), datetime(2025, 1, 1, tzinfo=UTC), True)\n"
        "assert 'great_expectations' not in sys.modules; print(repr(again))"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert not first.cached
    assert again == repr(replace(first, cached=True))


def test_other_limits_are_judged_anew_on_the_same_snapshot(store: Store) -> None:
    staged = stage(store, "a", log())
    first, second = run(store, staged), run(store, staged, checks=ChecksConfig(min_rows=11))
    assert not second.cached
    assert second.snapshot == first.snapshot
    assert second.report != first.report
    with pytest.raises(DataRefused):
        run(store, staged, checks=ChecksConfig(min_rows=21))


def test_equal_data_gives_an_equal_snapshot_whatever_its_name(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "elsewhere")
    here, there = run(store, stage(store, "a", log())), run(other, stage(other, "z", log()))
    less = run(other, stage(other, "y", log(19)), appends=False)
    assert here.snapshot == there.snapshot
    assert less.snapshot.hash != here.snapshot.hash


def test_the_lake_holds_the_whole_table_its_manifest_and_the_report(store: Store) -> None:
    items = features("item_id", ["i0", "i1", "i2", "i3", "i4"])
    result = run(store, stage(store, "a", log()), stage(store, "items", items))
    snapshot = result.snapshot
    assert store.read(snapshot.items[0]).equals(items)
    about = store.manifest(str(Path(snapshot.interactions[0].path).parent))
    assert {name: about[name] for name in ("source", "first", "last", "rows", "duplicates", "quarantined")} == {
        "source": "a.csv",
        "first": "2024-01-01 00:00:00",
        "last": "2024-01-01 19:00:00",
        "rows": 20,
        "duplicates": 0,
        "quarantined": 0,
    }
    assert "Accepted" in store.path(result.report).read_text(encoding="utf-8")


def test_limits_that_are_lax_let_all_pass(store: Store) -> None:
    assert run(store, stage(store, "a", log(1)), checks=LAX).accepted == 1


def test_the_report_of_a_night_shows_what_was_found(examined: Callable[..., Examined]) -> None:
    page = render(examined(a=changed(3, user_id=None)).validation, "d", AS_OF)
    assert "every row has a user id" in page
    assert "1 of 1 files are new tonight" in page
