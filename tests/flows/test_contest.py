"""Who is judged beside the night's model, and when other seeds are fitted: without training anything."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows import contest
from flows.config import PipelineConfig
from flows.contest import Contest, Floor, Rival
from flows.night import Night
from models.bundle import Bundle
from tasks.errors import RunFailed
from tasks.promote.candidacy import Check
from tasks.promote.decide import SEEDS, UNTRIED, Decision
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tests.tasks.judged import night

CONFIG = PipelineConfig.model_validate({"ingest": {"name": "tiny"}, "trainer": {"seed": 5}, "gate": {"seeds": 4}})
SAMPLES = cast(SampleRefs, None)
FLOORS = (Floor("popularity", TrainedRef("f", "floor", "w"), EvaluatedRef("f", "m"), 0.1),)
WANTS_SEEDS = Decision(False, (Check(SEEDS, False, UNTRIED),))
PASSED = Decision(True, (Check("has a score", True, ""),))


def ref(version: str, configuration: str = "ours") -> ChampionRef:
    return ChampionRef("encore-tiny", version, "r", "w", configuration)


@dataclass
class Evening:
    """Stands for a night: its tasks only note that they were called, and answer as they were told to."""

    decisions: list[Decision] = field(default_factory=lambda: [PASSED])
    config: PipelineConfig = CONFIG
    configuration: str = "ours"
    store: Any = field(default_factory=lambda: Store(Path("nowhere")))
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(tracking_uri="", night=datetime(2026, 1, 1, tzinfo=UTC))
    )
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        self.calls.append((work.__name__, args))
        if work.__name__ == "train":
            return TrainedRef(f"seed {args[3].seed}", "m", "w")
        if work.__name__ == "evaluate_beside":
            return EvaluatedRef(f"{args[2].key} beside {args[4].version}", "m")
        return self.decisions.pop(0) if work.__name__ == "judge" else None

    def callbacks(self, phase: str) -> tuple[str, ...]:
        return (phase,)

    def args_of(self, task: str) -> list[tuple[Any, ...]]:
        return [args for name, args in self.calls if name == task]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What MLflow would say."""
    said: dict[str, Any] = {"anchor": None, "tries": 3, "broken": False}

    def load(uri: str, rival: ChampionRef, dataset: str) -> str:
        if said["broken"]:
            raise RunFailed("its files are gone")
        return f"bundle {rival.version}"

    monkeypatch.setattr(contest, "find_anchor", lambda *args: said["anchor"])
    monkeypatch.setattr(contest, "load_champion", load)
    monkeypatch.setattr(contest, "count_tries", lambda *args: said["tries"] if args[2:] == ("ours", "seed 5") else 0)
    monkeypatch.setattr(contest, "frozen", lambda *args: "a fair")
    return said


def held(champion: ChampionRef | None) -> Contest:
    rival = None if champion is None else Rival(champion, EvaluatedRef("beside", "m"))
    return Contest(TrainedRef("seed 5", "m", "w"), EvaluatedRef("e", "m"), FLOORS, rival)


def verdict(evening: Evening, champion: ChampionRef | None) -> tuple[Contest, Decision]:
    return contest.verdict(cast(Night, evening), SAMPLES, held(champion))


def test_other_seeds_are_fitted_only_where_nothing_else_is_left_to_show() -> None:
    evening = Evening([WANTS_SEEDS, PASSED])
    judged, decision = verdict(evening, ref("1", "theirs"))
    assert decision is PASSED
    assert [one.key for one in judged.seeds] == [f"seed {seed} beside 1" for seed in (6, 7, 8)]
    assert [args[3].seed for args in evening.args_of("train")] == [6, 7, 8]
    assert evening.args_of("judge")[1][1].seeds == judged.seeds
    phases = [args[6]("train") for args in evening.args_of("train")]
    assert phases == [("seed 6 train",), ("seed 7 train",), ("seed 8 train",)]  # "train" is the night's own fit
    quiet = Evening([PASSED])
    assert verdict(quiet, ref("1", "theirs"))[0].seeds == ()
    assert quiet.args_of("train") == []


@pytest.mark.parametrize(
    ("champion", "refit", "tries"), [(None, False, 1), (ref("1"), True, 1), (ref("1", "theirs"), False, 3)]
)
def test_the_gate_is_told_what_the_registry_knows(champion: ChampionRef | None, refit: bool, tries: int) -> None:
    evening = Evening()
    verdict(evening, champion)
    ((_, contestants, gate, same, by_chance, frozen, tried),) = evening.args_of("judge")
    assert (same, by_chance, frozen, tried) == (refit, True, "a fair", tries)
    assert gate == CONFIG.gate
    assert contestants.floors.keys() == {"popularity"}
    assert held(champion).contestants("popularity").floors == {}  # it need not beat itself


def test_who_was_trained_on_everything_is_scored_as_it_was_judged(store: Store) -> None:
    samples, trained = night(store)
    ours = PipelineConfig.model_validate({"ingest": {"name": samples.split.dataset}}).resolved()
    served: tuple[Any, str] = ("bundle 2", "w")

    def scored(judged_key: str = trained.key, refit_all: str = "true", config: PipelineConfig = ours) -> Any:
        version = replace(ref("2"), tags={"judged_key": judged_key, "refit_all": refit_all})
        return contest.opponent(cast(Night, Evening(store=store, config=config)), version)

    model, weights = scored()
    assert isinstance(model, Bundle)
    assert weights == trained.weights_sha256
    assert scored(refit_all="false") == served  # it went out as it was judged
    assert scored(judged_key="gone") == served
    other = PipelineConfig.model_validate({"ingest": {"name": "other"}}).resolved()
    assert scored(config=other) == served  # tonight's data is another: who loads it from the registry says so
    (store.path(trained.path) / "weights.safetensors").write_bytes(b"damaged")
    assert scored() == served


def anchored(champion: ChampionRef) -> Rival | None:
    return contest.by_anchor(cast(Night, Evening()), SAMPLES, TrainedRef("k", "m", "w"), champion)


def test_only_a_refit_is_held_against_the_anchor(registry: dict[str, Any]) -> None:
    assert anchored(ref("2")) is None
    registry["anchor"] = ref("1")
    assert anchored(ref("2", "theirs")) is None
    found = anchored(ref("2"))
    assert found is not None
    assert (found.ref.version, found.beside.key) == ("1", "k beside 1")


def test_an_anchor_that_is_broken_is_told_and_a_champion_that_is_broken_ends_the_night(
    registry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    registry.update(anchor=ref("1"), broken=True)
    assert anchored(ref("2")) is None
    assert "its files are gone" in caplog.text
    with pytest.raises(RunFailed):
        contest.beside(cast(Night, Evening()), SAMPLES, TrainedRef("k", "m", "w"), ref("2"))


def test_everybody_who_took_part_is_before_the_gate() -> None:
    better = Floor("item_knn", TrainedRef("k", "knn", "w"), EvaluatedRef("k", "m"), 0.2)
    anchor = Rival(ref("1"), EvaluatedRef("anchor", "m"))
    whole = replace(held(ref("2")), anchor=anchor, floors=(*FLOORS, better), seeds=(EvaluatedRef("seed", "m"),))
    told = whole.contestants("bpr_mf")
    assert (told.new.key, told.champion, told.anchor) == ("e", EvaluatedRef("beside", "m"), anchor.beside)
    assert list(told.floors) == ["popularity", "item_knn"]
    assert told.seeds == whole.seeds
    assert whole.best_floor is better
