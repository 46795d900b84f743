"""Challenger, floors, champion and anchor: trained where they must be, and judged on the same rows."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from flows.night import Night
from models.base import Callback
from models.bundle import Bundle, BundleDamaged
from models.config import ModelConfig
from models.fitting.config import NO_WISH, TrainerConfig
from models.registry import depends_on_seed, make_config
from tasks.errors import RunFailed
from tasks.evaluate.champion import Champion
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.promote.decide import Decision, wants_seeds
from tasks.promote.task import Contestants, judge
from tasks.sample.windows import sample_windows
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.tracking.anchor import find_anchor
from tasks.tracking.history import frozen
from tasks.tracking.registry import find_champion, load_champion
from tasks.tracking.tries import count_tries
from tasks.train.start import find_start
from tasks.train.task import train

LOG = logging.getLogger("encore.contest")
FLOORS = (make_config("popularity"), make_config("item_knn"))  # the first must be beaten, the others are shown


@dataclass(frozen=True)
class Floor:
    """A simple model beside which every other one has to justify itself."""

    name: str
    trained: TrainedRef
    scores: EvaluatedRef
    ndcg: float  # NDCG@10 on the test


@dataclass(frozen=True)
class Rival:
    """A version that has been in production, and how it and the challenger do on the rows that may judge both."""

    ref: ChampionRef
    beside: EvaluatedRef


@dataclass(frozen=True)
class Contest:
    """Who took part, and how they did."""

    trained: TrainedRef
    scores: EvaluatedRef
    floors: tuple[Floor, ...]
    champion: Rival | None = None  # None on the first night
    anchor: Rival | None = None  # the best champion of the last nights; None where that is the champion
    seeds: tuple[EvaluatedRef, ...] = ()  # the challenger with other seeds, beside the champion

    @property
    def popularity(self) -> Floor:
        return self.floors[0]

    @property
    def champion_ref(self) -> ChampionRef | None:
        return self.champion.ref if self.champion else None

    @property
    def best_floor(self) -> Floor:
        return max(self.floors, key=lambda floor: floor.ndcg)

    def contestants(self, name: str) -> Contestants:
        """What the gate reads. Popularity itself need not beat popularity."""
        floors: Mapping[str, EvaluatedRef] = {floor.name: floor.scores for floor in self.floors}
        return Contestants(
            self.scores,
            {} if name == self.popularity.name else floors,
            self.champion.beside if self.champion else None,
            self.anchor.beside if self.anchor else None,
            self.seeds,
        )


def hold(night: Night, samples: SampleRefs) -> Contest:
    """Trains the night's model and the floors, and scores them, the champion and the anchor."""
    config, store, step, uri = night.config, night.store, night.step, night.settings.tracking_uri
    champion = find_champion(uri, config.registered_model)
    trained = fit(night, samples, champion, config.trainer, night.callbacks)
    floors = tuple(_floor(night, samples, floor) for floor in FLOORS)
    scores = step("evaluate", evaluate, store, samples, trained, config.evaluate)
    if champion is None:
        return Contest(trained, scores, floors)
    by_champion = beside(night, samples, trained, champion)
    return Contest(trained, scores, floors, by_champion, by_anchor(night, samples, trained, champion))


def fit(
    night: Night,
    samples: SampleRefs,
    champion: ChampionRef | None,
    trainer: TrainerConfig,
    callbacks: Callable[[str], Sequence[Callback]],
) -> TrainedRef:
    """The night's model, with this trainer; with `warm_start` it may begin with what the champion has learned."""
    config, store, step = night.config, night.store, night.step
    whole = step("sample", sample_windows, store, samples, config.model, config.sample.sampling, trainer.seed)
    asked = (trainer, config.sample.sampling, config.sample.history_length, callbacks)
    begin = find_start(store, config.model, trainer, champion, night.configuration, config.dataset)
    trained: TrainedRef = step("train", train, store, whole, config.model, *asked, begin)
    return trained


def beside(night: Night, samples: SampleRefs, trained: TrainedRef, rival: ChampionRef) -> Rival:
    """Both on the rows that neither was fitted on."""
    return _on_their_rows(night, samples, trained, rival, *opponent(night, rival))


def opponent(night: Night, rival: ChampionRef) -> tuple[Champion, str]:
    """The version's model that is scored tonight, and the hash of its weights.

    One that was trained on everything after it had passed is scored as it was judged: it has learned rows up to its own
    night's end, which the new model may not learn before it has passed as well, and would win by that alone. It is
    scored as it is served where those files are gone. Raises RunFailed where it cannot be loaded, or is of other data.
    """
    store, dataset = night.store, night.config.dataset
    if rival.tags.get("refit_all") == "true" and (kept := store.find(judged_folder(rival))) is not None:
        with suppress(BundleDamaged):
            if (bundle := Bundle.load(store.path(kept.path))).dataset == dataset:
                return bundle, str(kept.manifest["weights_sha256"])
    return load_champion(night.settings.tracking_uri, rival, dataset), rival.weights_sha256


def judged_folder(version: ChampionRef) -> str:
    """Where the training of a version has left the model that was judged."""
    return f"checkpoints/{version.tags.get('judged_key', '')}/bundle"


def _on_their_rows(
    night: Night, samples: SampleRefs, trained: TrainedRef, rival: ChampionRef, loaded: Champion, weights: str
) -> Rival:
    scored = replace(rival, weights_sha256=weights)  # names what is stored of it
    both = (samples, trained, loaded, scored, night.config.evaluate)
    return Rival(rival, night.step("evaluate", evaluate_beside, night.store, *both))


def by_anchor(night: Night, samples: SampleRefs, trained: TrainedRef, champion: ChampionRef) -> Rival | None:
    """A refit beside the best champion of the last nights; None where that is the champion, or cannot be loaded.

    The anchor is a second net below the first: without its files every night would fail, or be refused, until it is
    too old to count. The comparison with the champion stands, so a night without the anchor only warns."""
    if not is_refit(night, champion):
        return None
    uri, nights = night.settings.tracking_uri, night.config.gate.anchor_nights
    anchor = find_anchor(uri, champion, night.settings.night, nights)
    if anchor is None:
        return None
    try:
        scored = opponent(night, anchor)
    except RunFailed as error:
        LOG.warning("No anchor tonight: %s", error)
        return None
    return _on_their_rows(night, samples, trained, anchor, *scored)


def is_refit(night: Night, champion: ChampionRef) -> bool:
    """Whether the night's model has the champion's configuration, on other data."""
    return champion.configuration == night.configuration


def verdict(night: Night, samples: SampleRefs, contest: Contest) -> tuple[Contest, Decision]:
    """The gate's decision. A challenger that has only to show that it was no lucky seed is fitted with others too."""
    decision = _judge(night, contest)
    if contest.champion is not None and wants_seeds(decision):
        contest = replace(contest, seeds=other_seeds(night, samples, contest.champion.ref))
        decision = _judge(night, contest)
    return contest, decision


def other_seeds(night: Night, samples: SampleRefs, champion: ChampionRef) -> tuple[EvaluatedRef, ...]:
    """The night's model with the seeds after its own, beside the champion."""
    first, n_seeds = night.config.trainer.seed, night.config.gate.seeds
    return tuple(_with_seed(night, samples, champion, seed) for seed in range(first + 1, first + n_seeds))


def _with_seed(night: Night, samples: SampleRefs, champion: ChampionRef, seed: int) -> EvaluatedRef:
    def callbacks(phase: str) -> Sequence[Callback]:  # a name of its own: only the night's fit is tracked by epoch
        return night.callbacks(f"seed {seed} {phase}")

    trained = fit(night, samples, champion, night.config.trainer.model_copy(update={"seed": seed}), callbacks)
    return beside(night, samples, trained, champion).beside


def _judge(night: Night, contest: Contest) -> Decision:
    config, champion, uri = night.config, contest.champion_ref, night.settings.tracking_uri
    refit = champion is not None and is_refit(night, champion)
    tries = 1 if champion is None or refit else count_tries(uri, champion, night.configuration, contest.trained.key)
    by_chance, frozen_for = depends_on_seed(config.model), frozen(uri, config.registered_model)
    facts = (contest.contestants(config.model.name), config.gate, refit, by_chance, frozen_for, tries)
    decision: Decision = night.step("promote", judge, night.store, *facts)
    return decision


def _floor(night: Night, samples: SampleRefs, config: ModelConfig) -> Floor:
    store, asked = night.store, night.config.trainer
    # Only what a model without epochs reads: else the floors would be fitted anew whenever the night's model changes.
    trainer = TrainerConfig(seed=asked.seed, device=asked.device, refit=asked.refit)
    trained = night.step("floors", train, store, samples, config, trainer, NO_WISH, config.shown)
    scores = night.step("floors", evaluate, store, samples, trained, night.config.evaluate)
    return Floor(config.name, trained, scores, store.manifest(scores.path)["means"]["test/ndcg_at_10"])
