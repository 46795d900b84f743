"""What surrounds the steps of a run: the lease, the MLflow run, the clock, and the note that a failure leaves."""

import getpass
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from flows.clock import Clock, MemoryWatch
from flows.command import was_stopped
from flows.config import PipelineConfig, Settings
from flows.summary import as_markdown
from models.base import Callback
from models.fitting.callbacks import ProgressBar
from models.fitting.config import TrainerConfig
from tasks.errors import EncoreError
from tasks.store.keys import make_hash
from tasks.store.lease import lease
from tasks.tracking.runs import EpochLogger, Run, close_dead_runs, start_run


class Surroundings:
    """One run of a flow on a dataset, from the lease to the last line. A failed one says why, in MLflow too."""

    def __init__(self, flow: str, dataset: str, experiment: str, settings: Settings, started: float, name: str) -> None:
        self.dataset, self.experiment, self.settings, self.name = dataset, experiment, settings, name
        self.store = settings.store
        self.clock = Clock(started)
        self.memory = MemoryWatch()
        self.told: list[str] = []  # what a person should know, beside what the data's warnings say
        self.run: Run
        self.tags = {
            "mlflow.source.name": f"encore {flow}",
            "mlflow.user": getpass.getuser(),
            "dataset": dataset,
            "as_of": settings.night.isoformat(timespec="seconds"),
            "store": make_hash(str(settings.data_dir)),  # whose lease is held: says which runs can only be dead
        }
        self._stack = ExitStack()

    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        """Runs one task as a step of the night: timed, and noted where it was skipped."""
        return self.clock(name, work, *args)

    def end(
        self, result: dict[str, Any], describe: Callable[[dict[str, Any]], str], status: str = "FINISHED"
    ) -> dict[str, Any]:
        """Ends the MLflow run with a description. Returns the result with the last figures."""
        result = {**result, "seconds": self.clock.total(), "peak_mb": self.memory.peak_mb}
        self.run.log_metrics({f"seconds/{name}": value for name, value in result["seconds"].items()})
        self.run.finish(status, describe(result))
        return result

    def __enter__(self) -> Self:
        logging.getLogger("encore").setLevel(logging.INFO)  # in a deployment too, where no command has done so
        self.store.prepare()
        self._stack.enter_context(lease(self.store, self.dataset))
        self.store.sweep()
        self._stack.enter_context(self.memory)
        try:
            close_dead_runs(self.settings.tracking_uri, self.experiment, self.tags["store"])
            self.run = start_run(self.settings.tracking_uri, self.experiment, self.name, self.tags)
        except BaseException:
            self._stack.close()
            raise
        self.clock.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(Exception):  # the first error is the one to show
                leave_note(self.run, error)
        self._stack.close()


class Night(Surroundings):
    """One run of the retrain flow."""

    def __init__(self, config: PipelineConfig, settings: Settings, started: float, key: str) -> None:
        name = f"{config.model.name} {settings.night:%Y-%m-%d %H:%M}"
        super().__init__("retrain", config.dataset, config.experiment, settings, started, name)
        self.config = config
        self.tags |= {"model": config.model.name, "key": key}

    @property
    def configuration(self) -> str:
        """Equal for a refit of the same on other data. Neither the seed nor where the fit begins makes another one."""
        same = {name: TrainerConfig.model_fields[name].default for name in ("seed", "warm_start", "cold_every")}
        trainer = self.config.trainer.model_copy(update=same)
        c = self.config
        return make_hash(c.model, trainer, c.split, c.sample, c.ingest.min_rating, c.ingest.events)

    @property
    def described(self) -> dict[str, Any]:
        """The configuration as it is logged: every field, resolved."""
        return self.config.model_dump(mode="json")

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Ends the MLflow run. Returns the result with the last figures."""
        return self.end(result, as_markdown)

    def callbacks(self, phase: str) -> Sequence[Callback]:
        """The progress bar for every fit; epochs are tracked only of the one that the validation rows judge."""
        return watchers(self.run, phase)


def watchers(run: Run, phase: str, whose: str = "") -> Sequence[Callback]:
    """A progress bar, and in the fit that the validation rows judge what sends its epochs to the run."""
    bar = ProgressBar(f"{whose} {phase}".strip())
    return (bar, EpochLogger(run)) if phase == "train" else (bar,)


def leave_note(run: Run, error: BaseException) -> None:
    """Ends a run that failed, or was stopped by Ctrl-C, with the reason and the report where there is one."""
    kind = error.kind if isinstance(error, EncoreError) else type(error).__name__
    run.set_tags({"decision": "failed", "error": kind})
    if report := getattr(error, "report", None):
        run.client.log_artifact(run.run_id, report)
    run.finish("KILLED" if was_stopped(error) else "FAILED", f"Failed: {error}")
