"""When a night is skipped, and what is said then."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.config import PipelineConfig, Settings
from flows.summary import _verdict
from flows.unchanged import find_unchanged, night_key, remember, skip_unchanged, skipped
from tasks.ingest.sources.base import SourceFile
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.tracking import history, registry, runs
from tasks.validate.ledger import GoodNight, Ledger, write_ledger

CONFIG = PipelineConfig.model_validate({"ingest": {"name": "tiny"}}).resolved()
NEWEST = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def settings(store: Store) -> Settings:
    return Settings(data_dir=store.root, tracking_uri="sqlite:////nowhere/mlflow.db").resolved()


def good_nights(store: Store, *snapshots: str) -> None:
    """Good nights a day apart, the last one with rows up to `NEWEST`, and their snapshots."""
    days = range(1 - len(snapshots), 1)
    newest = [int((NEWEST + timedelta(days=day)).timestamp()) * 10**6 for day in days]
    nights = [
        GoodNight(NEWEST, f"lake/tiny/snapshots/{one}", 9, 3, time) for one, time in zip(snapshots, newest, strict=True)
    ]
    write_ledger(store, "tiny", Ledger((), tuple(nights)))


@pytest.fixture(autouse=True)
def _remembered(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night that promoted version 2; MLflow still has its run and its version."""
    lists = store.path("recommendations/run=r/recommendations.parquet")
    lists.parent.mkdir(parents=True)
    lists.touch()
    result = {
        "run_id": "r",
        "as_of": "2026-01-02T03:04:05",
        "decision": {"promote": True, "checks": []},
        "model": {"name": "encore-tiny", "version": "2", "champion": "2"},
        "recommendations": "recommendations/run=r/recommendations.parquet",
        "published": None,
        "report": "report.html",
        "snapshot": "now",
        "warnings": ["look at this"],
    }
    good_nights(store, "now")
    remember(store, CONFIG, settings, "key", result)
    monkeypatch.setattr(runs, "run_exists", lambda uri, run_id: True)
    monkeypatch.setattr(registry, "version_exists", lambda uri, name, version: True)


def found(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, champion: str | None) -> Any:
    ref = ChampionRef("encore-tiny", champion, "r", "w", "c") if champion else None
    monkeypatch.setattr(registry, "find_champion", lambda uri, name: ref)
    return find_unchanged(store, CONFIG, settings, "key")


@pytest.mark.parametrize("champion", ["2", "1", "3"])
def test_the_champion_of_now_is_named_and_not_that_of_then(
    champion: str, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = skipped(store, found(store, settings, monkeypatch, champion), 0.0)
    assert (result["model"]["version"], result["model"]["champion"]) == ("2", champion)
    assert f"version {champion} stays champion" in _verdict(result)


def test_a_night_whose_champion_was_taken_away_is_run_again(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(store, settings, monkeypatch, None) is None


@pytest.mark.parametrize(
    ("reason", "passed", "again"), [(None, False, True), ("sale", False, False), (None, True, False)]
)
def test_a_night_that_a_freeze_stopped_is_run_again_once_it_is_lifted(
    reason: str | None, passed: bool, again: bool, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = found(store, settings, monkeypatch, "2")
    checks = [{"name": "not frozen", "passed": passed, "detail": ""}]
    remember(store, CONFIG, settings, "key", {**result, "decision": {"promote": passed, "checks": checks}})
    monkeypatch.setattr(history, "frozen", lambda uri, name: reason)
    assert (found(store, settings, monkeypatch, "2") is None) is again


def test_a_night_whose_lists_are_gone_or_are_in_another_mlflow_is_run_again(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = Settings(data_dir=store.root, tracking_uri=f"sqlite:///{tmp_path}/other.db").resolved()
    assert found(store, elsewhere, monkeypatch, "2") is None
    store.path("recommendations/run=r/recommendations.parquet").unlink()
    assert found(store, settings, monkeypatch, "2") is None


@pytest.mark.parametrize("told", [[], ["the alias `champion` was moved in MLflow: version 1 is the champion"]])
def test_what_was_done_by_hand_is_put_right_before_a_night_is_skipped(
    told: list[str], store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(store, settings, monkeypatch, "2") is not None

    def put_right(dataset: str, name: str, settings: Settings) -> list[str]:
        """Version 1 is the champion afterwards."""
        if told:
            found(store, settings, monkeypatch, "1")
        return told

    monkeypatch.setattr("flows.keeper.put_right", put_right)
    result = skip_unchanged(store, CONFIG, settings, "key", 0.0)
    assert result is not None
    assert result["unchanged"]
    assert result["model"]["champion"] == ("1" if told else "2")
    assert result["warnings"] == ["look at this", *told]


def test_a_night_that_has_something_to_do_is_not_skipped(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert skip_unchanged(store, CONFIG, settings, "another key", 0.0) is None


def later(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, days: float, checks: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """What is found so many days after the newest row."""
    monkeypatch.setattr(registry, "find_champion", lambda uri, name: ChampionRef("encore-tiny", "2", "r", "w", "c"))
    config = PipelineConfig.model_validate({"ingest": {"name": "tiny"}, "checks": checks or {}}).resolved()
    on_the_day = settings.model_copy(update={"as_of": NEWEST + timedelta(days=days)})
    return find_unchanged(store, config, on_the_day, "key")


def test_a_feed_that_stopped_is_no_unchanged_night(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although no file is new: it has to be refused."""
    limit = {"max_silent_days": 3}
    on_time = later(store, settings, monkeypatch, 2.9, limit)
    assert on_time is not None
    assert on_time["warnings"] == ["look at this"]
    assert later(store, settings, monkeypatch, 3.1, limit) is None
    assert later(store, settings, monkeypatch, 3.1) is not None


def test_where_a_silent_feed_is_a_warning_the_earlier_result_says_so(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_nights(store, "a", "b", "now")
    usual, silent = (later(store, settings, monkeypatch, days) for days in (3.0, 3.5))
    assert usual is not None
    assert silent is not None
    assert usual["warnings"] == ["look at this"]
    kept, said = silent["warnings"]
    assert kept == "look at this"
    assert "(found 3.5 days; at most 1.0 between good nights)" in said


def test_data_that_came_back_after_other_data_is_no_unchanged_night(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump that is stuck at an old state is judged beside the last good night."""
    good_nights(store, "now", "other")
    assert found(store, settings, monkeypatch, "2") is None
    good_nights(store, "now", "other", "now")
    assert found(store, settings, monkeypatch, "2") is not None
    store.path("lake/tiny/ledger.json").unlink()
    assert found(store, settings, monkeypatch, "2") is None


def test_the_key_of_a_night_knows_the_sources_the_configuration_and_the_files_that_it_names(
    tmp_path: Path, store: Store
) -> None:
    files = {name: tmp_path / f"{name}.csv" for name in ("test", "valid", "candidates", "suite")}
    named = {
        "split": {"test": str(files["test"]), "valid": str(files["valid"])},
        "evaluate": {"candidates": str(files["candidates"])},
        "checks": {"suite": str(files["suite"])},
    }

    def key(sha256: str = "a", changed: str = "", copies: int = 0, **sections: Any) -> str:
        for name, file in files.items():
            file.write_text("new" if name == changed else "old")
        config = PipelineConfig.model_validate({"ingest": {"name": "tiny"}, **named, **sections}).resolved()
        logs = [SourceFile("interactions", f"log{number or ''}", sha256) for number in range(1 + copies)]
        return night_key(config, logs, store)

    others = [key(sha256="b"), key(copies=1), key(copies=2), *(key(changed=name) for name in files)]
    others += [key(sample={"negatives": 3}), key(trainer={"seed": 1}), key(model={"dim": 4})]
    assert key() == key()
    assert len({key(), *others}) == 1 + len(others)
