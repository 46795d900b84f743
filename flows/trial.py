"""One trial of a search: a model is fitted on the training rows and judged by the validation rows, and by no others."""

from dataclasses import dataclass
from typing import Any

from flows.config import PipelineConfig
from models.base import Callback, Epoch, Recommender, TrainingData
from models.fitting.config import CheckpointConfig
from tasks.errors import ConfigError, RunFailed
from tasks.features import user_features
from tasks.store.histories import read_histories, read_weights
from tasks.store.refs import SampleRefs
from tasks.store.store import Store
from tasks.store.windows import read_windows
from tasks.train.logic import Fitted, fit, validation_judges
from tasks.train.task import explained
from tasks.tune.slots import Report
from tasks.tune.study import METRIC


@dataclass(frozen=True)
class Job:
    """What a process is told of a trial."""

    store: Store
    samples: SampleRefs  # with windows where the model reads them
    night: PipelineConfig


class GivenUp(Exception):
    """The epochs so far say that nothing good will come of it."""


class Reporter(Callback):
    """Reports each epoch that was judged; where the answer is no, ends the training."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        if METRIC not in epoch.metrics:
            return
        figures = {"loss": epoch.loss, "samples": epoch.samples, "seconds": epoch.seconds}
        if not self._report(epoch.number, epoch.metrics[METRIC], {**figures, "metrics": dict(epoch.metrics)}):
            raise GivenUp


def run_trial(job: Job, report: Report) -> dict[str, Any]:
    """`state` (complete, pruned, failed) and what is remembered of it: `value`, or the `error`."""
    try:
        made = fit_trial(job, report)
    except GivenUp:
        return {"state": "pruned"}
    except (RunFailed, ConfigError) as error:
        return {"state": "failed", "error": error.message}
    return {
        "state": "complete",
        "value": made.valid[METRIC],
        "seconds": made.seconds,
        "best_epoch": made.best_epoch,
        "n_parameters": made.model.n_parameters,
        "chosen": {f"model.{name}": value for name, value in made.model.config},
    }


def fit_trial(job: Job, report: Report) -> Fitted:
    """As a night fits it before the refit. Raises GivenUp, and what `explained` makes of failures."""
    store, samples, night = job.store, job.samples, job.night
    fitted = read_histories(store.path(samples.fitted.path))
    features = user_features(store.read(samples.split.users))
    judges = validation_judges(store.read(samples.split.valid), fitted, samples.split.keeps_repeats, features)
    weights = samples.fitted_weights
    data = TrainingData(
        samples.split.items.rows,
        fitted,
        features.table,
        weights_R=read_weights(store.path(weights.path)) if weights else None,
        windows=read_windows(store.path(samples.windows.fitted.path)) if samples.windows else None,
    )
    once = {"refit": False, "checkpoint": CheckpointConfig()}
    trainer = night.trainer.model_copy(update=once)
    # members of a blend have epochs of their own, which are no epochs of the whole
    alone = night.model.models_used() == (night.model.name,)
    with explained(night.model):
        return fit(
            night.model,
            trainer,
            night.sample.sampling,
            data,
            data,  # only a refit would see the validation rows
            judges,
            night.sample.history_length,
            lambda phase: (Reporter(report),) if alone else (),
        )
