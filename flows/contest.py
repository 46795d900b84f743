"""Challenger, floor and champion: trained where they must be, and judged on the same rows."""

from dataclasses import dataclass

from flows.night import Night
from models.registry import make_config
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.promote.decide import Decision
from tasks.promote.task import judge
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.tracking.registry import find_champion, load_champion
from tasks.train.task import train

FLOOR = make_config("popularity")


@dataclass(frozen=True)
class Contest:
    """Who took part, and how they did."""

    trained: TrainedRef
    scores: EvaluatedRef
    floor: TrainedRef
    floor_scores: EvaluatedRef
    champion: ChampionRef | None  # None on the first night
    beside: EvaluatedRef | None  # champion and challenger on the rows that may judge both


def hold(night: Night, samples: SampleRefs) -> Contest:
    """Trains the night's model and the floor, and scores them and the champion."""
    config, store, step = night.config, night.store, night.step
    fit = (config.trainer, config.sample.history_length, night.callbacks)
    trained = step("train", train, store, samples, config.model, *fit)
    floor = step("floors", train, store, samples, FLOOR, config.trainer)
    floor_scores = step("floors", evaluate, store, samples, floor, config.evaluate)
    scores = step("evaluate", evaluate, store, samples, trained, config.evaluate)
    champion, beside = find_champion(night.settings.tracking_uri, config.registered_model), None
    if champion is not None:
        loaded = load_champion(night.settings.tracking_uri, champion, config.dataset)
        beside = step("evaluate", evaluate_beside, store, samples, trained, loaded, champion, config.evaluate)
    return Contest(trained, scores, floor, floor_scores, champion, beside)


def verdict(night: Night, contest: Contest) -> Decision:
    """The gate's decision. The floor itself need not beat the floor."""
    floor = None if night.config.model.name == FLOOR.name else contest.floor_scores
    shown = (contest.scores, floor, contest.beside, contest.champion)
    decision: Decision = night.step("promote", judge, night.store, *shown, night.configuration, night.config.gate)
    return decision
