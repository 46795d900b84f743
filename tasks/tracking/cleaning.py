"""Registered versions and runs that go for good: their rows in MLflow's database and their files.

Deleting in MLflow only marks: the files stay. `mlflow gc` would remove them, but beside the runs that it is told also
every deleted experiment, which somebody may want to restore; so single runs are removed here, by its own two calls.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tasks.store.traces import size_of
from tasks.tracking.forgetting import Files, Kept, kept_of
from tasks.tracking.runs import connect, unreachable

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Version:
    """A registered version."""

    number: str
    run_id: str
    model_id: str
    made: datetime
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class TrackedRun:
    """A run of the dataset, marked as deleted or not, with the models that it logged."""

    run_id: str
    name: str
    begun: datetime
    is_running: bool
    parent: str | None
    files: Files
    models: tuple[Files, ...] = ()

    @property
    def bytes(self) -> int:
        """On this machine's disk."""
        return sum(size_of(one.folder) for one in (self.files, *self.models) if one.folder is not None)


def versions(tracking_uri: str, name: str) -> list[Version]:
    """All versions of the registered model, the oldest first; empty where it is not registered."""
    client, token = connect(tracking_uri), None
    found: list[ModelVersion] = []
    try:
        while True:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
            found += page
            if not (token := page.token):
                break
    except MlflowException as error:
        raise unreachable(error) from error
    made = [
        Version(
            str(one.version),
            str(one.run_id),
            str(one.source).removeprefix("models:/"),
            _moment(one.creation_timestamp),
            {str(key): str(value) for key, value in one.tags.items()},
        )
        for one in found
    ]
    return sorted(made, key=lambda version: int(version.number))


def tracked_runs(tracking_uri: str, dataset: str) -> list[TrackedRun]:
    """All runs of the dataset, in every experiment, the oldest first."""
    kept: Kept = kept_of(tracking_uri, dataset)
    client = MlflowClient(tracking_uri)
    models: dict[str, list[Files]] = {}
    for model in kept.models:
        models.setdefault(model.run_id, []).append(model)
    found = []
    for files in kept.runs:
        info = (run := client.get_run(files.run_id)).info
        running = info.status == "RUNNING" and info.lifecycle_stage == LifecycleStage.ACTIVE
        parent, own = run.data.tags.get(PARENT), tuple(models.get(files.run_id, ()))
        begun = _moment(info.start_time)
        found.append(TrackedRun(files.run_id, str(info.run_name), begun, running, parent, files, own))
    return sorted(found, key=lambda run: run.begun)


def remove_version(tracking_uri: str, name: str, number: str) -> None:
    """Takes the version out of the registry; its run and files are another matter. Doing it twice changes nothing."""
    with unless_gone():
        connect(tracking_uri).delete_model_version(name, number)


def remove_run(tracking_uri: str, run: TrackedRun) -> None:
    """The run and the models that it logged, for good: marked first, then their files, then the rows of the database.

    Over a server the rows stay, marked as deleted, until somebody runs `mlflow gc` there. Doing it twice changes
    nothing."""
    client = MlflowClient(tracking_uri)
    store: Any = client._tracking_client.store
    for model in run.models:
        with unless_gone():
            client.delete_logged_model(str(model.model_id))
        _remove_files(model)
        if hasattr(store, "_hard_delete_logged_model"):
            with unless_gone():
                store._hard_delete_logged_model(model.model_id)
    with unless_gone():
        client.delete_run(run.run_id)
    _remove_files(run.files)
    if hasattr(store, "_hard_delete_run"):
        with unless_gone():
            store._hard_delete_run(run.run_id)


@contextmanager
def unless_gone() -> Iterator[None]:
    """What is no longer there need not be deleted. Raises RunFailed for all else that MLflow has to say."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise unreachable(error) from error


def _remove_files(files: Files) -> None:
    """A run's own folder goes as a whole: what MLflow calls its artifacts is all that is in it."""
    if files.folder is None:
        get_artifact_repository(files.uri).delete_artifacts()  # type: ignore[no-untyped-call]
        return
    shutil.rmtree(files.folder, ignore_errors=True)
    with suppress(OSError):  # something else lies beside it
        files.folder.parent.rmdir()


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
