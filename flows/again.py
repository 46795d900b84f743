"""A night once more, for `encore reproduce`.

The steps are those of a night, as plain functions, on a store of their own where nothing is found ready: no Prefect, no
MLflow run, and nothing that a night or production reads is touched.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.clock import Clock
from flows.config import PipelineConfig
from flows.contest import FLOORS
from flows.refit import refit
from models.base import Callback
from models.config import ModelConfig
from models.fitting.callbacks import ProgressBar
from models.fitting.config import NO_WISH, TrainerConfig
from tasks.evaluate.task import evaluate
from tasks.reproduce.kept import Kept
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives
from tasks.split.task import split
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.start import Cold, Warm
from tasks.train.task import train


@dataclass(frozen=True)
class Again:
    """The same steps with the same configuration on the same rows."""

    store: Store
    config: PipelineConfig
    kept: Kept
    begin: Warm | Cold | None = None
    clock: Clock = field(default_factory=lambda: Clock(time.time()))

    def step(self, name: str, work: Any, *args: Any) -> Any:
        """A task of the night as the plain function that it is."""
        return self.clock(name, work.fn, *args)

    def run(self) -> tuple[dict[str, float], str]:
        """The night's metrics by their names, and the hash of the weights that it registered."""
        config, step, store = self.config, self.step, self.store
        given = (config.split, Positives.of(config.ingest), config.evaluate.candidates)
        parts = step("split", split, store, self.kept.snapshot, *given)
        samples = step("sample", sample, store, parts, config.evaluate.candidates)
        trained = self.fit(samples)
        metrics = self.figures(samples, trained)
        for floor in FLOORS:
            metrics |= {f"floor/{floor.name}/{name}": value for name, value in self.floor(samples, floor).items()}
        weights = trained.weights_sha256
        if self.kept.result["on_everything"]:
            told = (config, self.kept.snapshot, trained, bars, self.begin)
            weights = refit(step, store, *told).trained.weights_sha256
        return metrics, weights

    def fit(self, samples: SampleRefs) -> TrainedRef:
        """The night's model."""
        c = self.config
        sampling, length = c.sample.sampling, c.sample.history_length
        whole = self.step("sample", sample_windows, self.store, samples, c.model, sampling, c.trainer.seed)
        asked = (c.model, c.trainer, sampling, length, bars, self.begin)
        trained: TrainedRef = self.step("train", train, self.store, whole, *asked)
        return trained

    def figures(self, samples: SampleRefs, trained: TrainedRef) -> dict[str, float]:
        """All that the night said of its model."""
        scores = self.step("evaluate", evaluate, self.store, samples, trained, self.config.evaluate)
        judged, training = self.store.manifest(scores.path), self.store.manifest(trained.path)
        beyond = judged.get("beyond", {}).get("test", {})
        return {
            **{f"valid/{name}": value for name, value in training["valid"].items()},
            **judged["means"],
            **{f"beyond/{name}": value for name, value in beyond.items()},
        }

    def floor(self, samples: SampleRefs, floor: ModelConfig) -> dict[str, float]:
        """The test metrics of a floor, without the part of their names that says so."""
        asked = self.config.trainer
        trainer = TrainerConfig(seed=asked.seed, device=asked.device, refit=asked.refit)
        trained = self.step("floors", train, self.store, samples, floor, trainer, NO_WISH, floor.shown)
        scores = self.step("floors", evaluate, self.store, samples, trained, self.config.evaluate)
        means: dict[str, float] = self.store.manifest(scores.path)["means"]
        return {name.removeprefix("test/"): value for name, value in means.items()}


def bars(phase: str) -> Sequence[Callback]:
    """What is shown while a phase of the training runs."""
    return (ProgressBar(phase),)
