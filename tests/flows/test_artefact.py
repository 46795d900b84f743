"""The registered model as a stranger has it: a folder, somewhere else, without Encore."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml

from models.bundle import Bundle
from models.registry import MODELS, model_class
from tasks.errors import RunFailed
from tasks.store import keys
from tasks.tracking.registry import ENTRY, REQUIREMENTS, find_version, load_champion, log_model, register
from tasks.tracking.runs import start_run
from tests.factories import make_bundle

ROOT = Path(__file__).parents[2]
IMPORTED_AS = {"mlflow-skinny": "mlflow"}
NIGHT = (
    "--ingest.source=synthetic",
    "--ingest.rows=20000",
    "--ingest.users_count=500",
    "--ingest.items_count=400",
    "--split.protocol=leave_last_out",
    "--model.dim=16",
    "--trainer.epochs=5",
)
ASK = """
import json, sys
{before}
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model({folder!r}, model_config={{"dataset": {dataset!r}}})
lists = model.predict(pd.DataFrame({{"user_id": json.loads({users!r})}}), params={{"k": 5, "dataset": {dataset!r}}})
import models
assert models.__file__.startswith({foreign!r}), models.__file__
assert "encore" not in {{name.partition(".")[0] for name in sys.modules}}
print(lists.to_json(orient="records"))
"""
ALONE = (
    'sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in str(one)]\nsys.path.insert(0, {foreign!r})'
)
"""Without the installed Encore, as where there is none."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle("bpr_mf")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> str:
    """An MLflow with one version of a model, logged from a folder as the store has it."""
    root = tmp_path_factory.mktemp("here")
    folder = root / "data" / "checkpoints" / "key" / "bundle"
    folder.mkdir(parents=True)
    bundle.save(folder)
    (folder / "_manifest.json").write_text(json.dumps({"kept": str(root / "data"), "trainer": {}}))
    run = start_run(f"sqlite:///{root}/mlflow.db", "tiny", "night", {})
    register(run, "encore-tiny", log_model(run, folder, True, "10"), {"weights_sha256": "w"})
    assert not list(root.rglob("__pycache__"))  # that comes when it is loaded, and is left out when it is copied
    return run.tracking_uri


@pytest.fixture
def moved(uri: str, tmp_path: Path) -> Path:
    """The artefact as it was logged, in another place."""
    (file,) = Path(uri.removeprefix("sqlite:///")).parent.rglob("MLmodel")
    return copied(file.parent, tmp_path / "elsewhere" / "model")


def copied(artefact: Path, place: Path) -> Path:
    """Without what Python compiled when somebody loaded it where it was."""
    shutil.copytree(artefact, place, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with packages that have the names of ours."""
    for name in ("models", "tasks", "flows"):
        (tmp_path / "foreign" / name).mkdir(parents=True)
        (tmp_path / "foreign" / name / "__init__.py").write_text("theirs = True\n")
    return tmp_path / "foreign"


def ask(python: str, folder: Path, foreign: Path, dataset: str, users: list[str], alone: bool) -> pd.DataFrame:
    """The lists of a fresh process that stands in the stranger's folder and has nobody's home."""
    home = foreign.parent / "home"
    home.mkdir(exist_ok=True)
    before = ALONE.format(foreign=str(foreign)) if alone else f"sys.path.insert(0, {str(foreign)!r})"
    code = ASK.format(before=before, folder=str(folder), dataset=dataset, users=json.dumps(users), foreign=str(foreign))
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [python, "-I", "-c", code], cwd=foreign, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))


def test_it_loads_where_neither_encore_nor_the_place_is_known(bundle: Bundle, moved: Path, foreign: Path) -> None:
    made = ask(sys.executable, moved, foreign, "tiny", ["10", "13", "nobody"], alone=True)
    items_UK, scores_UK, _ = bundle.recommend(["10", "13", "nobody"], k=5)
    for row, user in enumerate(("10", "13", "nobody")):
        mine = made[made["user_id"] == user]
        assert mine["rank"].tolist() == [1, 2, 3, 4, 5]
        assert mine["item_id"].tolist() == items_UK[row].tolist()
        assert mine["score"].tolist() == pytest.approx(scores_UK[row].tolist(), rel=1e-5)
    assert set(made["model_version"].astype(str)) == {"1"}


def test_no_file_of_it_names_a_place(uri: str, moved: Path) -> None:
    private = {uri.removeprefix("sqlite:///").rpartition("/")[0], str(ROOT), str(Path.home()), tempfile.gettempdir()}
    files = [path for path in moved.rglob("*") if path.is_file()]
    assert {"MLmodel", "bundle.json", "weights.safetensors", "catalogue.safetensors", "bundle.py"} <= {
        path.name for path in files
    }
    for path in files:
        content = path.read_bytes()
        assert not [place for place in private if place.encode() + b"/" in content], path


def test_nothing_in_it_is_a_pickle(moved: Path) -> None:
    kinds = {path.suffix for path in moved.rglob("*") if path.is_file()}
    assert kinds == {"", ".py", ".json", ".txt", ".yaml", ".safetensors"}
    assert yaml.safe_load((moved / "MLmodel").read_text())["flavors"]["python_function"].get("python_model") is None
    assert {path.name for path in (moved / "artifacts" / "bundle").iterdir()} == {
        "bundle.json",
        "weights.safetensors",
        "catalogue.safetensors",
    }


def test_a_model_of_another_dataset_is_refused(uri: str, moved: Path) -> None:
    model = mlflow.pyfunc.load_model(str(moved))
    assert model.metadata.metadata == {"dataset": "tiny"}
    frame = pd.DataFrame({"user_id": ["10"]})
    for params in ({"dataset": "tiny"}, {}, None):
        assert len(model.predict(frame, params=params)) == 10
    said = "trained on the dataset 'tiny', not on 'shop'"
    with pytest.raises(ValueError, match=said):
        model.predict(frame, params={"dataset": "shop"})
    with pytest.raises(ValueError, match=said):
        mlflow.pyfunc.load_model(str(moved), model_config={"dataset": "shop"})
    version = find_version(uri, "encore-tiny", "1")
    assert version is not None
    assert load_champion(uri, version, "tiny").dataset == "tiny"
    with pytest.raises(RunFailed, match="trained on 'tiny', tonight's data is 'shop'"):
        load_champion(uri, version, "shop")


def test_what_the_documentation_shows_works(moved: Path) -> None:
    text = (ROOT / "docs" / "lineage.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    changes = {"models:/encore-shop@champion": str(moved), '"shop"': '"tiny"', '"17"': '"10"'}
    for shown, here in changes.items():
        assert shown in code
        code = code.replace(shown, here)
    made: dict[str, pd.DataFrame] = {}
    exec(code, made)
    lists = made["lists"]
    assert list(lists.columns) == ["user_id", "rank", "item_id", "score", "model_version", "reason"]
    assert all(f"`{column}`" in text for column in lists.columns)
    assert lists["user_id"].tolist() == ["10"] * 5 + ["a newcomer"] * 5
    assert not {112, 104} & set(lists["item_id"][5:])
    assert set(lists["reason"]) < {"model", "fold-in", "fallback"}


def test_it_asks_for_what_it_imports_and_for_nothing_else(moved: Path) -> None:
    asked = [line.partition("==")[0] for line in (moved / "requirements.txt").read_text().split()]
    assert asked == list(REQUIREMENTS)
    assert {IMPORTED_AS.get(name, name) for name in asked} == set(third_parties())


def third_parties() -> Iterator[str]:
    """The packages, other than Python's own, that loading and answering can import: the entry, and every module that
    the bundle or a model reaches."""
    found: dict[str, Path] = {"tasks.tracking.pyfunc_entry": ENTRY}
    for module in ("models.bundle", *(model_class(name).__module__ for name in MODELS)):
        keys._collect(module, found)
    for module, path in found.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in keys._imported(ast.parse(path.read_bytes()), package):
            if (top := name.partition(".")[0]) not in {*sys.stdlib_module_names, "models"}:
                yield top


@pytest.mark.slow
def test_it_answers_in_an_empty_environment_as_the_night_did(
    tmp_path: Path, foreign: Path, prefect_database: None
) -> None:
    """Only its own requirements, installed afresh; a stranger's packages beside it; no Encore, and nobody's home."""
    night = tmp_path / "night"
    night.mkdir()
    settings = {"ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    command = [sys.executable, "-m", "flows", "retrain", *NIGHT, "--json=result.json"]
    subprocess.run(command, cwd=night, env={**os.environ, **settings}, check=True, capture_output=True, timeout=300)
    result = json.loads((night / "result.json").read_text())
    lists = pd.read_parquet(result["recommendations"])
    (file,) = night.rglob("MLmodel")
    place = copied(file.parent, tmp_path / "elsewhere" / "model")
    shutil.rmtree(night)
    empty = tmp_path / "empty"
    venv.create(empty, with_pip=True)
    python = str(empty / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-r", str(place / "requirements.txt")]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    users = [str(user) for user in lists["user_id"].unique()]
    made = ask(python, place, foreign, "synthetic", users, alone=False)
    first = lists[lists["rank"] <= 5]
    assert made["user_id"].tolist() == first["user_id"].astype(str).tolist()
    assert made["item_id"].tolist() == first["item_id"].tolist()
    np.testing.assert_allclose(made["score"], first["score"], rtol=1e-4)
    assert made["reason"].tolist() == first["reason"].tolist()
