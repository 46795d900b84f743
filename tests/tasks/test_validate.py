"""Validation: each kind of fault is found, named and counted; nothing bad reaches the lake."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tasks.errors import DataRefused, RunFailed
from tasks.schema import INTERACTIONS, STAGED_INTERACTIONS
from tasks.store.refs import DatasetRef, StagedRef, Validated
from tasks.store.store import Store
from tasks.validate import rows, suite
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import Between, Rule
from tasks.validate.judge import Judged, Verdict, judge_files
from tasks.validate.report import render
from tasks.validate.result import Counts, Finding, Validation, refusal
from tasks.validate.task import validate

NOWHERE = DatasetRef("", 0, "")
AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)
CHECKS = ChecksConfig(min_rating=1, max_rating=5)
Row = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def log(n: int = 20, first: int = 0) -> list[Row]:
    """n good interactions that differ from each other, of 4 users and 5 items."""
    return [
        {
            "user_id": f"u{row % 4}",
            "item_id": f"i{row % 5}",
            "rating": 3.0,
            "timestamp": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=row),
            "source_row": row - first + 1,
            "unparsed": None,
        }
        for row in range(first, first + n)
    ]


def changed(row: int, **cells: Any) -> list[Row]:
    """A good log with other cells in the row of this number."""
    return [{**content, **cells} if content["source_row"] == row else content for content in log()]


def interactions(content: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(content, STAGED_INTERACTIONS)


def features(column: str, ids: list[str | None]) -> pa.Table:
    return pa.table({column: pa.array(ids, pa.string()), "title": pa.array(["t"] * len(ids), pa.string())})


def kind(name: str) -> str:
    """The table that a file of this name stands for: what precedes `__` if that is users or items."""
    return name.split("__")[0] if name.startswith(("users", "items")) else "interactions"


def stage(store: Store, **tables: pa.Table) -> tuple[StagedRef, ...]:
    """Staged files of these names."""
    return tuple(stage_one(store, name, content) for name, content in tables.items())


def stage_one(store: Store, name: str, content: pa.Table) -> StagedRef:
    built = store.build(f"staging/d/{name}", lambda writer: asdict(writer.table("rows", content)))
    data = DatasetRef(**built.manifest)
    return StagedRef(kind(name), f"{name}.csv", data.fingerprint, data)


def examine(checks: ChecksConfig = CHECKS, **tables: pa.Table) -> Judged:
    """Judges tables without a store."""
    files = [(StagedRef(kind(name), f"{name}.csv", "", NOWHERE), content) for name, content in tables.items()]
    return judge_files(files, checks, AS_OF, suite.judge)


def run(store: Store, staged: tuple[StagedRef, ...], checks: ChecksConfig = CHECKS) -> Validated:
    return validate.fn(store, staged, "d", checks, AS_OF)


def test_good_data_passes() -> None:
    judged = examine(a=interactions(log()), users=features("user_id", ["u0", "u1", "u2", "u3"]))
    assert judged.validation.passed
    assert judged.validation.counts == Counts(read=20, accepted=20, duplicates=0)
    assert judged.kept[0].all()


def test_a_log_without_times_and_ratings_passes() -> None:
    bare = [{**row, "rating": None, "timestamp": None} for row in log()]
    assert examine(a=interactions(bare)).validation.passed


FAULTS: dict[str, tuple[Callable[[], list[Row]], str, int, str]] = {
    "no user": (lambda: changed(17, user_id=None), "every row has a user id", 1, "row 17: user_id=null"),
    "no item": (lambda: changed(2, item_id=None), "every row has an item id", 1, "row 2: item_id=null"),
    "empty user": (lambda: changed(3, user_id=""), "no user id is blank", 1, "row 3: user_id=''"),
    "blank item": (lambda: changed(4, item_id=" \t"), "no item id is blank", 1, "row 4: item_id=' \\x09'"),
    "unreadable": (
        lambda: changed(5, unparsed="timestamp='yesterday'"),
        "every cell could be read",
        1,
        "row 5: timestamp='yesterday'",
    ),
    "too old": (
        lambda: changed(6, timestamp=datetime(1969, 12, 31, tzinfo=UTC)),
        "no timestamp is before 1970-01-01",
        1,
        "row 6: timestamp=1969-12-31 00:00:00",
    ),
    "future": (
        lambda: changed(7, timestamp=AS_OF + timedelta(days=1, seconds=1)),
        "no timestamp is more than 1 day after the night's date (2024-06-01 03:00)",
        1,
        "row 7: timestamp=2024-06-02 03:00:01",
    ),
    "low rating": (lambda: changed(8, rating=0.5), "no rating is below 1", 1, "row 8: rating=0.5"),
    "high rating": (lambda: changed(9, rating=6.0), "no rating is above 5", 1, "row 9: rating=6"),
    "some without time": (
        lambda: changed(10, timestamp=None),
        "all rows have a timestamp, or none has",
        1,
        "a.csv row 10",
    ),
    "duplicates": (
        lambda: log() + [{**row, "source_row": row["source_row"] + 20} for row in log()[:5]],
        "at most 10% of the rows are exact duplicates",
        5,
        "a.csv row 21",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_counted_and_shown(fault: str) -> None:
    content, sentence, n_failing, example = FAULTS[fault]
    failed = examine(a=interactions(content())).validation.failed
    assert [(found.expectation, found.n_failing, found.examples[0]) for found in failed] == [
        (sentence, n_failing, example)
    ]


@pytest.mark.parametrize("rating", [float("nan"), float("inf")])
def test_a_rating_that_is_no_number_is_found(rating: float) -> None:
    """NaN above all: pandas takes it for a missing value, so the judge alone would let it pass."""
    failed = examine(ChecksConfig(), a=interactions(changed(11, rating=rating))).validation.failed
    assert [found.expectation for found in failed] == ["every rating is a finite number"]


def test_a_year_that_python_does_not_know_is_shown() -> None:
    table = interactions(log())
    late = pa.array([2**61] + [0] * 19, pa.int64()).cast(STAGED_INTERACTIONS.field("timestamp").type)
    failed = examine(a=table.set_column(3, "timestamp", late)).validation.failed
    assert failed[0].n_failing == 1
    assert failed[0].examples[0].startswith("row 1: timestamp=")


VOLUME = {
    "rows": (ChecksConfig(min_rows=21), "there are at least 21 interactions", "20"),
    "users": (ChecksConfig(min_users=5), "there are at least 5 users", "4"),
    "items": (ChecksConfig(min_items=6), "there are at least 6 items", "5"),
}


@pytest.mark.parametrize("kind", VOLUME)
def test_too_little_data_is_refused(kind: str) -> None:
    checks, sentence, observed = VOLUME[kind]
    failed = examine(checks, a=interactions(log())).validation.failed
    assert [(found.expectation, found.observed) for found in failed] == [(sentence, observed)]


def test_volume_is_counted_without_duplicates() -> None:
    twice = [*log(8), *({**row, "source_row": row["source_row"] + 8} for row in log(8))]
    failed = examine(ChecksConfig(max_duplicate_share=0.5), a=interactions(twice)).validation.failed
    assert [found.observed for found in failed] == ["8"]


def test_no_file_at_all_is_refused() -> None:
    assert not examine().validation.passed
    assert not Validation((), Counts(0, 0, 0)).passed


def test_an_empty_file_is_refused() -> None:
    failed = examine(a=interactions(log()), b=interactions([])).validation.failed
    assert [(found.source, found.expectation) for found in failed] == [("b.csv", "the file has rows")]


@pytest.mark.parametrize("found", ["missing", "int64"])
def test_wrong_columns_are_named_and_nothing_else_is_guessed(found: str) -> None:
    table = interactions(log()).drop_columns("rating")
    if found == "int64":
        table = table.append_column("rating", pa.array(range(20)))
    judged = examine(a=table, b=interactions(log()))
    assert [(f.source, f.expectation, f.observed) for f in judged.validation.failed] == [
        ("a.csv", "there is a column rating of type double", found)
    ]
    assert judged.kept == ()


FEATURES: dict[str, tuple[list[str | None], str, int, str]] = {
    "repeated": (["u0", "u1", "u2", "u3", "u1"], "no user id appears twice", 2, "row 2: user_id='u1'"),
    "null": (["u0", "u1", "u2", "u3", None], "every row has a user id", 1, "row 5: user_id=null"),
    "blank": (["u0", "u1", "u2", "u3", " "], "no user id is blank", 1, "row 5: user_id=' '"),
    "unknown": (
        ["u0", "u1", "u2"],
        "at most 5% of the rows have a user that the users table lacks",
        5,
        "a.csv row 4",
    ),
}


@pytest.mark.parametrize("fault", FEATURES)
def test_faults_of_the_users_table(fault: str) -> None:
    ids, sentence, n_failing, example = FEATURES[fault]
    failed = examine(a=interactions(log()), users=features("user_id", ids)).validation.failed
    assert [(f.expectation, f.n_failing, f.examples[0]) for f in failed] == [(sentence, n_failing, example)]


def test_an_item_in_two_item_files_is_refused() -> None:
    first, second = features("item_id", ["i0", "i1", "i2"]), features("item_id", ["i2", "i3", "i4"])
    failed = examine(a=interactions(log()), items__1=first, items__2=second).validation.failed
    assert [f.expectation for f in failed] == ["no item is in two files of the items table"]


def test_the_second_of_four_files_is_caught() -> None:
    """Several validations on one asset of Great Expectations collapse to the last, and this night would pass."""
    files = {name: interactions(log(20, 100 * number)) for number, name in enumerate("abcd")}
    files["b"] = files["b"].set_column(0, "user_id", pa.array([None] + ["u1"] * 19, pa.string()))
    failed = examine(**files).validation.failed
    assert [(f.source, f.expectation) for f in failed] == [("b.csv", "every row has a user id")]


def test_a_large_file_is_judged_on_a_sample_and_every_kind_of_failing_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "N_SAMPLED", 3)
    monkeypatch.setattr(rows, "N_WITNESSES", 2)
    bad = [{**row, "user_id": None} if row["source_row"] % 4 == 2 else row for row in log()]
    users = features("user_id", ["u0", "u1", "u2", "u3", "x", "y", "z", "z", "y", "x"])
    failed = examine(a=interactions(bad), users=users).validation.failed
    assert [(f.expectation, f.n_failing) for f in failed] == [
        ("every row has a user id", 5),
        ("no user id appears twice", 6),
    ]
    assert examine(a=interactions(log())).validation.passed


def test_fewer_results_than_expectations_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = suite._run
    monkeypatch.setattr(suite, "_run", lambda *args: honest(*args)[:-1])
    with pytest.raises(RunFailed, match="6 expectations were asked for, 5 results came back"):
        examine(a=interactions(log()))


def test_a_judge_that_passes_what_was_counted_as_bad_stops_the_run() -> None:
    def blind(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> tuple[Verdict, ...]:
        return tuple(Verdict(True, 0) for _ in rules)

    ref = StagedRef("interactions", "a.csv", "", NOWHERE)
    with pytest.raises(RunFailed, match="1 failing rows were counted and the judge said passed"):
        judge_files([(ref, interactions(changed(1, user_id=None)))], CHECKS, AS_OF, blind)


def test_an_expectation_that_raises_is_no_pass() -> None:
    rule = Rule("absent column", "absent", Between(0))
    with pytest.raises(RunFailed, match="could not be judged"):
        suite.judge("x", pd.DataFrame({"here": [1]}), (rule,))


def test_duplicates_are_dropped_across_files_and_the_first_is_kept(store: Store) -> None:
    again = [{**log()[4], "source_row": 21}, {**log()[5], "rating": 4.0, "source_row": 22}]  # the second one differs
    staged = stage(store, a=interactions(log() + again), b=interactions([{**log()[0], "source_row": 1}, *log(19, 50)]))
    result = run(store, staged)
    assert (result.read, result.accepted, result.duplicates) == (42, 40, 2)
    first, second = [store.read(part) for part in result.snapshot.interactions]
    assert first["source_row"].to_pylist() == [*range(1, 21), 22]
    assert second["source_row"].to_pylist() == list(range(1, 20))
    assert first.schema == second.schema == INTERACTIONS


def test_rows_without_time_or_rating_can_be_duplicates() -> None:
    bare = [{**row, "rating": None, "timestamp": None} for row in log()]  # 20 pairs of 4 users and 5 items
    twice = examine(ChecksConfig(max_duplicate_share=1), a=interactions(bare), b=interactions(bare))
    assert twice.validation.counts == Counts(read=40, accepted=20, duplicates=20)
    assert [int(kept.sum()) for kept in twice.kept] == [20, 0]


def test_counts_must_add_up() -> None:
    with pytest.raises(ValueError, match="rows are lost"):
        Counts(read=3, accepted=1, duplicates=1)


def test_the_refusal_says_what_and_where_in_one_line(store: Store) -> None:
    bad = [{**row, "user_id": None, "rating": 9.0} if row["source_row"] > 17 else row for row in log()]
    with pytest.raises(DataRefused) as refused:
        run(store, stage(store, a=interactions(bad)))
    assert refused.value.message == (
        'a.csv: 3 of 20 rows break "every row has a user id" (row 18: user_id=null); 1 further expectation failed'
    )
    report = store.root / "quarantine/d/2024-06-01T030000/report.html"
    assert refused.value.report == str(report)
    assert refused.value.hint == f"mend the file or change checks.max_rating; report: {report}"
    assert "every row has a user id" in report.read_text(encoding="utf-8")
    assert not (store.root / "lake").exists()


def test_a_hostile_value_stays_on_its_line() -> None:
    bad = changed(5, unparsed="rating='\x1b[31m\n" + "x" * 1000)
    message, _ = refusal(examine(a=interactions(bad)).validation)
    assert message.isprintable()
    assert len(message) < 250


def test_the_second_call_is_cached_and_does_not_import_the_judge(store: Store) -> None:
    staged = stage(store, a=interactions(log()), users=features("user_id", ["u0", "u1", "u2", "u3"]))
    first = run(store, staged)
    code = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from tasks.store.refs import *; from tasks.store.store import Store\n"
        "from tasks.validate.config import ChecksConfig; from tasks.validate.task import validate\n"
        f"again = validate.fn(Store(Path({str(store.root)!r})), {staged!r}, 'd', "
        f"ChecksConfig(min_rating=1, max_rating=5), datetime(2025, 1, 1, tzinfo=UTC))\n"
        "assert 'great_expectations' not in sys.modules; print(repr(again))"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert not first.cached
    assert again == repr(replace(first, cached=True))


def test_other_limits_are_judged_anew_on_the_same_snapshot(store: Store) -> None:
    staged = stage(store, a=interactions(log()))
    first, second = run(store, staged), run(store, staged, ChecksConfig(min_rows=11))
    assert not second.cached
    assert second.snapshot == first.snapshot
    assert second.report != first.report
    with pytest.raises(DataRefused):
        run(store, staged, ChecksConfig(min_rows=21))


def test_a_lost_partition_is_made_again(store: Store) -> None:
    staged = stage(store, a=interactions(log()))
    first = run(store, staged)
    part = store.path(first.snapshot.interactions[0].path)
    for path in part.parent.iterdir():
        path.unlink()
    part.parent.rmdir()
    assert run(store, staged) == first
    assert part.is_file()


def test_equal_data_gives_an_equal_snapshot_whatever_its_name(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "elsewhere")
    here, there = run(store, stage(store, a=interactions(log()))), run(other, stage(other, z=interactions(log())))
    less = run(other, stage(other, y=interactions(log(19))))
    assert here.snapshot == there.snapshot
    assert less.snapshot.hash != here.snapshot.hash


def test_the_lake_holds_the_whole_table_its_manifest_and_the_report(store: Store) -> None:
    items = features("item_id", ["i0", "i1", "i2", "i3", "i4"])
    result = run(store, stage(store, a=interactions(log()), items=items))
    snapshot = result.snapshot
    assert store.read(snapshot.items[0]).equals(items)
    manifest = store.find(str(Path(snapshot.interactions[0].path).parent))
    assert manifest is not None
    assert manifest.manifest["source"] == "a.csv"
    assert manifest.manifest["first"] == "2024-01-01 00:00:00"
    assert manifest.manifest["duplicates"] == 0
    page = store.path(snapshot.path) / "report.html"
    assert "Accepted" in page.read_text(encoding="utf-8")
    assert store.path(result.report).read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_the_report_escapes_what_comes_from_the_data() -> None:
    attack = "<script>alert(1)</script>"
    finding = Finding(attack, attack, attack, False, 1, 2, (attack,), attack, attack)
    page = render(Validation((finding,), Counts(2, 2, 0)), attack, AS_OF)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_the_report_needs_nothing_from_outside() -> None:
    page = render(examine(a=interactions(log())).validation, "d", AS_OF)
    assert "http" not in page
    assert "src=" not in page
    assert "Accepted" in page
