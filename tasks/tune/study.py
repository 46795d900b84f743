"""A search's memory: what was tried and what came of it, kept on disk by Optuna, and what is to be tried next.

Only one process writes here. What is drawn depends on the seed, on the place of the trial and on the trials before it,
never on a generator that lives on: a search that was killed and begun again draws what it would have drawn.
"""

import logging
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from models.fitting.samplers import stream
from models.search import Choice, Space, Whole

METRIC = "ndcg_at_10"
"""Of the validation rows; the best epoch's counts."""
BEFORE_PRUNING = 4
"""Trials that run to their end before any is given up."""
SHARE_BEFORE_PRUNING = 0.25
"""Of a training's epochs: what learns slowly at first is not given up for that."""
ENOUGH = 10
"""Trials by which it can be said what a setting is worth."""
MOST_TRIES = 3
"""Of one trial, where the process dies each time: perhaps it is what kills it."""
LEARNT = "learnt"
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Asked:
    """What is to be tried. `place` counts from 0, retries of a killed trial have the place of that one."""

    number: int
    place: int
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """What came of a trial. `value` is the best validation NDCG@10, also of one that was given up."""

    place: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    told: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """The trials of one search, made on disk where they are not there yet. What a killed process tried is repeated."""

    def __init__(
        self,
        folder: Path,
        space: Mapping[str, Space],
        first: Mapping[str, Any],
        seed: int,
        workers: int = 1,
        epochs: int = 0,
    ) -> None:
        """`first` is what the first trial has, as far as it lies in the space; `epochs` those of a training."""
        folder.mkdir(parents=True, exist_ok=True)
        self.space, self.first, self.seed, self.workers = dict(space), dict(first), seed, workers
        self._running: dict[int, Trial] = {}
        with quiet():
            kept = {"creator": partial(_connect, folder / "study.db")}
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=kept)
            pruner = optuna.pruners.MedianPruner(BEFORE_PRUNING, ceil(SHARE_BEFORE_PRUNING * epochs))
            self._study = optuna.create_study(
                storage=storage, pruner=pruner, study_name="search", direction="maximize", load_if_exists=True
            )
            self.repeated = self._revive()
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(self.first, user_attrs={"place": 0, "tries": 1})

    def ask(self) -> Asked:
        """The next one to try: what waits to be repeated, else a draw."""
        waits = [trial for trial in self._trials() if trial.state == TrialState.WAITING]
        taken = {trial.user_attrs.get("place") for trial in self._trials() if "killed" not in trial.user_attrs}
        free = next(place for place in count() if place not in taken)
        place = int(waits[0].user_attrs["place"]) if waits else free
        with quiet():
            seed = int(stream(self.seed, "tune", place).integers(2**31))
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=self.workers > 1)
            names = self.first if place == 0 else self.space  # what the first leaves to the fit is not drawn for it
            trial = self._study.ask({name: distribution(self.space[name]) for name in names})
        if not waits:
            trial.set_user_attr("tries", 1)
            trial.set_user_attr("place", place)
        self._running[trial.number] = trial
        return Asked(trial.number, place, dict(trial.params))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes an epoch's value. True where the trial is not worth going on with."""
        trial = self._running[number]
        with quiet():
            trial.report(value, epoch)
            return bool(trial.should_prune())

    def tell(
        self,
        number: int,
        state: str,
        value: float | None = None,
        chosen: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        """A trial is over: `complete` with its value, `pruned` (its best epoch's is noted) or `failed`.

        `chosen` is what the fit chose where it was left to it: what is drawn next learns of that, too."""
        trial = self._running.pop(number)
        if state == "complete" and chosen and trial.params.keys() != self.space.keys():
            self._learn({**chosen, **trial.params}, value)
        for name, one in told.items():
            trial.set_user_attr(name, one)
        kept = next(kind for kind, name in STATES.items() if name == state)
        with quiet():
            if state == "pruned":
                seen = self._study._storage.get_trial(trial._trial_id).intermediate_values
                trial.set_user_attr("value", max(seen.values()))
            self._study.tell(trial, value if state == "complete" else None, kept)

    def _learn(self, params: Mapping[str, Any], value: float | None) -> None:
        """A point of the space whose value is known, though it was no trial."""
        known = {name: params.get(name) for name in self.space}
        held = all(self.space[name].holds(one) for name, one in known.items())
        if not held or any(LEARNT in one.user_attrs for one in self._all()):  # a kill came between the two
            return
        drawn = {name: distribution(space) for name, space in self.space.items()}
        with quiet():
            point = create_trial(value=value, params=known, distributions=drawn, user_attrs={LEARNT: True})
            self._study.add_trial(point)

    @property
    def begun(self) -> int:
        """How many places are taken; a killed trial's is free again."""
        return sum("killed" not in trial.user_attrs for trial in self._trials())

    def is_open(self, trials: int) -> bool:
        """Whether one more is to be tried, of so many in all."""
        return self.begun < trials or any(trial.state == TrialState.WAITING for trial in self._trials())

    @property
    def tried(self) -> list[Tried]:
        """All that are over, in their order."""
        over = [one for one in self._trials() if one.state in STATES and "killed" not in one.user_attrs]
        return sorted((_tried(trial) for trial in over), key=lambda one: one.place)

    @property
    def best(self) -> Tried | None:
        """The best of those that ran to their end; of equal ones the first."""
        whole = [one for one in self.tried if one.state == "complete"]
        return max(whole, key=lambda one: (one.value or 0.0, -one.place), default=None)

    def importance(self) -> dict[str, float]:
        """What the best tenth differ by from all, as shares of one; empty where there are too few trials to tell.

        Those that were given up count by their best epoch. Source: Watanabe et al., PED-ANOVA, IJCAI 2023."""
        judged = [one for one in self.tried if one.value is not None and set(one.params) == set(self.space)]
        if len(judged) < ENOUGH or len({one.value for one in judged}) < 2:
            return {}
        drawn = {name: distribution(space) for name, space in self.space.items()}
        with quiet():
            memory = optuna.create_study(direction="maximize")
            for one in judged:
                memory.add_trial(create_trial(value=one.value, params=dict(one.params), distributions=drawn))
            return dict(get_param_importances(memory, evaluator=PedAnovaImportanceEvaluator()))

    def _trials(self) -> list[FrozenTrial]:
        return [trial for trial in self._all() if LEARNT not in trial.user_attrs]

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _revive(self) -> int:
        """What a dead process was trying waits to be repeated, but not for ever. Returns how many there were."""
        dead = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        for trial in dead:
            place, tries = trial.user_attrs.get("place"), trial.user_attrs.get("tries", 0)
            names = self.first if place == 0 else self.space
            whole = place is not None and set(names) == set(trial.params)  # else it was killed while it was drawn
            if whole and tries == MOST_TRIES:
                told = {"error": f"the process died {tries} times while it was tried"}
            else:
                told = {"killed": "its place is free again"}
            for name, text in told.items():
                self._study._storage.set_trial_user_attr(trial._trial_id, name, text)
            later = (one.user_attrs.get("place") for one in self._trials() if one.number > trial.number)
            if whole and "killed" in told and place not in later:  # else it waits already: a kill came in here, too
                self._study.enqueue_trial(trial.params, user_attrs={"place": place, "tries": tries + 1})
            self._study.tell(trial.number, state=TrialState.FAIL)
        return len(dead)


def _connect(file: Path) -> sqlite3.Connection:
    """A database that a killed process leaves whole, and that does not wait for the disk at every epoch."""
    connection = sqlite3.connect(file, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _tried(trial: FrozenTrial) -> Tried:
    own = {name: value for name, value in trial.user_attrs.items() if name != "tries"}
    place, best = int(own.pop("place")), own.pop("value", None)
    value = best if trial.state == TrialState.PRUNED else trial.value  # of one given up Optuna has the last epoch's
    return Tried(place, STATES[trial.state], value, dict(trial.params), own)


def distribution(space: Space) -> BaseDistribution:
    """A space as Optuna draws from it."""
    if isinstance(space, Choice):
        return CategoricalDistribution(space.values)
    if isinstance(space, Whole):
        return IntDistribution(space.low, space.high, log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's own lines: the search has its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
