"""Challenger, floors and champion: trained where they must be, and judged on the same rows."""

from dataclasses import dataclass

from flows.night import Night
from models.config import ModelConfig
from models.fitting.config import NO_WISH, TrainerConfig
from models.registry import make_config
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.promote.decide import Decision
from tasks.promote.task import judge
from tasks.sample.windows import sample_windows
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.tracking.registry import find_champion, load_champion
from tasks.train.task import train

FLOORS = (make_config("popularity"), make_config("item_knn"))  # the first must be beaten, the others are shown


@dataclass(frozen=True)
class Floor:
    """A simple model beside which every other one has to justify itself."""

    name: str
    trained: TrainedRef
    scores: EvaluatedRef
    ndcg: float  # NDCG@10 on the test


@dataclass(frozen=True)
class Contest:
    """Who took part, and how they did."""

    trained: TrainedRef
    scores: EvaluatedRef
    floors: tuple[Floor, ...]
    champion: ChampionRef | None  # None on the first night
    beside: EvaluatedRef | None  # champion and challenger on the rows that may judge both

    @property
    def popularity(self) -> Floor:
        return self.floors[0]

    @property
    def best_floor(self) -> Floor:
        return max(self.floors, key=lambda floor: floor.ndcg)


def hold(night: Night, samples: SampleRefs) -> Contest:
    """Trains the night's model and the floors, and scores them and the champion."""
    config, store, step = night.config, night.store, night.step
    fit = (config.trainer, config.sample.sampling, config.sample.history_length, night.callbacks)
    whole = step("sample", sample_windows, store, samples, config.model, config.sample.sampling, config.trainer.seed)
    trained = step("train", train, store, whole, config.model, *fit)
    floors = tuple(_floor(night, samples, floor) for floor in FLOORS)
    scores = step("evaluate", evaluate, store, samples, trained, config.evaluate)
    champion, beside = find_champion(night.settings.tracking_uri, config.registered_model), None
    if champion is not None:
        loaded = load_champion(night.settings.tracking_uri, champion, config.dataset)
        beside = step("evaluate", evaluate_beside, store, samples, trained, loaded, champion, config.evaluate)
    return Contest(trained, scores, floors, champion, beside)


def _floor(night: Night, samples: SampleRefs, config: ModelConfig) -> Floor:
    store, asked = night.store, night.config.trainer
    # Only what a model without epochs reads: else the floors would be fitted anew whenever the night's model changes.
    trainer = TrainerConfig(seed=asked.seed, device=asked.device, refit=asked.refit)
    trained = night.step("floors", train, store, samples, config, trainer, NO_WISH, config.shown)
    scores = night.step("floors", evaluate, store, samples, trained, night.config.evaluate)
    return Floor(config.name, trained, scores, store.manifest(scores.path)["means"]["test/ndcg_at_10"])


def verdict(night: Night, contest: Contest) -> Decision:
    """The gate's decision. Popularity itself need not beat popularity."""
    own = night.config.model.name == contest.popularity.name
    floor = None if own else contest.popularity.scores
    shown = (contest.scores, floor, contest.beside, contest.champion)
    decision: Decision = night.step("promote", judge, night.store, *shown, night.configuration, night.config.gate)
    return decision
