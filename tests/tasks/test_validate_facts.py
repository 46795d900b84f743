"""Facts about a night against the good nights before it, by hand; each from what stands beside partitions."""

from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataRefused
from tasks.expect import suite
from tasks.store.engine import engine
from tasks.store.store import Store
from tasks.validate import facts
from tasks.validate.facts import silence
from tasks.validate.ledger import GoodNight
from tasks.validate.profile import Profile, Span, merged, profiles
from tasks.validate.result import Distribution, Figure
from tests.tasks.nights import AS_OF, LAX, START, Row, interactions, log, numbered, plain_judge, run, stage


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "judge", plain_judge)


Seen = dict[str, Figure]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The facts of the last night that was examined."""
    found: Seen = {}
    honest = facts.facts

    def watched(*args: object) -> Seen:
        found.clear()
        found.update(honest(*args))  # type: ignore[arg-type]
        return found

    monkeypatch.setattr("tasks.validate.examine.facts", watched)
    return found


def of(user: str, item: str, day: float) -> Row:
    return {**log(1)[0], "user_id": user, "item_id": item, "timestamp": START + timedelta(days=day)}


FIRST = numbered([of("u1", "i1", 0), of("u1", "i2", 1), of("u2", "i1", 2), of("u3", "i3", 3)])
SECOND = numbered([of("u1", "i1", 2.5), of("u1", "i4", 4), of("u4", "i4", 5), of("u3", "i3", 6), of("u3", "i1", 0)])


def test_the_first_night_has_no_fact_about_an_earlier_one(store: Store, seen: Seen) -> None:
    run(store, stage(store, "a", FIRST), checks=LAX)
    assert {name: figure.value for name, figure in seen.items()} == {
        "rows": 4,
        "users": 3,
        "items": 3,
        "timestamp_share": 1.0,
        "quarantined_share": 0.0,
        "duplicate_share": 0.0,
        "changed_files": 0,
        "repeated_files": 0,
        "silent_days": (AS_OF - START).days + 3 / 24 - 3,
    }


@pytest.mark.parametrize("appends", [True, False])
def test_the_second_night_by_hand(store: Store, seen: Seen, appends: bool) -> None:
    """Five rows, of which two are older than the newest before (day 3), and two are on an item that was not known."""
    a, b = stage(store, "a", FIRST), stage(store, "b", SECOND)
    run(store, a, checks=LAX)
    run(store, b, checks=LAX, appends=appends, day=1)
    expected = {"late_share": 2 / 5, "new_items_row_share": 2 / 5, "timestamp_share": 1.0}
    if appends:
        expected |= {"rows": 9, "users": 4, "items": 4, "volume": 9 / 4, "lost_users_share": 0, "lost_items_share": 0}
    else:  # u2 and i2 are gone
        expected |= {"rows": 5, "users": 3, "items": 3, "volume": 5 / 4, "lost_users_share": 1 / 3}
        expected |= {"lost_items_share": 1 / 3}
    assert {name: seen[name].value for name in expected} == pytest.approx(expected)
    assert "new_rows_ratio" not in seen  # what is usual is not known after one night


def test_new_rows_are_compared_with_the_median_of_seven_nights_after_the_first(store: Store, seen: Seen) -> None:
    sizes = [200, 900, 10, 20, 30, 40, 50, 60, 70, 26]  # the first does not count; the second is too long ago
    for day, size in enumerate(sizes):
        run(store, stage(store, f"{day}", log(size, sum(sizes[:day]))), checks=LAX, day=day)
    assert seen["new_rows_ratio"].value == 26 / 40


def test_facts_of_delivery_name_the_files(store: Store, seen: Seen) -> None:
    run(store, stage(store, "a", log()), checks=LAX)
    tonight = (stage(store, "a", log(21)), stage(store, "b", log(21)), stage(store, "c", log(20)))
    result = run(store, *tonight, checks=LAX, day=1)
    assert (seen["changed_files"].value, seen["changed_files"].shown) == (1, "a.csv")
    assert (seen["repeated_files"].value, seen["repeated_files"].shown) == (1, "b.csv")
    assert len(result.warnings) == 2
    assert (result.accepted, result.duplicates) == (21, 20)  # c holds a's former rows


def test_shares_of_the_night_are_of_its_new_rows(store: Store, seen: Seen) -> None:
    """A feed that breaks down is seen however much good data there is from before."""
    run(store, stage(store, "a", log(400)), checks=LAX)
    bad = [{**row, "user_id": None} for row in log(3, 500)]
    run(store, stage(store, "b", numbered([*bad, *log(7, 600), *log(10)])), checks=LAX, day=1)
    assert (seen["quarantined_share"].value, seen["duplicate_share"].value) == (3 / 20, 10 / 20)


def night(day: int, newest: float | None) -> GoodNight:
    moment = None if newest is None else int((START + timedelta(days=newest)).timestamp() * 1e6)
    return GoodNight(START + timedelta(days=day), "", 10, 1, moment)


def test_silence_is_measured_by_the_longest_gap() -> None:
    nights = [night(1, 0.5), night(2, 1.5), night(5, 4.5)]
    newest = nights[-1].newest
    found = silence(newest, nights, START + timedelta(days=10.5))
    assert {name: figure.value for name, figure in found.items()} == {"silent_days": 6.0, "silence_ratio": 2.0}
    assert set(silence(newest, nights[1:], AS_OF)) == {"silent_days"}
    assert set(silence(newest, [nights[0], nights[0], nights[0]], AS_OF)) == {"silent_days"}
    assert silence(None, nights, AS_OF) == {}
    assert silence(10**13, nights, AS_OF) == {}  # an ordinal of a hundred million is no date


def test_a_feed_that_stopped_is_seen_although_nothing_new_came(store: Store) -> None:
    checks = LAX.model_copy(update={"max_silent_days": 200.0})
    staged = stage(store, "a", log())
    first = run(store, staged, checks=checks)
    assert run(store, staged, checks=checks, day=40).cached
    with pytest.raises(DataRefused, match="the newest interaction"):
        run(store, staged, checks=checks, day=60)
    assert run(store, staged, checks=checks, day=41).snapshot == first.snapshot


def test_a_dump_that_was_cut_off_is_refused(store: Store) -> None:
    run(store, stage(store, "a", log(100)), appends=False)
    with pytest.raises(DataRefused, match=r"at least 0\.5 times.*49 rows, 100 before"):
        run(store, stage(store, "a", log(49)), appends=False, day=1)
    assert run(store, stage(store, "a", log(50)), appends=False, day=1).accepted == 50


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Distribution]:
    """What was handed over to be judged for drift."""
    found: list[Distribution] = []
    honest = facts.distributions

    def watched(*args: object) -> tuple[Distribution, ...]:
        found[:] = honest(*args)  # type: ignore[arg-type]
        return tuple(found)

    monkeypatch.setattr("tasks.validate.examine.distributions", watched)
    return found


def test_new_rows_are_compared_with_all_that_was_there(store: Store, compared: list[Distribution]) -> None:
    run(store, stage(store, "a", FIRST), checks=LAX)
    assert compared == []
    run(store, stage(store, "b", SECOND), checks=LAX, day=1)
    popularity, rating, hour = compared
    assert (sum(popularity.before), sum(popularity.today), popularity.today[-1]) == (4, 5, 2)
    assert (dict(zip(rating.labels, rating.today, strict=True))["3"], sum(rating.before)) == (5, 4)
    assert (hour.before[0], hour.today[0], hour.today[12]) == (4, 4, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, 0.5, 4.0, 4.04, -3.0, 99.6, 100.0, 0.0123, 0.0]),
            st.integers(-(10**15), 10**15) | st.none(),
        ),
        max_size=20,
    )
)
def test_a_profile_by_hand(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[float | None, int | None]]
) -> None:
    rows = numbered([{**log(1)[0], "rating": rating} for rating, _ in cells])
    times = pa.array([time for _, time in cells], pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = interactions(rows).set_column(3, "timestamp", times)
    with engine(Store(tmp_path_factory.mktemp("profile"))) as opened:
        opened.put("log", table)
        query = "SELECT 7 AS file, source_row, user_id, item_id, rating, timestamp, event FROM log"
        found = profiles(opened, query, [7], 0).get(7, Profile())
        users = opened.table("SELECT * FROM new_users").to_pylist()
    known = [time for time in times.cast(pa.int64()).to_pylist() if time is not None]
    ratings = [float(f"{rating:.1e}") for rating, _ in cells if rating is not None]
    assert found.span == Span(len(cells), len(known), min(known, default=None), max(known, default=None))
    assert found.late == sum(time < 0 for time in known)
    assert found.ratings == {f"{value:g}": ratings.count(value) for value in ratings}
    hours = [str(time % 86_400_000_000 // 3_600_000_000) for time in known]
    assert found.hours == {hour: hours.count(hour) for hour in hours}
    assert users == ([{"file": 7, "id": "u0", "rows": len(cells)}] if cells else [])


def test_profiles_add_up() -> None:
    one = Profile(Span(3, 2, 10, 20), 1, {"1": 2, "5": 1}, {"0": 2})
    other = Profile(Span(2, 2, 5, 7), 0, {"5": 2}, {"23": 2})
    assert merged([one, Profile(), other]) == Profile(Span(5, 4, 5, 20), 1, {"1": 2, "5": 3}, {"0": 2, "23": 2})


def test_spans_overlap_where_they_share_a_moment_or_some_row_has_none() -> None:
    early, late, touching = Span(2, 2, 0, 10), Span(2, 2, 11, 20), Span(2, 2, 10, 10)
    assert not early.overlaps(late)
    assert early.overlaps(touching)
    assert touching.overlaps(early)
    assert early.overlaps(Span(2, 1, 50, 50))
    assert Span(2, 0).overlaps(early)
    assert not Span(0, 0).overlaps(Span(2, 0))
