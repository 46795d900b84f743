"""The lake grows by what is new, holds every row once, and is the same whatever happened on the way."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataRefused, RunFailed
from tasks.expect import suite
from tasks.store.refs import DatasetRef, Validated
from tasks.store.store import Store
from tasks.validate.lake import read_partition
from tasks.validate.ledger import ledger_path, read_ledger
from tests.factories import Killed
from tests.tasks.nights import AS_OF, LAX, START, Row, log, numbered, plain_judge, rows_of, run, stage

KEY = ("user_id", "item_id", "rating", "timestamp", "event")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "judge", plain_judge)


def files_of(store: Store, folder: str = "lake") -> dict[str, int]:
    """Every file with the moment it was written."""
    return {
        str(path.relative_to(store.root)): path.stat().st_mtime_ns
        for path in store.path(folder).rglob("*")
        if path.is_file()
    }


def kept(store: Store, result: Validated) -> list[list[int]]:
    return [[row["source_row"] for row in rows] for rows in rows_of(store, result)]


def test_a_night_adds_its_new_file_and_leaves_the_rest_alone(store: Store) -> None:
    first = run(store, stage(store, "a", log()))
    before = files_of(store)
    again = run(store, stage(store, "a", log()), stage(store, "b", log(20, 100)), day=1)
    assert again.snapshot.interactions[0] == first.snapshot.interactions[0]
    assert (again.read, again.accepted, again.cached) == (40, 40, False)
    assert {name: time for name, time in files_of(store).items() if name in before and "ledger" not in name} == {
        name: time for name, time in before.items() if "ledger" not in name
    }


def test_the_same_night_twice_adds_nothing(store: Store) -> None:
    staged = (stage(store, "a", log()), stage(store, "b", log(20, 18)))
    first = run(store, *staged)
    before = files_of(store, ".")
    assert run(store, *staged) == replace(first, cached=True)
    assert run(store, *staged, day=1) == replace(first, cached=True)
    assert files_of(store, ".") == before


def test_a_file_that_is_gone_stays_in_the_dataset_where_files_append(store: Store) -> None:
    run(store, stage(store, "a", log()))
    for path in store.path("staging").rglob("*.parquet"):
        path.unlink()
    appended = run(store, stage(store, "b", log(20, 100)), day=1)
    dumped = run(store, stage(store, "b", log(20, 100)), day=2, appends=False)
    assert (appended.accepted, dumped.accepted) == (40, 20)


def test_an_untouched_file_is_not_copied(store: Store) -> None:
    staged = stage(store, "a", log())
    part = run(store, staged).snapshot.interactions[0]
    assert store.path(part.path).samefile(store.path(staged.data.path))
    assert part.fingerprint == staged.data.fingerprint


def test_a_partition_has_beside_it_its_counts_and_what_another_file_has(store: Store) -> None:
    a, b = stage(store, "a", log(5)), stage(store, "b", numbered([log(1)[0], log(1)[0], *log(3, 10)]))
    result = run(store, a, b, checks=LAX)
    folders = [str(Path(part.path).parent) for part in result.snapshot.interactions]
    first, second = [read_partition(store, folder) for folder in folders]
    assert first is not None
    assert second is not None
    assert (first.repeated, first.lost_to, second.lost_to) == (None, (), (a.sha256,))
    assert second.repeated is not None
    assert store.read(second.repeated)["source_row"].to_pylist() == [1]
    assert second.user_counts is not None
    assert store.read(second.user_counts).to_pylist() == [{"id": f"u{user}", "rows": 1} for user in (0, 2, 3)]
    of_all = DatasetRef(**store.manifest(result.snapshot.path)["item_counts"])
    assert dict(zip(*store.read(of_all).to_pydict().values(), strict=True)) == {
        "i0": 2,
        "i1": 2,
        "i2": 2,
        "i3": 1,
        "i4": 1,
    }


def test_yesterdays_snapshot_can_be_had_again(store: Store) -> None:
    first = run(store, stage(store, "a", log()), checks=LAX)
    rows = rows_of(store, first)
    run(store, stage(store, "a", log(12, 300)), checks=LAX, day=1)
    back = run(store, stage(store, "a", log()), checks=LAX, day=2)
    assert back.snapshot == first.snapshot
    assert rows_of(store, first) == rows


def test_a_row_that_its_first_file_lost_comes_back_from_the_second(store: Store) -> None:
    """b has rows of a. When a changes, b's partition is made anew, although b's own file is long gone."""
    a, b = stage(store, "a", log(20)), stage(store, "b", log(20, 15))
    assert kept(store, run(store, a, b, checks=LAX)) == [[*range(1, 21)], [*range(6, 21)]]
    for path in store.path("staging").rglob("*.parquet"):
        path.unlink()
    changed = run(store, stage(store, "a", log(18)), checks=LAX, day=1)
    assert kept(store, changed) == [[*range(1, 19)], [*range(4, 21)]]
    assert (changed.read, changed.accepted, changed.duplicates) == (38, 35, 3)


def test_a_row_comes_back_when_the_file_that_had_it_first_is_gone(store: Store) -> None:
    a, b = stage(store, "a", log(20)), stage(store, "b", log(20, 15))
    run(store, a, b, checks=LAX, appends=False)
    alone = run(store, b, checks=LAX, appends=False, day=1)
    assert kept(store, alone) == [[*range(1, 21)]]
    assert (alone.read, alone.accepted, alone.duplicates, alone.cached) == (20, 20, 0, True)


def test_a_file_that_repeats_another_is_told_although_nothing_else_is_new(store: Store) -> None:
    alone = run(store, stage(store, "a", log()))
    both = run(store, stage(store, "a", log()), stage(store, "b", log()), day=1)
    assert (alone.warnings, both.snapshot) == ((), alone.snapshot)
    assert [warning for warning in both.warnings if "b.csv" in warning]
    assert [night.as_of for night in read_ledger(store, "d").nights] == [AS_OF]  # the other one brought nothing new


def test_a_row_of_the_future_is_taken_in_when_its_file_comes_again_later(store: Store) -> None:
    """The content is that of an earlier night, and what is left out of it is not."""
    a = stage(store, "a", [*log(19), {**log(20)[19], "timestamp": AS_OF + timedelta(days=3)}])
    b = stage(store, "b", log(20, 100))
    assert run(store, a, checks=LAX, appends=False).quarantined == 1
    run(store, b, checks=LAX, appends=False, day=1)
    back = run(store, a, checks=LAX, appends=False, day=5)
    assert (back.accepted, back.quarantined) == (20, 0)
    assert kept(store, back) == [[*range(1, 21)]]


def test_files_that_come_in_another_order_keep_other_rows(store: Store) -> None:
    a, b, c = stage(store, "a", log(20)), stage(store, "b", log(20, 15)), stage(store, "c", log(5, 200))
    run(store, a, b, c, checks=LAX, appends=False)
    assert kept(store, run(store, c, b, a, checks=LAX, appends=False, day=1)) == [
        [*range(1, 6)],
        [*range(1, 21)],
        [*range(1, 16)],
    ]


def test_a_changed_file_takes_rows_from_those_behind_it(store: Store) -> None:
    run(store, stage(store, "a", log(5)), stage(store, "b", log(20, 10)), checks=LAX)
    grown = run(store, stage(store, "a", log(15)), checks=LAX, day=1)
    assert kept(store, grown) == [[*range(1, 16)], [*range(6, 21)]]


def test_rows_far_away_in_time_are_not_read_again(store: Store) -> None:
    """The rows of an old partition are looked at only where they may be tonight's."""
    first = run(store, stage(store, "a", log(20)), stage(store, "b", log(20, 100)))
    store.path(first.snapshot.interactions[0].path).write_bytes(b"damaged")
    assert run(store, stage(store, "c", log(20, 100 + 20)), day=1).accepted == 60
    with pytest.raises(Exception, match="Parquet"):
        run(store, stage(store, "d", log(20, 19)), day=2)


def test_rows_without_a_time_may_be_rows_of_any_file(store: Store) -> None:
    bare = [{**row, "timestamp": None} for row in log(20)]
    run(store, stage(store, "a", bare), checks=LAX)
    assert kept(store, run(store, stage(store, "b", bare[:3] + log(1, 50)[:0]), checks=LAX, day=1)) == [
        [*range(1, 21)],
        [],
    ]


def test_what_was_judged_by_other_rules_is_judged_again(store: Store) -> None:
    a, b = stage(store, "a", log()), stage(store, "b", numbered([*log(19, 100), {**log(1, 200)[0], "rating": 9.0}]))
    assert run(store, a, b).quarantined == 1
    laxer = run(store, a, b, checks=LAX, day=1)
    assert (laxer.quarantined, laxer.accepted) == (0, 40)


def test_a_file_that_is_gone_keeps_the_verdict_of_its_night(store: Store) -> None:
    """Until it comes back: then it is held against the rules of that night."""
    a = stage(store, "a", numbered([*log(19), {**log(1, 50)[0], "rating": 9.0}]))
    run(store, a)
    gone = run(store, stage(store, "b", log(20, 100)), checks=LAX, day=1)
    assert (gone.accepted, gone.quarantined) == (39, 1)
    assert "1 files were held against earlier rules" in store.path(gone.report).read_text(encoding="utf-8")
    back = run(store, a, checks=LAX, day=2)
    assert (back.accepted, back.quarantined, back.cached) == (40, 0, False)


def test_a_lost_partition_is_made_again_from_its_file_or_missed(store: Store) -> None:
    a, b = stage(store, "a", log()), stage(store, "b", log(20, 100))
    first = run(store, a, b)
    part = store.path(first.snapshot.interactions[0].path)
    part.unlink()
    (part.parent / "_manifest.json").unlink()
    for path in [*part.parent.iterdir()]:
        path.unlink()
    part.parent.rmdir()
    with pytest.raises(RunFailed, match=r"lost the rows of a\.csv"):
        run(store, b, day=1)
    assert run(store, a, b, day=1).snapshot == first.snapshot
    assert part.is_file()


class Kills:
    """Raises just before, or just after, the n-th time that something gets its final name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int, after: bool) -> None:
        self.left, self.after = n, after
        for name in ("rename", "replace"):
            monkeypatch.setattr(Path, name, self._killing(getattr(Path, name)))

    def _killing(self, honest: Any) -> Any:
        def move(path: Path, target: Path) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            moved = honest(path, target)
            if self.left == 0:
                raise Killed
            return moved

        return move


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_anywhere_leaves_what_the_next_run_completes(tmp_path: Path, after: bool) -> None:
    bad = [*log(19, 100), {**log(1, 200)[0], "user_id": None}, *log(3, 10)]

    def night(store: Store) -> Validated:
        staged = (stage(store, "a", log()), stage(store, "b", numbered(bad)), stage(store, "c", log(20, 300)))
        return run(store, *staged, checks=LAX, day=1)

    def prepared(name: str) -> Store:
        store = Store(tmp_path / name)
        run(store, stage(store, "a", log()), checks=LAX)
        return store

    whole = prepared("whole")
    expected, n_kills = night(whole), 0
    for n in range(1, 100):
        store = prepared(str(n))
        stage(store, "b", numbered(bad)), stage(store, "c", log(20, 300))
        before = store.path(ledger_path("d")).read_bytes()
        with pytest.MonkeyPatch.context() as patched:
            Kills(patched, n, after)
            try:
                night(store)
                break
            except Killed:
                n_kills += 1
        is_last = store.path(ledger_path("d")).read_bytes() != before
        assert night(store) == replace(expected, cached=is_last)
        assert files_of(store).keys() == files_of(whole).keys()
        assert files_of(store, "quarantine").keys() == files_of(whole, "quarantine").keys()
    assert n_kills == 6  # quarantine, two partitions, the snapshot, the report, the ledger


# Few values, so that rows repeat within files, between files and between nights.
cells = st.tuples(
    st.sampled_from(["u1", "u2", "u3", None, " "]),
    st.sampled_from(["i1", "i2"]),
    st.sampled_from([1.0, 0.0, -0.0, None, float("nan")]),
    st.integers(0, 5),
    st.sampled_from([None, "view"]),
)
contents = st.lists(cells, min_size=1, max_size=8)
deliveries = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5), min_size=1, max_size=4), st.booleans()),
    min_size=1,
    max_size=4,
)


def as_rows(content: list[tuple[Any, ...]]) -> list[Row]:
    rows = [dict(zip(KEY, row, strict=True)) for row in content]
    return numbered([{**row, "timestamp": START.replace(hour=row["timestamp"])} for row in rows])


def is_good(row: Row) -> bool:
    return bool(row["user_id"] and row["user_id"].strip()) and row["rating"] == row["rating"]


def wanted(files: list[list[Row]]) -> list[list[Row]]:
    """The slow way: row after row, whoever comes first."""
    seen: set[tuple[Any, ...]] = set()
    result: list[list[Row]] = []
    for rows in files:
        result.append([])
        for row in filter(is_good, rows):
            key = tuple(row[name] for name in KEY)
            if key not in seen:
                result[-1].append(row)
            seen.add(key)
    return result


def dataset_after(before: dict[str, int], tonight: dict[str, int], appends: bool) -> dict[str, int]:
    """Contents by file name, in order."""
    now = {**before, **tonight} if appends else dict(tonight)
    return {
        name: content for name, content in now.items() if content not in list(now.values())[: list(now).index(name)]
    }


@settings(max_examples=25, deadline=None)
@given(pool=st.lists(contents, min_size=6, max_size=6, unique_by=repr), nights=deliveries)
def test_whatever_is_delivered_the_snapshot_holds_each_good_row_once(
    tmp_path_factory: pytest.TempPathFactory, pool: list[list[tuple[Any, ...]]], nights: Any
) -> None:
    store, fresh = Store(tmp_path_factory.mktemp("lake")), Store(tmp_path_factory.mktemp("fresh"))
    files = [as_rows(content) for content in pool]
    dataset: dict[str, int] = {}
    for day, (tonight, appends) in enumerate(nights):
        next_dataset = dataset_after(dataset, tonight, appends)
        expected = wanted([files[content] for content in next_dataset.values()])
        n_read = sum(len(files[content]) for content in next_dataset.values())
        before = files_of(store)
        try:
            staged = [stage(store, name, files[content]) for name, content in tonight.items()]
            found = run(store, *staged, checks=LAX, appends=appends, day=day)
        except DataRefused:
            assert not any(expected)
            assert files_of(store) == before
            continue
        dataset = next_dataset
        assert rows_of(store, found) == expected
        assert (found.read, found.accepted) == (n_read, sum(map(len, expected)))
        assert found.quarantined == sum(not is_good(row) for content in dataset.values() for row in files[content])
        assert found.read == found.accepted + found.quarantined + found.duplicates
    if dataset:  # what a lake has been through is not seen in its snapshot
        staged = [stage(fresh, name, files[content]) for name, content in dataset.items()]
        assert run(fresh, *staged, checks=LAX).snapshot.hash == found.snapshot.hash


def test_drift_that_is_not_judged_is_told_in_the_report(store: Store) -> None:
    first = run(store, stage(store, "a", log()))
    second = run(store, stage(store, "a", log()), stage(store, "b", numbered(log(20, first=20))), day=1)
    told = [store.path(result.report).read_text() for result in (first, second)]
    assert ["drift of hour is not judged" in page for page in told] == [False, True]
