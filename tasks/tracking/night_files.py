"""What a night kept of itself in its MLflow run, read back: the files of its folder `night`."""

import json
import tempfile
from pathlib import Path
from typing import Any

import mlflow.artifacts
from mlflow.exceptions import MlflowException

from tasks.tracking.runs import connect, unreachable

FOLDER = "night"


def read_night(tracking_uri: str, run_id: str) -> dict[str, Any]:
    """The content of each file by its name without `.json`; empty where the run kept none, or is gone itself.

    Raises RunFailed where MLflow is out of reach."""
    client = connect(tracking_uri)
    try:
        names = [one.path for one in client.list_artifacts(run_id, FOLDER)]
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise unreachable(error) from error
    with tempfile.TemporaryDirectory(prefix="encore-") as folder:
        for name in names:
            mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=name, dst_path=folder, tracking_uri=tracking_uri
            )
        files = sorted(Path(folder).rglob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
