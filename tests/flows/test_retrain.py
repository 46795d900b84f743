"""The command as a user runs it: one real night, then the nights after it, with nothing replaced."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

SYNTHETIC = (
    "--ingest.source=synthetic",
    "--ingest.rows=20000",
    "--ingest.users_count=500",
    "--ingest.items_count=400",
    "--split.protocol=leave_last_out",
    "--model.dim=16",
)


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    status: int
    out: str
    err: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A folder with its own data, tracking database and Prefect home."""

    root: Path

    def encore(self, *words: str, **more: str) -> Ran:
        file = self.root / "result.json"
        file.unlink(missing_ok=True)
        environment = {**os.environ, "ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", **more}
        done = subprocess.run(
            [sys.executable, "-m", "flows", *words, f"--json={file}"],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return Ran(done.returncode, done.stdout, done.stderr, result)

    def table(self, path: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / "data" / path)


@pytest.fixture(scope="module")
def place(tmp_path_factory, prefect_database) -> Place:
    return Place(tmp_path_factory.mktemp("night"))


@pytest.fixture(scope="module")
def first(place: Place) -> Ran:
    ran = place.encore("retrain", *SYNTHETIC)
    assert ran.status == 0, ran.err
    return ran


@pytest.fixture(scope="module")
def second(place: Place, first: Ran) -> Ran:
    """Nothing changed."""
    return place.encore("retrain", *SYNTHETIC)


@pytest.fixture(scope="module")
def worse(place: Place, second: Ran) -> Ran:
    """A model that has hardly learned anything, on the same data."""
    return place.encore("retrain", *SYNTHETIC, "--trainer.epochs=1", "--trainer.learning_rate=0.000001")


def test_the_first_night_promotes_and_publishes(first: Ran, place: Place) -> None:
    result = first.result
    assert result["decision"]["promote"], result["decision"]
    assert result["model"]["version"] == result["model"]["champion"] == "1"
    assert result["model"]["name"] == "encore-synthetic"
    assert result["cached"] == []
    metrics = result["metrics"]
    assert metrics["test/ndcg_at_10"] > metrics["floor/popularity/ndcg_at_10"]
    assert {"valid/ndcg_at_10", "test/recall_at_20", "test/hit_at_10", "floor/popularity/hit_at_10"} <= set(metrics)
    steps = {"startup", "ingest", "validate", "split", "sample", "train", "floors", "evaluate", "promote", "recommend"}
    assert steps | {"total"} <= set(result["seconds"])
    assert result["seconds"]["total"] >= sum(result["seconds"][step] for step in steps) - 0.1
    assert result["peak_mb"] > 100
    assert result["model"]["parameters"] == 16 * (500 + 400) + 400


def test_everyone_gets_ten_new_items(first: Ran, place: Place) -> None:
    lists = place.table(first.result["recommendations"])
    assert list(lists.columns) == ["user_id", "rank", "item_id", "score", "model_version", "reason"]
    assert lists["user_id"].nunique() == 500
    assert (lists.groupby("user_id")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 11)))).all()
    assert set(lists["model_version"]) == {"1"}
    manifest = json.loads(
        (place.root / "data/lake/synthetic/snapshots" / first.result["snapshot"] / "_manifest.json").read_text()
    )
    accepted = pd.concat(place.table(part["path"]) for part in _interactions(manifest))
    had = set(zip(accepted["user_id"].astype(int), accepted["item_id"].astype(int), strict=True))
    assert not had & set(zip(lists["user_id"], lists["item_id"], strict=True))


def _interactions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    stack: list[Any] = [manifest]
    while stack:
        at = stack.pop()
        if isinstance(at, dict):
            if str(at.get("path", "")).endswith("interactions.parquet"):
                found.append(at)
            stack += at.values()
        elif isinstance(at, list):
            stack += at
    assert found
    return found


def test_what_is_published_is_what_was_promoted(first: Ran, place: Place) -> None:
    assert Path(first.result["published"]).is_absolute()
    assert Path(first.result["published"]).parent.resolve() == Path(first.result["recommendations"]).parent
    assert place.table(first.result["published"]).equals(place.table(first.result["recommendations"]))


def test_the_reported_metric_is_what_the_stored_tables_give(first: Ran, place: Place) -> None:
    """NDCG@10 again, from the split's own tables and the shipped vectors, by the slow way."""
    data = place.root / "data"
    bundle = data / "checkpoints" / first.result["key"] / "bundle"
    from safetensors.numpy import load_file

    weights, catalogue = load_file(bundle / "weights.safetensors"), load_file(bundle / "catalogue.safetensors")
    split = next(p.parent for p in (data / "prepared").glob("*/test.parquet"))
    test = pq.read_table(split / "test.parquet").to_pandas()
    known = pd.concat([pq.read_table(split / f"{part}.parquet").to_pandas() for part in ("train", "valid")])
    gains = []
    for user, item in zip(test["user_idx"], test["item_idx"], strict=True):
        score_I = _scores(weights, user)
        score_I[known.loc[known["user_idx"] == user, "item_idx"].to_numpy()] = -np.inf
        place_of = int((score_I > score_I[item]).sum() + (score_I[:item] == score_I[item]).sum()) if item >= 0 else 99
        gains.append(1 / np.log2(place_of + 2) if place_of < 10 else 0.0)
    assert first.result["metrics"]["test/ndcg_at_10"] == pytest.approx(np.mean(gains), abs=1e-6)
    assert len(catalogue["items.ids"]) == len(score_I)


def _scores(weights: dict[str, np.ndarray], user: int) -> np.ndarray:
    by_shape = {tensor.shape: tensor for tensor in weights.values()}
    users = next(t for t in weights.values() if t.ndim == 2 and t.shape[0] == 500)
    items = next(t for t in weights.values() if t.ndim == 2 and t.shape[0] != 500)
    bias = by_shape.get((items.shape[0],), np.zeros(items.shape[0], dtype=np.float32))
    return np.asarray(items @ users[user] + bias)


def test_mlflow_shows_the_night(first: Ran, place: Place) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    run = client.get_run(first.result["run_id"])
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "synthetic"
    assert run.data.params["model.dim"] == "16"
    assert run.data.params["trainer.seed"] == "0"
    assert run.data.params["split.protocol"] == "leave_last_out"
    assert "data_dir" not in run.data.params
    assert run.data.metrics["test/ndcg_at_10"] == first.result["metrics"]["test/ndcg_at_10"]
    assert len(client.get_metric_history(run.info.run_id, "valid/ndcg_at_10")) >= first.result["best_epoch"]
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == first.result["snapshot"][:32]
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    plots = {f"{name}.png" for name in ("learning_curve", "metric_at_k", "roc", "precision_recall", "differences")}
    assert {"card.html", "validation.html", *plots} <= names
    version = client.get_model_version_by_alias("encore-synthetic", "champion")
    assert version.tags["decision"] == "promoted"
    assert version.tags["weights_sha256"] == first.result["weights_sha256"]


def test_the_champion_loads_and_answers_raw_ids(first: Ran, place: Place) -> None:
    code = (
        "import sys, types, mlflow, pandas as pd\n"
        "sys.modules['models'] = types.ModuleType('models')  # a stranger's package\n"
        "model = mlflow.pyfunc.load_model('models:/encore-synthetic@champion')\n"
        "frame = pd.DataFrame({'user_id': ['3', 'nobody']})\n"
        "print(model.predict(frame, params={'k': 4}).to_json(orient='records'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.root.parent,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place.root}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))
    lists = place.table(first.result["recommendations"])
    mine = rows[rows["user_id"] == "3"]
    assert mine["item_id"].tolist() == lists.loc[lists["user_id"] == 3, "item_id"].tolist()[:4]
    assert set(mine["reason"]) == {"model"}
    assert set(mine["model_version"].astype(str)) == {"1"}
    assert rows.loc[rows["user_id"] == "nobody", "reason"].tolist() == ["fallback"] * 4


def test_an_unchanged_night_is_skipped(first: Ran, second: Ran) -> None:
    assert second.status == 0
    assert second.result["unchanged"]
    assert {"ingest", "validate", "split", "sample", "train", "evaluate", "promote"} <= set(second.result["cached"])
    for name in ("run_id", "metrics", "weights_sha256", "recommendations", "published", "decision", "model"):
        assert second.result[name] == first.result[name]
    assert "Nothing changed" in second.out


def test_a_worse_model_is_refused_and_nothing_else_moves(first: Ran, worse: Ran, place: Place) -> None:
    assert worse.status == 0, worse.err
    assert not worse.result["decision"]["promote"]
    assert worse.result["model"]["version"] == "2"
    assert worse.result["model"]["champion"] == "1"
    assert {"ingest", "validate", "split", "sample", "floors"} <= set(worse.result["cached"])  # of another model
    assert place.table(worse.result["published"]).equals(place.table(first.result["recommendations"]))
    assert set(place.table(worse.result["recommendations"])["model_version"]) == {"2"}


def test_recommend_serves_the_champion(first: Ran, worse: Ran, place: Place) -> None:
    ran = place.encore("recommend", "--ingest.source=synthetic", "--recommend.users=3,5", "--recommend.k=4")
    assert ran.status == 0, ran.err
    lists, all_lists = place.table(ran.result["recommendations"]), place.table(first.result["recommendations"])
    assert lists["user_id"].unique().tolist() == [3, 5]
    for user in (3, 5):
        wanted = all_lists.loc[(all_lists["user_id"] == user) & (all_lists["rank"] <= 4), "item_id"].tolist()
        assert lists.loc[lists["user_id"] == user, "item_id"].tolist() == wanted
    assert ran.result["published"] is None


def test_what_was_rated_low_is_not_shown_again(place: Place, worse: Ran) -> None:
    log = place.root / "rated.csv"
    rng = np.random.default_rng(0)
    rows = {(u, i): 1 + (u + i) % 5 for u in range(40) for i in rng.permutation(60)[:25].tolist()}
    log.write_text(
        "user_id,item_id,rating,timestamp\n"
        + "".join(f"{u},{i},{r},{n}\n" for n, ((u, i), r) in enumerate(rows.items()))
    )
    options = (
        "--ingest.interactions=rated.csv",
        "--ingest.name=rated",
        "--ingest.min_rating=4",
        "--model.name=popularity",
    )
    ran = place.encore("retrain", *options, "--split.protocol=leave_last_out")
    assert ran.status == 0, ran.err
    lists = place.table(ran.result["recommendations"])
    assert lists["user_id"].nunique() == 40
    assert not {pair for pair in zip(lists["user_id"], lists["item_id"], strict=True) if pair in rows}


def test_bad_data_stops_before_any_model(place: Place, worse: Ran) -> None:
    log = place.root / "log.csv"
    good = "".join(f"{u},{i},{u + i}\n" for u in range(9) for i in range(9))
    log.write_text("user_id,item_id,timestamp\n" + good + "".join(f",{i},5\n" for i in range(5)))
    ran = place.encore("retrain", "--ingest.interactions=log.csv", "--ingest.name=bad")
    assert ran.status == 3
    assert ran.result["error"]["kind"] == "data"
    assert "quarantine" in ran.err  # five of 86 rows: more than the share that single rows may have
    assert "every row has a user id" in ran.err
    assert len(ran.err.splitlines()) == 2, ran.err  # what is wrong, and what to do: no trace, no report of a leak
    assert Path(ran.result["error"]["report"]).is_file()
    assert not (place.root / "data/lake/bad").exists()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    experiment = client.get_experiment_by_name("bad")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "data"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--ingest.interactions=nowhere.csv"], 2, "no such file: nowhere.csv"),
        (["--ingest.interactions=empty.csv"], 3, "empty.csv is empty"),
        (["--config=misspelt.yaml"], 2, "did you mean model.dim?"),
        (["--model.name=bprmf"], 2, "did you mean --model.name=bpr_mf?"),
        (["--data_dir=/dev/null/data"], 1, "/dev/null/data"),
        (["--split.test=nowhere.csv"], 2, "split.test: no such file: nowhere.csv"),
    ],
)
def test_bad_input_is_told_in_one_line(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "misspelt.yaml").write_text("model:\n  dmi: 3\n")
    ran = Place(tmp_path).encore("retrain", *words)
    assert ran.status == status
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) <= 2
    assert {"kind", "message", "hint"} <= set(ran.result["error"])


@pytest.mark.slow
def test_movielens_100k_as_the_readme_says(tmp_path: Path) -> None:
    """The floor is Encore's definition of it; bpr_mf passes the gate against it and becomes the champion."""
    ran = Place(tmp_path).encore("retrain")
    assert ran.status == 0, ran.err
    metrics = ran.result["metrics"]
    assert metrics["floor/popularity/ndcg_at_10"] == pytest.approx(0.0442, abs=0.0015)
    assert metrics["floor/popularity/hit_at_10"] == pytest.approx(0.0859, abs=0.0015)
    assert metrics["test/ndcg_at_10"] > 0.06
    assert ran.result["decision"]["promote"]
    assert ran.result["rows"]["read"] == 100_000


@pytest.mark.slow
def test_a_night_killed_in_training_goes_on_and_ends_alike(tmp_path: Path, prefect_database: None) -> None:
    """SIGKILL after some epochs; the next night takes them up and ends with the weights of one left in peace."""
    from mlflow import MlflowClient

    words = (*SYNTHETIC, "--trainer.epochs=60", "--trainer.patience=0", "--ingest.rows=300000")
    for name in ("killed", "left"):
        (tmp_path / name).mkdir()
    killed, left = Place(tmp_path / "killed"), Place(tmp_path / "left")
    command = [sys.executable, "-m", "flows", "retrain", *(word for word in words if word != "--ingest.rows=20000")]
    environment = {**os.environ, "ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    process = subprocess.Popen(command, cwd=killed.root, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not len(list(killed.root.glob("data/checkpoints/*/epochs/valid/*.safetensors"))) >= 2:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    again, whole = killed.encore(*command[3:]), left.encore(*command[3:])
    assert again.status == whole.status == 0, again.err + whole.err
    assert again.result["weights_sha256"] == whole.result["weights_sha256"]
    assert again.result["metrics"] == whole.result["metrics"]
    assert not list(killed.root.glob("data/**/.tmp-*"))
    client = MlflowClient(f"sqlite:///{killed.root}/mlflow.db")
    experiment = client.get_experiment_by_name("synthetic")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
