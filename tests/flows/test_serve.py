"""The end of a night: what moves, in which order, and what stays where something fails."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from flows.config import PipelineConfig, Settings
from flows.contest import Contest, Floor, Rival
from flows.crown import settle
from flows.night import Night
from flows.refit import Outgoing
from flows.serve import serve
from tasks.errors import DataRefused
from tasks.promote.decide import Decision
from tasks.promote.task import Promotion
from tasks.publish.pointer import LISTS
from tasks.store.refs import EvaluatedRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.tracking.history import read_history
from tasks.tracking.registry import find_champion
from tasks.tracking.runs import Run
from tests.flows.championship import tracking_database

NAME = "encore-tiny"
CONFIG = PipelineConfig.model_validate({"ingest": {"name": "tiny"}}).resolved()
CONTEST = Contest(
    TrainedRef("k", "model", "w"),
    EvaluatedRef("k", "m"),
    (
        Floor("popularity", TrainedRef("f", "floor", "w"), EvaluatedRef("f", "m"), 0.1),
        Floor("item_knn", TrainedRef("g", "floor", "w"), EvaluatedRef("g", "m"), 0.2),
    ),
)


@dataclass
class Ending:
    """Stands for a night that has come to its end: writes lists of one row, and remembers what was done."""

    settings: Settings
    version: str
    fails_at: str = ""
    done: list[str] = field(default_factory=list)
    config: PipelineConfig = CONFIG
    dataset: str = "tiny"

    @property
    def store(self) -> Store:
        return self.settings.store

    @property
    def run(self) -> Run:
        return Run("", "", "", self.version)

    def step(self, name: str, work: Any, *args: Any) -> Any:
        called = work.fn.__name__
        if called == self.fails_at:
            raise DataRefused(called)
        self.done.append(called)
        if called == "recommend":
            version, run_id = args[3:5]
            return write_lists(self.store, run_id, version, *args[6:])
        return work.fn(*args)


def write_lists(store: Store, run_id: str, version: str, registered: str = "") -> str:
    def write(writer: Any) -> dict[str, Any]:
        writer.table(LISTS.removesuffix(".parquet"), pa.table({"version": [version]}))
        return {"model_version": version, "dataset": "tiny", "registered_model": registered}

    return store.build(f"recommendations/run={run_id}", write).path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Four versions are registered, and none is the champion."""
    settings = Settings(data_dir=tmp_path / "data", tracking_uri=tracking_database(tmp_path)).resolved()
    client = MlflowClient(settings.tracking_uri)
    client.create_registered_model(NAME)
    for _ in range(4):
        client.create_model_version(NAME, "file:///nowhere", tags={"dataset": "tiny"})
    return settings


def end(night: Ending, promote: bool) -> Ending:
    """The night's end, as far as what it serves."""
    found = find_champion(night.settings.tracking_uri, NAME)
    rival = Rival(found, EvaluatedRef("k", "m")) if found else None
    promotion = Promotion(Decision(promote, ()), NAME, night.version, None)
    out = Outgoing(cast(SampleRefs, None), CONTEST.trained)
    serve(cast(Night, night), replace(CONTEST, champion=rival), out, promotion)
    return night


def in_production(settings: Settings) -> tuple[str, str | None]:
    """The version whose lists are served, and the champion."""
    version: str = settings.store.manifest("published/tiny")["model_version"]
    champion = find_champion(settings.tracking_uri, NAME)
    return version, champion.version if champion else None


@pytest.mark.parametrize(
    ("fails_at", "done"), [("recommend", []), ("announce", ["recommend"]), ("promote", ["recommend", "announce"])]
)
def test_nobody_is_crowned_or_published_where_something_fails_before(
    fails_at: str, done: list[str], settings: Settings
) -> None:
    end(Ending(settings, "1"), promote=True)
    night = Ending(settings, "2", fails_at)
    with pytest.raises(DataRefused):
        end(night, promote=True)
    assert night.done == done
    assert in_production(settings) == ("1", "1")


def test_the_alias_moves_once_the_lists_are_there_then_the_pointer_and_the_history_last(settings: Settings) -> None:
    night = end(Ending(settings, "1"), promote=True)
    assert night.done == ["recommend", "announce", "promote", "publish", "conclude"]
    assert in_production(settings) == ("1", "1")
    [event] = read_history(settings.tracking_uri, NAME)
    assert (event.version, event.before, event.kind, event.lists) == ("1", None, "night", "recommendations/run=1")


def test_a_refused_night_moves_nothing(settings: Settings) -> None:
    end(Ending(settings, "1"), promote=True)
    assert end(Ending(settings, "2"), promote=False).done == ["recommend"]
    assert in_production(settings) == ("1", "1")


def test_the_floor_stands_in_with_fresh_lists_every_night_until_a_model_is_good_enough(settings: Settings) -> None:
    end(Ending(settings, "1"), promote=False)
    assert in_production(settings) == ("floor/item_knn", None)  # the better of the two
    end(Ending(settings, "2"), promote=False)
    assert settings.store.path("published/tiny").resolve().name == "run=2-floor"
    end(Ending(settings, "3"), promote=True)
    end(Ending(settings, "4"), promote=False)
    assert in_production(settings) == ("3", "3")


def test_the_floor_takes_the_place_of_a_champion_that_somebody_took_away(settings: Settings) -> None:
    end(Ending(settings, "1"), promote=True)
    MlflowClient(settings.tracking_uri).delete_registered_model_alias(NAME, "champion")
    night = Ending(settings, "2")
    settle(cast(Night, night), NAME)
    assert in_production(settings) == ("1", None)
    end(night, promote=False)
    assert in_production(settings) == ("floor/item_knn", None)
    end(Ending(settings, "3"), promote=True)
    assert in_production(settings) == ("3", "3")
    assert [one.version for one in read_history(settings.tracking_uri, NAME)] == ["1", "", "3"]
