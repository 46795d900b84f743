"""Refused rows are kept, each with its source, its row there, the reason and the night."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DataRefused
from tasks.expect import suite
from tasks.schema import QUARANTINE
from tasks.store.store import Store
from tasks.store.tables import read_table
from tests.tasks.nights import AS_OF, CHECKS, LAX, START, Row, log, numbered, plain_judge, run, stage

UNREAD = [
    (21, "timestamp='yesterday'", '{"user_id":"u1"}'),
    (3, "timestamp='soon'", "{}"),
    (22, "3 cells, not 4", "{}"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "judge", plain_judge)


def quarantined(store: Store) -> dict[str, list[Row]]:
    """By the folder that they lie in."""
    found = {}
    for path in sorted(store.path("quarantine/d").glob("*/quarantine.parquet")):
        table = read_table(path)
        assert table.schema == QUARANTINE
        found[path.parent.name] = table.to_pylist()
    return found


def bad_log() -> list[Row]:
    """Twenty rows, of which three are bad; the row 3 is missing, as one that could not be read."""
    rows = [{**row, "source_row": row["source_row"] + (row["source_row"] >= 3)} for row in log(19)]
    cells: dict[int, dict[str, Any]] = {
        1: {"user_id": 'it\'s "me"\n', "item_id": None, "rating": 9.0},
        5: {"rating": float("nan"), "event": "view"},
        9: {"user_id": None, "timestamp": None},
    }
    return [{**row, **cells.get(row["source_row"], {})} for row in rows]


def test_each_row_is_kept_with_the_first_reason_in_the_files_order(store: Store) -> None:
    staged = stage(store, "a", bad_log(), UNREAD)
    result = run(store, staged)
    ((folder, rows),) = quarantined(store).items()
    assert folder == Path(result.snapshot.interactions[0].path).parent.name
    assert [(row["source_row"], row["reason"]) for row in rows] == [
        (1, "every row has an item id"),
        (3, "timestamp='soon'"),
        (5, "every rating is a finite number"),
        (9, "every row has a user id"),
        (21, "timestamp='yesterday'"),
        (22, "3 cells, not 4"),
    ]
    assert {(row["source"], row["sha256"], row["night"]) for row in rows} == {("a.csv", staged.sha256, AS_OF)}
    assert rows[4]["row"] == '{"user_id":"u1"}'
    assert json.loads(rows[0]["row"]) == {
        "user_id": 'it\'s "me"\n',
        "item_id": None,
        "rating": 9.0,
        "timestamp": "2024-01-01 00:00:00+00",
        "event": None,
    }
    assert json.loads(rows[2]["row"])["rating"] == "nan"
    assert json.loads(rows[3]["row"])["timestamp"] is None


def test_every_row_is_accounted_for(store: Store) -> None:
    result = run(store, stage(store, "a", bad_log(), UNREAD), stage(store, "b", numbered(log(22, 0))), checks=LAX)
    assert (result.read, result.accepted, result.quarantined, result.duplicates) == (44, 22, 6, 16)


def test_reasons_are_counted_and_those_of_cells_put_together(store: Store) -> None:
    result = run(store, stage(store, "a", bad_log(), UNREAD))
    assert result.reasons == (
        ("could not be read: timestamp", 2),
        ("could not be read: 3 cells, not 4", 1),
        ("every rating is a finite number", 1),
        ("every row has a user id", 1),
        ("every row has an item id", 1),
    )
    manifest = store.manifest(str(next(store.path("quarantine/d").iterdir()).relative_to(store.root)))
    assert (manifest["source"], manifest["rows"]) == ("a.csv", 6)
    assert manifest["reasons"] == dict(result.reasons)


def test_a_later_night_keeps_its_own_and_counts_all(store: Store) -> None:
    staged = stage(store, "a", bad_log())
    run(store, staged)
    later = run(store, staged, stage(store, "b", numbered([{**log(1, 50)[0], "user_id": ""}, *log(30, 80)])), day=1)
    nights = sorted({row["night"] for rows in quarantined(store).values() for row in rows})
    assert nights == [AS_OF, AS_OF + timedelta(days=1)]
    assert later.quarantined == 4
    assert sum(rows for _, rows in later.reasons) == 4


def test_a_file_without_refused_rows_has_no_quarantine(store: Store) -> None:
    run(store, stage(store, "a", log()))
    assert not store.path("quarantine").exists()


def test_a_refused_night_keeps_its_rows_beside_its_report_and_takes_nothing_in(store: Store) -> None:
    good = run(store, stage(store, "a", log()))
    checks = CHECKS.model_copy(update={"max_quarantine_share": 0.05})
    staged = (stage(store, "b", bad_log(), UNREAD), stage(store, "c", [{**log(1, 50)[0], "user_id": None}]))
    before = {path: path.stat().st_mtime_ns for path in store.path("lake").rglob("*")}
    for _ in range(2):
        with pytest.raises(DataRefused, match="quarantine"):
            run(store, *staged, checks=checks, day=1)
        ((folder, rows),) = quarantined(store).items()
        assert folder == "2024-06-02T030000"
        assert [(row["source"], row["source_row"]) for row in rows] == [
            *(("b.csv", number) for number in (1, 3, 5, 9, 21, 22)),
            ("c.csv", 1),
        ]
    assert {path: path.stat().st_mtime_ns for path in store.path("lake").rglob("*")} == before
    assert run(store, stage(store, "a", log()), day=2).snapshot == good.snapshot


def test_rows_that_cannot_be_read_may_be_all_that_is_wrong(store: Store) -> None:
    result = run(store, stage(store, "a", log(), [(21, "timestamp='x'", "{}")]))
    assert (result.quarantined, result.accepted) == (1, 20)
    assert [row["source_row"] for rows in quarantined(store).values() for row in rows] == [21]


def test_a_quarantine_row_is_no_duplicate(store: Store) -> None:
    """A bad row that comes twice is kept twice: what is a duplicate is asked of good rows."""
    bad = {**log(1)[0], "user_id": None, "timestamp": START}
    result = run(store, stage(store, "a", numbered([*log(), bad, bad])))
    assert (result.quarantined, result.duplicates) == (2, 0)


def test_mended_rows_that_are_bad_again_do_not_stop_the_nights(store: Store) -> None:
    """A file of theirs has few rows, so that one of them is a large share, and it is there every night."""
    checks = CHECKS.model_copy(update={"max_quarantine_share": 0.05})
    good, still_bad = stage(store, "a", log()), numbered([{**log()[0], "item_id": None}, *log(1, first=50)])
    result = run(store, good, stage(store, "mended/b", still_bad), checks=checks)
    assert (result.read, result.accepted, result.quarantined) == (22, 21, 1)
    with pytest.raises(DataRefused, match="quarantine"):
        run(store, good, stage(store, "b", [*still_bad[:1], *numbered(log(2, first=60))[1:]]), checks=checks)
