"""What surrounds the steps of a night: the lease, the MLflow run, the clock, and the note that a failure leaves."""

import getpass
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from flows.clock import Clock, MemoryWatch
from flows.config import PipelineConfig, Settings
from flows.summary import as_markdown
from models.base import Callback
from models.fitting.callbacks import ProgressBar
from tasks.errors import EncoreError
from tasks.store.keys import make_hash
from tasks.store.lease import lease
from tasks.store.store import Store
from tasks.tracking.runs import EpochLogger, Run, close_dead_runs, start_run


class Night:
    """One run of the retrain flow, from the lease to the last line. A failed one says why, in MLflow too."""

    def __init__(self, config: PipelineConfig, settings: Settings, started: float, key: str) -> None:
        self.config, self.settings, self.key = config, settings, key
        self.store = Store(settings.data_dir)
        self.clock = Clock(started)
        self.memory = MemoryWatch()
        self.run: Run
        self._stack = ExitStack()

    @property
    def configuration(self) -> str:
        """Equal for a refit of the same on other data; neither the seed nor an upgrade makes another configuration."""
        trainer = self.config.trainer.model_copy(update={"seed": 0})
        c = self.config
        return make_hash(c.model, trainer, c.split, c.sample, c.ingest.min_rating)

    @property
    def described(self) -> dict[str, Any]:
        """The configuration as it is logged: every field, resolved."""
        return self.config.model_dump(mode="json")

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Ends the MLflow run. Returns the result with the last figures."""
        result = {**result, "seconds": self.clock.total(), "peak_mb": self.memory.peak_mb}
        self.run.log_metrics({f"seconds/{name}": value for name, value in result["seconds"].items()})
        self.run.finish(note=as_markdown(result))
        return result

    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        """Runs one task as a step of the night: timed, and noted where it was skipped."""
        return self.clock(name, work, *args)

    def callbacks(self, phase: str) -> Sequence[Callback]:
        """The progress bar for every fit; epochs are tracked only of the one that the validation rows judge."""
        bar = ProgressBar(phase)
        return (bar, EpochLogger(self.run)) if phase == "train" else (bar,)

    def __enter__(self) -> Self:
        logging.getLogger("encore").setLevel(logging.INFO)  # in a deployment too, where no command has done so
        self.store.prepare()
        self._stack.enter_context(lease(self.store, self.config.dataset))
        self.store.sweep()
        self._stack.enter_context(self.memory)
        tags = {
            "mlflow.source.name": "encore retrain",
            "mlflow.user": getpass.getuser(),
            "dataset": self.config.dataset,
            "model": self.config.model.name,
            "as_of": self.settings.night.isoformat(timespec="seconds"),
            "key": self.key,
            "store": make_hash(str(self.settings.data_dir)),  # whose lease is held: says which runs can only be dead
        }
        name = f"{self.config.model.name} {self.settings.night:%Y-%m-%d %H:%M}"
        try:
            close_dead_runs(self.settings.tracking_uri, self.config.experiment, tags["store"])
            self.run = start_run(self.settings.tracking_uri, self.config.experiment, name, tags)
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
                self._leave_note(error)
        self._stack.close()

    def _leave_note(self, error: BaseException) -> None:
        kind = error.kind if isinstance(error, EncoreError) else type(error).__name__
        self.run.set_tags({"decision": "failed", "error": kind})
        if report := getattr(error, "report", None):
            self.run.client.log_artifact(self.run.run_id, report)
        self.run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", f"Failed: {error}")
