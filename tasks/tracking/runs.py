"""Runs in MLflow: what was computed, with what, and how it came out."""

import logging
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException

from models.base import Callback, Epoch, Recommender
from tasks.errors import RunFailed, without_passwords
from tasks.store.refs import SnapshotRef

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PARAMS_A_CALL = 100
MAX_METRICS_A_CALL = 1000
MAX_RUN_NAME = 250  # a database other than SQLite refuses a longer one
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Run:
    """A run of an experiment. Only its id travels; MLflow keeps the rest."""

    tracking_uri: str
    experiment: str
    experiment_id: str
    run_id: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri)

    def child(self, name: str, tags: Mapping[str, str]) -> "Run":
        """A new run that MLflow shows below this one."""
        return start_run(self.tracking_uri, self.experiment, name, {**tags, "mlflow.parentRunId": self.run_id})

    def log_params(self, params: Mapping[str, Any]) -> None:
        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), MAX_PARAMS_A_CALL):
            self.client.log_batch(self.run_id, params=entries[start : start + MAX_PARAMS_A_CALL])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.log_metric_entries([Metric(name, value, _now(), step) for name, value in metrics.items()])

    def log_metric_entries(self, entries: Sequence[Metric]) -> None:
        for start in range(0, len(entries), MAX_METRICS_A_CALL):
            self.client.log_batch(self.run_id, metrics=entries[start : start + MAX_METRICS_A_CALL])

    def logged_epochs(self) -> set[int]:
        """The epochs whose figures the run has already."""
        return {metric.step for metric in self.client.get_metric_history(self.run_id, "train/loss")}

    def complete_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """The epochs that were not logged while training went on: it was found, or a killed run had begun it."""
        logged = self.logged_epochs()
        self.log_history([epoch for epoch in history if epoch["number"] not in logged])

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Many epochs of a training at once, as they were remembered."""
        now = _now()
        entries = [
            Metric(name, value, now, epoch["number"])
            for epoch in history
            for name, value in epoch_metrics(
                epoch["loss"], epoch["samples"], epoch["seconds"], epoch["metrics"]
            ).items()
        ]
        self.log_metric_entries(entries)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, value)

    def log_snapshot(self, snapshot: SnapshotRef) -> None:
        """The data as MLflow's dataset input: name, digest and size."""
        profile = f'{{"num_rows": {snapshot.rows}}}'
        dataset = Dataset(snapshot.dataset, snapshot.hash[:32], "local", f'{{"uri": "{snapshot.path}"}}', None, profile)
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_text(self, text: str, path: str) -> None:
        self.client.log_text(self.run_id, text, path)

    def log_figure(self, figure: "Figure", path: str) -> None:
        self.client.log_figure(self.run_id, figure, path)

    def finish(self, status: str = "FINISHED", note: str = "") -> None:
        """Ends the run as FINISHED, FAILED or KILLED; `note` is shown as its description."""
        if note:
            self.client.set_tag(self.run_id, "mlflow.note.content", note)
        self.client.set_terminated(self.run_id, status)


class EpochLogger(Callback):
    """Sends each epoch's figures to the run while training goes on: one call an epoch."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.run.log_metrics(epoch_metrics(epoch.loss, epoch.samples, epoch.seconds, epoch.metrics), epoch.number)


def epoch_metrics(loss: float, samples: int, seconds: float, metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures of one epoch under the names that they have in MLflow."""
    speed = {"train/samples_per_second": samples / seconds} if seconds else {}
    return {"train/loss": loss, **speed, **{f"valid/{name}": value for name, value in metrics.items()}}


def connect(tracking_uri: str) -> MlflowClient:
    """A client, once it is known that somebody answers: MLflow itself tries for many minutes, in silence.

    Raises RunFailed where a server is out of reach, or the address is none that MLflow takes.
    """
    if tracking_uri.startswith(("http://", "https://")):
        address = without_passwords(tracking_uri)
        try:
            urllib.request.urlopen(address, timeout=CONNECT_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # it answers; what it lets us do shows later
        except OSError as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # whom to trust is MLflow's affair
                raise RunFailed(f"no MLflow server answers at {address}", "start it, or set --tracking_uri") from error
    try:
        return MlflowClient(tracking_uri)
    except MlflowException as error:
        raise unreachable(error) from error


def unreachable(error: MlflowException) -> RunFailed:
    """What MLflow says, in one line and without a password."""
    reason = without_passwords(" ".join(str(error).split()))
    return RunFailed(f"MLflow cannot be used: {reason}", "check --tracking_uri")


def start_run(tracking_uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
    """A new run; the experiment is made where it does not exist. Raises RunFailed where MLflow is out of reach."""
    client = connect(tracking_uri)
    try:
        experiment_id = _experiment_id(client, tracking_uri, experiment)
        run = client.create_run(experiment_id, run_name=name[:MAX_RUN_NAME], tags=dict(tags))
    except MlflowException as error:
        raise unreachable(error) from error
    return Run(tracking_uri, experiment, run.info.experiment_id, run.info.run_id)


def close_dead_runs(tracking_uri: str, experiment: str, store: str) -> int:
    """Ends the runs that a killed night of this data folder left RUNNING; call it only under the lease.

    Returns how many there were.
    """
    client = connect(tracking_uri)
    try:
        if (found := client.get_experiment_by_name(experiment)) is None:
            return 0
        dead = client.search_runs([found.experiment_id], f"attributes.status = 'RUNNING' and tags.store = '{store}'")
    except MlflowException as error:
        raise unreachable(error) from error
    for run in dead:
        client.set_tag(run.info.run_id, "decision", "failed")
        Run(tracking_uri, experiment, found.experiment_id, run.info.run_id).finish("KILLED", "The process was killed.")
    return len(dead)


def run_exists(tracking_uri: str, run_id: str) -> bool:
    client = connect(tracking_uri)
    with suppress(MlflowException):
        return bool(client.get_run(run_id).info.status == "FINISHED")
    return False


def params_of(tracking_uri: str, run_id: str) -> dict[str, str]:
    """The parameters of a run as they were logged; empty where it is gone."""
    client = connect(tracking_uri)
    with suppress(MlflowException):
        return dict(client.get_run(run_id).data.params)
    return {}


def artifact_root(tracking_uri: str, experiment: str) -> str | None:
    """Beside the tracking database, so that both are moved and saved together; a server knows its own place."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    folder = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment).strip("-._") or "experiment"  # a name is no path
    return (database.resolve().parent / "mlartifacts" / folder).as_uri()


def prepare(tracking_uri: str) -> None:
    """Creates the tracking database, so that the first night does not pay for it."""
    MlflowClient(tracking_uri).search_experiments(max_results=1)


def quiet() -> None:
    """Keeps MLflow's own notices off the terminal: the night has its own lines."""
    for name in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _experiment_id(client: MlflowClient, tracking_uri: str, name: str) -> str:
    if found := client.get_experiment_by_name(name):
        if found.lifecycle_stage == "deleted":
            raise RunFailed(
                f"the MLflow experiment {name!r} was deleted", "restore it, or set another --experiment=NAME"
            )
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_root(tracking_uri, name)))
    except MlflowException:  # another run was first
        made = client.get_experiment_by_name(name)
        if made is None:
            raise
        return str(made.experiment_id)


def _now() -> int:
    return time_ns() // 1_000_000
