"""Which of the last champions a refit is held against, and how often a configuration was tried."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.store.refs import ChampionRef
from tasks.tracking.anchor import best_version, find_anchor
from tasks.tracking.history import Event, Kind, conclude
from tasks.tracking.tries import count_tries

TODAY = datetime(2026, 3, 31, 3, tzinfo=UTC)
NAME = "encore-shop"


def became(version: str, before: str | None, gain: float | None, days_ago: float, kind: Kind = "night") -> Event:
    at = (TODAY - timedelta(days=days_ago)).isoformat()
    return Event(NAME, version, before, kind, "", "me", at, "shop", "", gain)


ONE = became("1", None, None, 9)
FALLING = [ONE, became("2", "1", 0.03, 8), became("3", "2", -0.01, 7), became("4", "3", -0.01, 6)]


def best(history: list[Event], nights: int = 30) -> str | None:
    return best_version(history, TODAY, nights)


def test_gains_add_up_along_the_chain() -> None:
    assert best(FALLING) == "2"
    assert best([*FALLING, became("5", "4", 0.019, 5)]) == "2"
    assert best([*FALLING, became("5", "4", 0.021, 5)]) == "5"
    assert best([ONE, became("2", "1", -0.01, 8)]) == "1"
    assert best([ONE, became("2", "1", 0.0, 8)]) == "2"  # of equals the newest
    assert best([]) is None


def test_only_champions_of_the_last_nights_count() -> None:
    # the second one was champion from 8 days ago to 7 days ago
    assert best(FALLING, nights=7) == "2"
    assert best(FALLING, nights=6) == "3"
    assert best(FALLING, nights=1) == "4"  # the present one always was
    assert best(FALLING, nights=0) is None


def test_what_was_never_measured_is_not_compared() -> None:
    by_hand = became("5", "4", None, 5, "promote")
    assert best([*FALLING, by_hand]) == "5"
    assert best([*FALLING, by_hand, became("6", "5", -0.01, 4)]) == "5"
    assert best([*FALLING, became("", "4", None, 5, "by hand"), became("6", "", -0.1, 4)]) == "6"
    assert best([*FALLING, became("", "4", None, 5, "by hand")]) is None
    assert best([*FALLING, became("6", "5", -0.1, 4)]) == "6"  # nothing says how 5 became champion


def test_who_was_rolled_back_from_is_no_anchor() -> None:
    back = [*FALLING[:3], became("2", "3", None, 6, "rollback")]
    assert best(back) == "2"
    bad = [ONE, became("2", "1", 0.03, 8), became("1", "2", None, 7, "rollback")]
    assert best(bad) == "1"
    assert best([*bad, became("3", "1", 0.01, 6)]) == "3"
    assert (
        best([*bad, became("2", "1", None, 6, "promote"), became("3", "2", -0.01, 5)]) == "2"
    )  # somebody thought again
    # a version that was left for another reason is still there to compare with
    assert best([ONE, became("2", "1", 0.03, 8), became("1", "2", None, 7, "promote")]) == "2"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with six versions of one model."""
    root: Path = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{root}/mlflow.db"
    client = MlflowClient(uri)
    client.create_registered_model(NAME)
    client.create_registered_model("encore-other")
    for configuration, champion in (("a", ""), ("b", "1"), ("b", "1"), ("b", "10"), ("a", "1"), ("b", "")):
        tags = {"configuration": configuration, "champion": champion}
        client.create_model_version(NAME, str(root), tags=tags)
    client.create_model_version("encore-other", str(root), tags={"configuration": "b", "champion": "1"})
    return uri


def ref(version: str) -> ChampionRef:
    return ChampionRef(NAME, version, "", "", "")


def test_a_try_is_a_version_of_the_configuration_beside_the_champion(uri: str) -> None:
    assert count_tries(uri, ref("1"), "b", "tonight") == 3  # two before, and tonight's
    assert count_tries(uri, ref("1"), "a", "tonight") == 2
    assert count_tries(uri, ref("2"), "b", "tonight") == 1
    assert count_tries(uri, ref("1"), "c", "tonight") == 1
    for key in ("one", "one", "other"):  # the first was cut short, and run again
        tags = {"configuration": "d", "champion": "1", "judged_key": key}
        MlflowClient(uri).create_model_version(NAME, "file:///nowhere", tags=tags)
    assert count_tries(uri, ref("1"), "d", "tonight") == 3
    assert count_tries(uri, ref("1"), "d", "other") == 2


def test_the_anchor_is_found_in_the_history(uri: str) -> None:
    assert find_anchor(uri, ref("4"), TODAY, 30) is None
    for event in FALLING:
        conclude(uri, event)
    found = find_anchor(uri, ref("4"), TODAY, 30)
    assert found is not None
    assert (found.version, found.tags["configuration"]) == ("2", "b")
    assert find_anchor(uri, ref("4"), TODAY, 1) is None  # the champion itself
    assert find_anchor(uri, ref("5"), TODAY, 30) is None  # its alias was moved by hand: nothing is known of it
    gone = replace(FALLING[-1], version="5", before="4", gain=-1.0, at=(TODAY - timedelta(days=5)).isoformat())
    MlflowClient(uri).delete_model_version(NAME, "2")
    conclude(uri, gone)
    assert find_anchor(uri, ref("5"), TODAY, 30) is None
