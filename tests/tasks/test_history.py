"""The history of champions: what is kept of each change, and what can be read from it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.tracking import history
from tasks.tracking.history import Event, announce, conclude, freeze, frozen, pending, read_history, recent, withdraw
from tasks.tracking.reigns import age_alarm, earlier, reigns
from tests.flows.championship import tracking_database

NAME = "encore-d"


def event(version: str, before: str | None, kind: str = "night", day: int = 1, reason: str = "it is better") -> Event:
    at = f"2026-03-{day:02}T03:00:00+00:00"
    return Event(NAME, version, before, kind, reason, "ann", at, "d", f"recommendations/run={version}", 0.01)  # type: ignore[arg-type]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Three versions, none of them the champion."""
    uri = tracking_database(tmp_path)
    client = MlflowClient(uri)
    client.create_registered_model(NAME, description="Ask Bob.\n\nBefore you delete anything.")
    for _ in range(3):
        client.create_model_version(NAME, "file:///nowhere", tags={"decision": "refused"})
    return uri


def tags(uri: str, version: str) -> dict[str, str]:
    return dict(MlflowClient(uri).get_model_version(NAME, version).tags)


def test_a_model_that_nobody_registered_has_no_history(uri: str) -> None:
    assert read_history(uri, "other") == []
    assert pending(uri, "other") is None
    assert frozen(uri, "other") is None


def test_a_change_is_pending_until_it_is_concluded_and_then_kept_once(uri: str) -> None:
    first, second = event("1", None), event("2", "1", day=2)
    announce(uri, first)
    assert pending(uri, NAME) == first
    assert read_history(uri, NAME) == []
    conclude(uri, first)
    announce(uri, second)
    conclude(uri, second)
    conclude(uri, second)
    conclude(uri, first)
    assert pending(uri, NAME) is None
    assert read_history(uri, NAME) == [replace(first, number=1), replace(second, number=2)]


def test_the_same_version_at_another_time_is_another_change(uri: str) -> None:
    for one in (event("1", None), event("1", "1", day=2), event("1", "1", "rollback", day=2)):
        conclude(uri, one)
    assert [one.number for one in read_history(uri, NAME)] == [1, 2, 3]


def test_the_tenth_change_comes_after_the_ninth(uri: str) -> None:
    for day in range(1, 12):
        conclude(uri, event(str(day % 2 + 1), None, day=day))
    assert [one.number for one in read_history(uri, NAME)] == list(range(1, 12))


def test_what_was_withdrawn_is_not_pending(uri: str) -> None:
    announce(uri, event("1", None))
    withdraw(uri, NAME)
    withdraw(uri, NAME)
    assert pending(uri, NAME) is None


def test_versions_say_since_when_and_why_and_until_when(uri: str) -> None:
    conclude(uri, event("1", None))
    conclude(uri, event("2", "1", day=2))
    assert tags(uri, "1") == {
        "decision": "promoted",
        "promoted_at": "2026-03-01T03:00:00+00:00",
        "promoted_by": "ann",
        "promotion_reason": "night: it is better",
        "replaced_at": "2026-03-02T03:00:00+00:00",
        "replaced_by": "2",
    }
    conclude(uri, event("1", "2", "rollback", day=3, reason="2 was broken"))
    assert "replaced_at" not in tags(uri, "1")
    assert tags(uri, "1")["promotion_reason"] == "rollback: 2 was broken"
    assert tags(uri, "2")["replaced_by"] == "1"
    conclude(uri, event("", "1", "by hand", day=4))
    assert tags(uri, "1")["replaced_by"] == "nobody"
    assert tags(uri, "3") == {"decision": "refused"}


def test_a_version_that_is_gone_stops_nothing(uri: str) -> None:
    MlflowClient(uri).delete_model_version(NAME, "1")
    conclude(uri, event("2", "1"))
    assert [one.version for one in read_history(uri, NAME)] == ["2"]


def test_the_page_of_the_registered_model_names_the_champion_and_keeps_what_people_wrote(uri: str) -> None:
    conclude(uri, event("1", None))
    conclude(uri, event("2", "1", day=2, reason="line one\n\nline two"))
    assert MlflowClient(uri).get_registered_model(NAME).description == (
        "Champion: version 2 since 2026-03-02 03:00 UTC (night, ann: line one line two); before it version 1.\n\n"
        "Ask Bob.\n\nBefore you delete anything."
    )
    conclude(uri, event("", "2", "by hand", day=3))
    assert str(MlflowClient(uri).get_registered_model(NAME).description).startswith("Champion: nobody since 2026-03-03")


@pytest.mark.parametrize("letter", ["x", "ж"])
def test_a_long_reason_is_cut_so_that_every_database_takes_it(uri: str, letter: str) -> None:
    announce(uri, event("1", None, reason=letter * 9000))
    assert len(MlflowClient(uri).get_registered_model(NAME).tags["champion.pending"]) < 5000
    conclude(uri, event("1", None, reason=letter * 9000))
    freeze(uri, NAME, letter * 9000)
    assert len(read_history(uri, NAME)[0].reason) == history.MAX_REASON
    assert all(len(value) < 5000 for value in MlflowClient(uri).get_registered_model(NAME).tags.values())


def test_a_tag_that_somebody_else_set_is_no_change(uri: str) -> None:
    MlflowClient(uri).set_registered_model_tag(NAME, "champion.owner", "ann")
    conclude(uri, event("1", None))
    assert read_history(uri, NAME) == [replace(event("1", None), number=1)]


def test_frozen_until_it_is_lifted(uri: str) -> None:
    freeze(uri, NAME, "the feed is odd")
    assert frozen(uri, NAME) == "the feed is odd"
    assert read_history(uri, NAME) == []  # no change
    freeze(uri, NAME, None)
    freeze(uri, NAME, None)
    assert frozen(uri, NAME) is None


def test_the_newest_versions_come_first(uri: str) -> None:
    assert list(recent(uri, NAME, 2)) == ["3", "2"]
    assert recent(uri, NAME, 9)["1"] == {"decision": "refused"}


# what the history tells

NIGHTS = [event("1", None), event("2", "1", day=2), event("3", "2", day=5)]


def back(*changes: tuple[str, str | None, str]) -> list[str]:
    return earlier([event(version, before, kind) for version, before, kind in changes])


def test_the_way_back() -> None:
    one, two, three = ("1", None, "night"), ("2", "1", "night"), ("3", "2", "night")
    assert back() == []
    assert back(one) == []
    assert back(one, two, three) == ["2", "1"]
    assert back(one, two, three, ("2", "3", "rollback")) == ["1"]
    assert back(one, two, three, ("2", "3", "rollback"), ("1", "2", "rollback")) == []
    # a night after a rollback: not to what was rolled back from
    assert back(one, two, three, ("2", "3", "rollback"), ("4", "2", "night")) == ["2", "1"]
    # somebody has looked into it since, and wants it after all
    assert back(one, two, ("1", "2", "rollback"), ("2", "1", "promote"), ("3", "2", "night")) == ["2", "1"]
    assert back(one, two, three, ("1", "3", "promote")) == ["3", "2"]
    # taken away by hand: nobody is the champion, and that one is not the way back
    assert back(one, two, ("", "2", "by hand")) == ["1"]


def test_each_stays_until_the_next_and_the_last_until_now() -> None:
    now = datetime(2026, 3, 5, 15, tzinfo=UTC)
    assert [one.lasted for one in reigns(NIGHTS, now)] == [timedelta(days=1), timedelta(days=3), timedelta(hours=12)]
    assert [one.event for one in reigns(NIGHTS, now)] == NIGHTS
    assert [one.lasted for one in reigns(NIGHTS[::-1], now)][:2] == [timedelta(0), timedelta(0)]


@pytest.mark.parametrize(("days", "alarm"), [(13.9, False), (14, False), (14.1, True)])
def test_an_old_champion_raises_an_alarm(days: float, alarm: bool) -> None:
    now = datetime(2026, 3, 5, 3, tzinfo=UTC) + timedelta(days=days)
    told = age_alarm(NIGHTS, now, 14)
    assert (told is not None) is alarm
    if told is not None:
        assert "version 3 has been the champion for 14 days" in told


def test_where_nobody_is_the_champion_nobody_is_too_old() -> None:
    late = datetime(2027, 1, 1, tzinfo=UTC)
    assert age_alarm([], late, 14) is None
    assert age_alarm([*NIGHTS, event("", "3", "by hand", day=6)], late, 14) is None
