"""Fits a model: the validation rows choose the epoch, then it may be fitted anew on all that precedes the test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import pyarrow as pa
from torch import Tensor

from models.base import Callback, Epoch, FitSession, Query, Ragged, Recommender, TrainingData
from models.config import ModelConfig
from models.features import UserFeatures
from models.fitting.config import CheckpointConfig, SamplingConfig, TrainerConfig
from models.fitting.keeping import can_keep
from models.registry import build
from models.serving import popularity
from tasks.judging import Judges, judge_lists, make_judges, means, rank_all
from tasks.train.start import Starts

VALIDATION_CUTOFFS = (10, 20)
FROM_NOTHING = Starts()


@dataclass(frozen=True)
class Fitted:
    """A trained model and the record of its training."""

    model: Recommender
    data: TrainingData  # the rows it was last fitted on
    history: list[Epoch] = field(default_factory=list)  # of the fit that the validation rows judged
    best_epoch: int = 0
    valid: Mapping[str, float] = field(default_factory=dict)  # at the best epoch
    seconds: float = 0.0  # validation epochs, refit and compilation
    refitted: bool = False
    trainer: TrainerConfig = field(default_factory=TrainerConfig)  # complete: what was left to the fit is filled in
    judged: Mapping[str, Tensor] | None = None  # weights of the fit that was refitted, where later nights want them

    @property
    def samples_per_second(self) -> float:
        seconds = sum(epoch.seconds for epoch in self.history)
        return sum(epoch.samples for epoch in self.history) / seconds if seconds else 0.0


def fit(
    config: ModelConfig,
    trainer: TrainerConfig,
    sampling: SamplingConfig,
    fitted: TrainingData,
    known: TrainingData,
    judges: Judges | None,
    history_length: int | None = None,
    callbacks: Callable[[str], Sequence[Callback]] = lambda phase: (),
    checkpoints: Path | None = None,
    keep: Path | None = None,
    starts: Starts = FROM_NOTHING,
) -> Fitted:
    """Trains on `fitted`, chooses the epoch by `judges`, and with `trainer.refit` trains anew on `known`.

    Without validation rows every epoch is run on `known` at once. Both fits begin from nothing unless `starts` says
    otherwise. `callbacks` gives those of a phase: "train" or "refit". The files that `trainer.checkpoint` asks for go
    into `keep`, those of the refit into its folder `refit`. Raises TrainingDiverged, and WrongStart where
    `trainer.initial_weights` does not fit.
    """
    start = perf_counter()
    if judges is None:
        session = FitSession(
            trainer,
            None,
            callbacks("train"),
            _folder(checkpoints, "known"),
            sampling=sampling,
            keep=keep,
            start=starts.known,
        )
        model = build(config.name, config, known).fit(known, session)
        seconds = perf_counter() - start
        return Fitted(model, known, session.history, session.best_epoch, {}, seconds, trainer=session.trainer)
    validate = Validation(judges, fitted, history_length)
    session = FitSession(
        trainer,
        validate,
        callbacks("train"),
        _folder(checkpoints, "valid"),
        sampling=sampling,
        keep=keep,
        start=starts.valid,
    )
    model = build(config.name, config, fitted).fit(fitted, session)
    best = {epoch.number: epoch.metrics for epoch in session.history}.get(session.best_epoch) or validate(model)
    seconds = perf_counter() - start
    done = Fitted(model, fitted, session.history, session.best_epoch, best, seconds, trainer=session.trainer)
    if not trainer.refit:
        return done
    again = FitSession(
        for_refit(session.trainer, session.best_epoch, session.history),
        None,
        callbacks("refit"),
        _folder(checkpoints, "refit"),
        sampling=sampling,
        keep=_folder(keep, "refit"),
        start=starts.known,
    )
    judged = model.weights() if trainer.warm_start and config.starts_warm else None
    # what the first fit chose by the validation rows (an epoch, a regularisation) is given to the second
    model = build(config.name, model.config, known).fit(known, again)
    seconds = perf_counter() - start
    return replace(done, model=model, data=known, seconds=seconds, refitted=True, judged=judged)


class Validation:
    """Scores a model on the validation rows, by full ranking with the training rows masked."""

    def __init__(self, judges: Judges, data: TrainingData, history_length: int | None) -> None:
        self.judges = judges
        self.popularity_I = popularity(data.histories, data.n_items)
        shown = judges.known if history_length is None else judges.known.latest(history_length)
        self.query = Query(judges.users_U, shown, judges.features)

    def __call__(self, model: Recommender) -> Mapping[str, float]:
        items_UN = rank_all(model, self.popularity_I, self.judges, self.query, max(VALIDATION_CUTOFFS))
        return means(judge_lists(items_UN, self.judges, VALIDATION_CUTOFFS))


def validation_judges(
    valid: pa.Table, fitted: Ragged, keeps_repeats: bool, features: UserFeatures | None = None
) -> Judges | None:
    """The users who have validation rows; None when there is no such row."""
    if not valid.num_rows:
        return None
    # the id maps cover every validation row, so indices can stand for raw ids here
    ids = {"user_id": valid["user_idx"].cast(pa.string()), "item_id": valid["item_idx"].cast(pa.string())}
    rows = pa.table({**ids, "user_idx": valid["user_idx"], "item_idx": valid["item_idx"]})
    return make_judges(rows, fitted, keeps_repeats, features=features)


def for_refit(trainer: TrainerConfig, epochs: int, history: Sequence[Epoch]) -> TrainerConfig:
    """As many epochs as were best, from the same initial weights.

    But where these only went on with a fit that had been interrupted, the refit is that of the whole fit, from scratch.
    """
    changes: dict[str, object] = {"epochs": epochs} if epochs else {}
    if history and history[0].number <= trainer.initial_epoch:
        changes |= {"initial_epoch": 0, "initial_weights": None}
    if not can_keep(trainer.checkpoint, judged=False):
        changes["checkpoint"] = CheckpointConfig()
    return trainer.model_copy(update=changes)


def _folder(checkpoints: Path | None, name: str) -> Path | None:
    return checkpoints / name if checkpoints is not None else None
