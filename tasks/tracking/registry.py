"""Registered models: every night's version, and the alias that says which one production serves."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, ColSpec

import models
from tasks.errors import RunFailed
from tasks.store.atomic import link_or_copy
from tasks.store.refs import ChampionRef
from tasks.store.store import MANIFEST
from tasks.tracking.pyfunc_entry import feature_columns, private_name
from tasks.tracking.runs import Run, connect, unreachable

CHAMPION = "champion"
VERSION_FILE = "version.txt"  # beside the MLmodel file: the number is known only after the model was logged
ENTRY = Path(__file__).with_name("pyfunc_entry.py")
REQUIREMENTS = ("mlflow-skinny", "torch", "numpy", "pandas", "pydantic", "safetensors", "numba", "scipy", "psutil")
"""What the artefact imports, each in the version that is installed here: the small MLflow loads and serves models."""


def log_model(
    run: Run, bundle: Path, item_ids_are_integers: bool, example_user: str, features: Sequence[str] = ()
) -> str:
    """Logs the bundle as a pyfunc with signature and input example. Returns the logged model's id."""
    mlflow.set_tracking_uri(run.tracking_uri)
    dataset = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["dataset"]
    with tempfile.TemporaryDirectory(prefix="encore-") as folder, mlflow.start_run(run_id=run.run_id):
        code = _private_copy(Path(folder))
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(ENTRY),
            artifacts={"bundle": str(_files_of(bundle, Path(folder) / "bundle"))},
            code_paths=[str(code)],
            model_config={"package": code.name, "dataset": dataset},
            signature=_signature(item_ids_are_integers, feature_columns(features)),
            input_example=pd.DataFrame({"user_id": [example_user]}),
            pip_requirements=[f"{name}=={installed(name).split('+')[0]}" for name in REQUIREMENTS],
            metadata={"dataset": dataset},
        )
        _forget_places(run, str(info.model_id), Path(folder))
    return str(info.model_id)


def register(run: Run, name: str, model_id: str, tags: Mapping[str, str]) -> str:
    """A new version of the registered model, which learns its own number. Returns the number."""
    client = run.client
    with suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    made = client.create_model_version(name, f"models:/{model_id}", run.run_id, tags=dict(tags), model_id=model_id)
    with tempfile.TemporaryDirectory(prefix="encore-") as folder:
        number = Path(folder) / VERSION_FILE
        number.write_text(str(made.version), encoding="utf-8")
        client.log_model_artifact(model_id, str(number))
    return str(made.version)


def tag_version(run: Run, name: str, version: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        run.client.set_model_version_tag(name, version, key, value)


def crown(tracking_uri: str, name: str, version: str) -> None:
    """Moves the champion's alias. Doing it twice changes nothing."""
    connect(tracking_uri).set_registered_model_alias(name, CHAMPION, version)


def find_champion(tracking_uri: str, name: str) -> ChampionRef | None:
    """The version that production serves; None on the first night."""
    try:
        found = connect(tracking_uri).get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise unreachable(error) from error
    return as_ref(found)


def find_version(tracking_uri: str, name: str, version: str) -> ChampionRef | None:
    """A registered version; None where there is no such."""
    try:
        found = connect(tracking_uri).get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise unreachable(error) from error
    return as_ref(found)


def as_ref(found: ModelVersion) -> ChampionRef:
    tags = {str(name): str(value) for name, value in found.tags.items()}
    weights, configuration = tags.get("weights_sha256", ""), tags.get("configuration", "")
    return ChampionRef(found.name, str(found.version), str(found.run_id), weights, configuration, tags)


def load_champion(tracking_uri: str, champion: ChampionRef, dataset: str) -> Any:
    """The champion's bundle, loaded by the code that it was shipped with.

    Raises RunFailed where it cannot be loaded, or was trained on another dataset.
    """
    mlflow.set_tracking_uri(tracking_uri)
    uri = f"models:/{champion.name}/{champion.version}"
    try:
        bundle = mlflow.pyfunc.load_model(uri).unwrap_python_model().bundle
    except Exception as error:
        raise RunFailed(
            f"the champion ({uri}) cannot be loaded: {str(error).splitlines()[0]}",
            "restore its files, or remove its alias `champion` in MLflow",
        ) from error
    if bundle.dataset != dataset:
        raise RunFailed(
            f"the champion ({uri}) was trained on {bundle.dataset!r}, tonight's data is {dataset!r}",
            "set another --registered_model=NAME",
        )
    return bundle


def version_exists(tracking_uri: str, name: str, version: str) -> bool:
    with suppress(MlflowException):
        MlflowClient(tracking_uri).get_model_version(name, version)
        return True
    return False


def _signature(item_ids_are_integers: bool, features: Sequence[str]) -> ModelSignature:
    # `any` for the ids: text is what we say, and numbers are taken too, where MLflow would refuse them as text
    anything = AnyType()  # type: ignore[no-untyped-call]
    optional = [ColSpec(anything, name, required=False) for name in ("history", *features)]
    inputs = Schema([ColSpec(anything, "user_id"), *optional])
    item = DataType.long if item_ids_are_integers else DataType.string
    columns = {
        "user_id": DataType.string,
        "rank": DataType.long,
        "item_id": item,
        "score": DataType.float,
        "model_version": DataType.string,
        "reason": DataType.string,
    }
    outputs = Schema([ColSpec(kind, name) for name, kind in columns.items()])
    params = [ParamSpec("k", DataType.long, 10), ParamSpec("dataset", DataType.string, None)]
    return ModelSignature(inputs, outputs, ParamSchema(params))


def _files_of(bundle: Path, folder: Path) -> Path:
    """A folder with the bundle's own files, without what the store notes beside them."""
    folder.mkdir()
    for path in (path for path in bundle.iterdir() if path.name != MANIFEST):
        link_or_copy(path, folder / path.name)
    return folder


def _forget_places(run: Run, model_id: str, folder: Path) -> None:
    """Takes out of the MLmodel file where on this machine its parts came from: nothing that loads a model reads it."""
    lies = run.client.get_logged_model(model_id).artifact_location
    file = folder / "MLmodel"
    mlflow.artifacts.download_artifacts(f"{lies}/MLmodel", dst_path=str(folder), tracking_uri=run.tracking_uri)
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content.pop("artifact_path", None)
    pyfunc = content["flavors"]["python_function"]
    pyfunc["model_code_path"] = ENTRY.name
    for artifact in pyfunc["artifacts"].values():
        artifact["uri"] = artifact["path"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    run.client.log_model_artifact(model_id, str(file))


def _private_copy(folder: Path) -> Path:
    """Our `models` package under its private name."""
    source = Path(next(iter(models.__path__)))
    copy = folder / private_name(source)
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc"))
    return copy
