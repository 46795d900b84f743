"""The end of a night: what moves, in which order, and what stays where something fails."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
import pytest

from flows.config import PipelineConfig
from flows.contest import Contest, Floor
from flows.night import Night
from flows.retrain import serve
from tasks.errors import DataRefused
from tasks.promote.decide import Decision
from tasks.promote.task import Promotion
from tasks.publish.pointer import LISTS, switch
from tasks.store.refs import EvaluatedRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.tracking.runs import Run

CONFIG = PipelineConfig.model_validate({"ingest": {"name": "tiny"}}).resolved()
CONTEST = Contest(
    TrainedRef("k", "model", "w"),
    EvaluatedRef("k", "m"),
    (
        Floor("popularity", TrainedRef("f", "floor", "w"), EvaluatedRef("f", "m"), 0.1),
        Floor("item_knn", TrainedRef("g", "floor", "w"), EvaluatedRef("g", "m"), 0.2),
    ),
    None,
    None,
)


@dataclass
class Ending:
    """Stands for a night that has come to its end: writes lists of one row, and remembers what was done."""

    store: Store
    run_id: str
    fails_at: str = ""
    done: list[str] = field(default_factory=list)
    config: PipelineConfig = CONFIG

    @property
    def run(self) -> Run:
        return Run("", "", "", self.run_id)

    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        called = work.__name__
        if called == self.fails_at:
            raise DataRefused(called)
        self.done.append(called)
        if called == "recommend":
            version, run_id = args[3:5]
            return write_lists(self.store, run_id, version)
        if called == "publish":
            switch(*args)
        return None


def write_lists(store: Store, run_id: str, version: str) -> str:
    def write(writer: Any) -> dict[str, Any]:
        writer.table(LISTS.removesuffix(".parquet"), pa.table({"version": [version]}))
        return {"model_version": version}

    return store.build(f"recommendations/run={run_id}", write).path


def end(night: Ending, promote: bool) -> None:
    promotion = Promotion(Decision(promote, ()), "encore-tiny", night.run_id, None)
    serve(cast(Night, night), cast(SampleRefs, None), CONTEST, promotion)


def in_production(store: Store) -> str:
    version: str = store.manifest("published/tiny")["model_version"]
    return version


@pytest.mark.parametrize(("fails_at", "done"), [("recommend", []), ("promote", ["recommend"])])
def test_nobody_is_crowned_or_published_where_something_fails_before(
    fails_at: str, done: list[str], store: Store
) -> None:
    end(Ending(store, "1"), promote=True)
    night = Ending(store, "2", fails_at)
    with pytest.raises(DataRefused):
        end(night, promote=True)
    assert night.done == done
    assert in_production(store) == "1"


def test_the_alias_moves_once_the_lists_are_there_and_the_pointer_last(store: Store) -> None:
    night = Ending(store, "1")
    end(night, promote=True)
    assert night.done == ["recommend", "promote", "publish"]
    assert in_production(store) == "1"


def test_the_floor_stands_in_with_fresh_lists_every_night_until_a_model_is_good_enough(store: Store) -> None:
    end(Ending(store, "1"), promote=False)
    assert in_production(store) == "floor/item_knn"  # the better of the two
    end(Ending(store, "2"), promote=False)
    assert store.path("published/tiny").resolve().name == "run=2-floor"
    end(Ending(store, "3"), promote=True)
    end(Ending(store, "4"), promote=False)
    assert in_production(store) == "3"
