"""When a night is skipped, and what is said then."""

from pathlib import Path
from typing import Any

import pytest

from flows.config import PipelineConfig, Settings
from flows.summary import _verdict
from flows.unchanged import find_unchanged, night_key, remember, skipped
from tasks.ingest.sources.base import SourceFile
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.tracking import registry, runs

CONFIG = PipelineConfig.model_validate({"ingest": {"name": "tiny"}}).resolved()


@pytest.fixture
def settings(store: Store) -> Settings:
    return Settings(data_dir=store.root, tracking_uri="sqlite:////nowhere/mlflow.db").resolved()


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
    }
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


def test_a_night_whose_lists_are_gone_or_are_in_another_mlflow_is_run_again(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = Settings(data_dir=store.root, tracking_uri=f"sqlite:///{tmp_path}/other.db").resolved()
    assert found(store, elsewhere, monkeypatch, "2") is None
    store.path("recommendations/run=r/recommendations.parquet").unlink()
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

    def key(sha256: str = "a", changed: str = "", **sections: Any) -> str:
        for name, file in files.items():
            file.write_text("new" if name == changed else "old")
        config = PipelineConfig.model_validate({"ingest": {"name": "tiny"}, **named, **sections}).resolved()
        return night_key(config, [SourceFile("interactions", "log", sha256)], store)

    others = [key(sha256="b"), *(key(changed=name) for name in files)]
    others += [key(sample={"negatives": 3}), key(trainer={"seed": 1}), key(model={"dim": 4})]
    assert key() == key()
    assert len({key(), *others}) == 1 + len(others)
