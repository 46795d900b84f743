"""What MLflow keeps of a dataset, file by file, so that a person can be taken out: runs' pages, registered bundles.

Files are replaced where they lie. On a disk that is one step each; a server or object store does the same by upload.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import FileInfo, Run, ViewType
from mlflow.entities.logged_model import LoggedModel
from mlflow.exceptions import MlflowException

from tasks.store.atomic import new_file
from tasks.tracking.registry import CHAMPION
from tasks.tracking.runs import connect, unreachable

NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class Files:
    """The files of one run, or of one logged model."""

    tracking_uri: str
    uri: str
    run_id: str
    model_id: str | None = None
    """None: a run's own files."""

    @property
    def folder(self) -> Path | None:
        """Where they lie on this machine; None where only MLflow can reach them."""
        parts = urlparse(self.uri)
        if parts.scheme not in ("", "file"):
            return None
        return Path(unquote(parts.path))

    def names(self, below: str = "") -> list[str]:
        """Of all files below a folder, relative to the whole."""
        if self.folder is not None:
            root = self.folder / below
            return sorted(str(path.relative_to(self.folder)) for path in root.rglob("*") if path.is_file())
        listed = self._list(below)
        inner = (name for one in listed if one.is_dir for name in self.names(one.path))
        return sorted([*(one.path for one in listed if not one.is_dir), *inner])

    @contextmanager
    def fetched(self, *names: str) -> Iterator[Path]:
        """A folder that has these files under their names; they are only to be read."""
        if self.folder is not None:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(prefix="encore-") as scratch:
            for name in names:
                mlflow.artifacts.download_artifacts(
                    f"{self.uri}/{name}", dst_path=str((Path(scratch) / name).parent), tracking_uri=self.tracking_uri
                )
            yield Path(scratch)

    def replace(self, name: str, new: Path) -> None:
        """Puts this file, which has the same last name, in the place of the one that is there."""
        if self.folder is not None:
            with new_file(self.folder / name) as temporary:
                shutil.copyfile(new, temporary)
            return
        client, parent = MlflowClient(self.tracking_uri), name.rpartition("/")[0] or None
        if self.model_id is None:
            client.log_artifact(self.run_id, str(new), parent)
            return
        with tempfile.TemporaryDirectory(prefix="encore-") as scratch:
            shutil.copy(new, scratch)
            client.log_model_artifacts(self.model_id, scratch, parent)

    def _list(self, below: str) -> list[FileInfo]:
        client = MlflowClient(self.tracking_uri)
        if self.model_id is None:
            return list(client.list_artifacts(self.run_id, below or None))
        return list(client.list_logged_model_artifacts(self.model_id, below or None))


@dataclass(frozen=True)
class Kept:
    """All of a dataset in MLflow."""

    runs: tuple[Files, ...]
    models: tuple[Files, ...]


def kept_of(tracking_uri: str, dataset: str) -> Kept:
    """The runs of every experiment that name this dataset, and the models that they logged, the deleted ones too.

    Raises RunFailed where MLflow is out of reach."""
    client = connect(tracking_uri)
    try:
        runs = list(_runs(client, dataset))
        of_runs = {run.info.run_id for run in runs}
        experiments = sorted({run.info.experiment_id for run in runs})
        models = [model for model in _models(client, experiments) if model.source_run_id in of_runs]
    except MlflowException as error:
        raise unreachable(error) from error
    return Kept(
        tuple(Files(tracking_uri, run.info.artifact_uri, run.info.run_id) for run in runs),
        tuple(Files(tracking_uri, one.artifact_location, str(one.source_run_id), one.model_id) for one in models),
    )


def _runs(client: MlflowClient, dataset: str) -> Iterator[Run]:
    experiments = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ALL)]
    token: str | None = None
    while experiments:
        found = client.search_runs(experiments, f"tags.dataset = '{dataset}'", ViewType.ALL, page_token=token)
        yield from found
        if not (token := found.token):
            return


def _models(client: MlflowClient, experiments: list[str]) -> Iterator[LoggedModel]:
    token: str | None = None
    while experiments:
        found = client.search_logged_models(experiments, page_token=token)
        yield from found
        if not (token := found.token):
            return


def note_of(files: Files) -> str:
    """The description of a run."""
    return str(MlflowClient(files.tracking_uri).get_run(files.run_id).data.tags.get(NOTE, ""))


def write_note(files: Files, note: str) -> None:
    MlflowClient(files.tracking_uri).set_tag(files.run_id, NOTE, note)


def versions_of(tracking_uri: str, name: str) -> dict[str, tuple[str, bool]]:
    """By the id of the logged model: the number of its version, and whether that is the champion."""
    client = connect(tracking_uri)
    champion = ""
    try:
        champion = str(client.get_model_version_by_alias(name, CHAMPION).version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise unreachable(error) from error
    found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    return {str(one.source).removeprefix("models:/"): (str(one.version), str(one.version) == champion) for one in found}
