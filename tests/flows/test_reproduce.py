"""A version is made once more from what its night kept: equal to the last digit, or told figure by figure."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import tasks.train.task as training
from flows.clock import Clock
from flows.commands import ReproduceConfig
from flows.config import PipelineConfig, Settings
from flows.reproduce import NotTheSame, reproduce, show_reproduce
from flows.retrain import retrain
from tasks.errors import ConfigError, EncoreError, RunFailed
from tasks.promote.decide import Decision
from tasks.tracking.night_files import read_night
from tasks.tracking.registry import find_version
from tasks.tracking.runs import Run

SYNTHETIC = {"source": "synthetic", "rows": 6000, "users_count": 200, "items_count": 120}
PAIRS: dict[str, Any] = {
    "model": {"name": "bpr_mf", "dim": 8},
    "split": {"protocol": "leave_last_out"},
    "trainer": {"epochs": 3},
}
EVERYTHING: dict[str, Any] = {
    "model": {"name": "gru4rec", "dim": 16},
    "split": {"protocol": "temporal"},
    "trainer": {"epochs": 2},
    "gate": {"refit_all": True},
}


@dataclass(frozen=True)
class Done:
    """A night, and all that it takes to ask for it again."""

    settings: Settings
    result: dict[str, Any]

    def again(self, **more: Any) -> dict[str, Any]:
        asked = {"registered_model": self.result["model"]["name"], "version": self.result["model"]["version"]}
        return reproduce(ReproduceConfig.model_validate(asked | more), self.settings)

    def differs(self) -> NotTheSame:
        with pytest.raises(NotTheSame) as caught:
            self.again()
        return caught.value

    @property
    def run(self) -> Run:
        return Run(self.settings.tracking_uri, "", "", self.result["run_id"])

    def kept(self) -> dict[str, Any]:
        return read_night(self.settings.tracking_uri, self.result["run_id"])

    def falsify(self, file: str, content: Any) -> None:
        self.run.log_text(json.dumps(content), f"night/{file}.json")

    def files(self) -> set[Path]:
        return {path for path in self.settings.data_dir.rglob("*") if path.is_file()}


def first_night(root: Path, sections: dict[str, Any]) -> Done:
    """With the steps as plain functions: what Prefect adds changes no figure."""
    settings = Settings(data_dir=root / "data", tracking_uri=f"sqlite:///{root}/mlflow.db").resolved()
    config = PipelineConfig.model_validate({"ingest": SYNTHETIC, **sections})
    return Done(settings, retrain.fn(config, settings))


@pytest.fixture(scope="module", autouse=True)
def _plain_steps() -> Iterator[None]:
    call = Clock.__call__
    with pytest.MonkeyPatch.context() as patch:

        def plain(clock: Clock, step: str, work: Any, *args: Any) -> Any:
            return call(clock, step, getattr(work, "fn", work), *args)

        patch.setattr(Clock, "__call__", plain)
        patch.setattr("flows.retrain.create_markdown_artifact", lambda *args, **kwargs: None)
        yield


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return first_night(tmp_path_factory.mktemp("pairs"), PAIRS)


def test_a_version_comes_out_equal_to_the_last_digit(night: Done, capsys: pytest.CaptureFixture[str]) -> None:
    before = night.files()
    made = night.again()
    assert made["identical"]
    assert made["not_repeated"] == ()
    assert made["n_metrics"] == len(night.result["metrics"]) > 40
    assert made["weights"]["now"] == night.result["weights_sha256"]
    assert (made["metrics"], made["environment"], made["code"]["then"]) == ((), (), made["code"]["now"])
    show_reproduce(made)
    assert f"identical: {made['n_metrics']} metrics, weights" in capsys.readouterr().out
    assert night.files() == before  # nothing of its own stays, and nothing of the night's goes


@pytest.mark.slow
def test_windows_and_what_was_fitted_on_everything_come_out_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.promote.task.decide", lambda candidacy, gate: Decision(True, ()))  # however small it is
    done = first_night(tmp_path, EVERYTHING)
    assert done.result["on_everything"], done.result["decision"]
    judged = done.settings.store.manifest(f"checkpoints/{done.result['key']}/bundle")["weights_sha256"]
    made = done.again()
    assert made["identical"], made["metrics"]
    assert made["weights"]["now"] == done.result["weights_sha256"] != judged


@pytest.mark.slow
def test_what_began_with_an_earlier_version_begins_so_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.promote.task.decide", lambda candidacy, gate: Decision(True, ()))
    rng = np.random.default_rng(0)
    ingest = {"source": "files", "name": "shop", "interactions": (str(tmp_path / "log" / "*.csv"),)}
    sections = {**PAIRS, "ingest": ingest, "split": {"protocol": "temporal"}}
    sections["trainer"] = {"epochs": 2, "warm_start": True}
    (tmp_path / "log").mkdir()
    nights = []
    for night in range(2):
        rows = pd.DataFrame({"user_id": rng.integers(60, size=2000), "item_id": rng.integers(50, size=2000)})
        rows["timestamp"] = 1_700_000_000 + night * 2_000_000 + np.arange(2000) * 1000
        rows.drop_duplicates(["user_id", "item_id"]).to_csv(tmp_path / "log" / f"{night}.csv", index=False)
        nights.append(first_night(tmp_path, sections))
    first, second = nights
    assert first.result["warm"] == {"cold_because": "there is no champion yet"}
    assert second.result["warm"]["from_version"] == first.result["model"]["version"]
    for done in nights:
        assert done.again()["identical"]
    client = MlflowClient(second.settings.tracking_uri)
    client.delete_model_version(second.result["model"]["name"], "1")  # as `encore gc` does; what it learned stays
    assert second.again()["identical"]
    start = second.settings.store.path(f"checkpoints/{first.result['key']}")
    start.rename(start.with_suffix(".away"))
    assert f"checkpoints/{first.result['key']}" in refused(second)


def test_it_is_trained_and_not_found(night: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    fit: Callable[..., Any] = vars(training)["fit"]

    def other_seed(config: Any, trainer: Any, *rest: Any) -> Any:
        return fit(config, trainer.model_copy(update={"seed": 1}), *rest)

    monkeypatch.setattr(training, "fit", other_seed)
    error = night.differs()
    different = {one["name"] for one in error.result["metrics"]}
    assert {"valid/ndcg_at_10", "test/ndcg_at_10"} <= different
    assert not {name for name in different if name.startswith("floor/")}
    assert error.result["weights"]["now"] != night.result["weights_sha256"]
    assert "please report it" in error.hint


@pytest.mark.parametrize("name", ["test/ndcg_at_10", "valid/recall_at_10", "floor/popularity/map_at_10"])
def test_a_figure_that_is_off_by_its_last_bit_is_named(
    name: str, night: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    result = night.kept()["result"]
    true = result["metrics"][name]
    false = math.nextafter(true, 1)
    night.falsify("result", {**result, "metrics": {**result["metrics"], name: false}})
    try:
        error = night.differs()
    finally:
        night.falsify("result", result)
    assert error.exit_status == 1
    assert [(one["name"], one["then"], one["now"]) for one in error.result["metrics"]] == [(name, false, true)]
    shown = capsys.readouterr().out
    assert name in shown
    assert repr(true) in shown
    assert repr(false) in shown
    assert "identical" not in shown


def test_other_weights_alone_are_told(night: Done, capsys: pytest.CaptureFixture[str]) -> None:
    result = night.kept()["result"]
    night.falsify("result", {**result, "weights_sha256": "0" * 64})
    try:
        error = night.differs()
    finally:
        night.falsify("result", result)
    assert not error.result["metrics"]
    assert "0" * 64 in capsys.readouterr().out


def test_other_code_and_environment_are_told(night: Done, capsys: pytest.CaptureFixture[str]) -> None:
    kept = night.kept()["environment"]
    other: dict[str, Any] = {"code": "another", "revision": "abc123, with changes"}
    other["packages"] = {**kept["packages"], "numpy": "1.0"}
    other["threads"] = {**kept["threads"], "torch": kept["threads"]["torch"] + 1}  # as many are used, so none is told
    night.falsify("environment", {**kept, **other})
    try:
        made = night.again()
    finally:
        night.falsify("environment", kept)
    assert made["identical"]  # whatever it was made by
    (differs,) = made["environment"]
    assert (differs["name"], differs["then"], differs["now"]) == ("packages.numpy", "1.0", kept["packages"]["numpy"])
    show_reproduce(made)
    shown = capsys.readouterr().out
    assert "packages.numpy" in shown
    assert "made by revision abc123, with changes; this is" in shown
    assert "it computes the same" in shown


def refused(done: Done, kind: type[EncoreError] = RunFailed) -> str:
    with pytest.raises(kind) as caught:
        done.again()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_that_are_gone_are_named(night: Done) -> None:
    (part,) = night.kept()["snapshot"]["interactions"]
    place = night.settings.store.path(part["path"])
    place.rename(place.with_suffix(".away"))
    try:
        said = refused(night)
    finally:
        place.with_suffix(".away").rename(place)
    assert part["path"] in said
    assert night.result["snapshot"] in said


def test_a_night_that_kept_nothing_is_told(night: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.reproduce.read_night", lambda uri, run_id: {})
    assert "version 1 kept no config.json" in refused(night)


def test_a_configuration_of_other_code_is_told_with_its_revision(night: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = night.kept()
    kept["config"]["model"]["dimensions"] = 3
    kept["environment"]["revision"] = "abc123, with changes"
    monkeypatch.setattr("flows.reproduce.read_night", lambda uri, run_id: kept)
    said = refused(night)
    assert "dimensions" in said
    assert said.endswith("git checkout abc123)")


def test_a_version_that_does_not_exist_is_told(night: Done) -> None:
    with pytest.raises(ConfigError, match="encore-synthetic has no version 7"):
        night.again(version="7")


def test_the_version_says_which_code_made_it(night: Done) -> None:
    ref = find_version(night.settings.tracking_uri, "encore-synthetic", "1")
    assert ref is not None
    assert ref.tags["code"] == night.kept()["environment"]["code"]


def test_what_is_kept_names_no_place(night: Done) -> None:
    kept = night.kept()
    assert {"config", "snapshot", "files", "result", "environment"} <= set(kept)
    assert str(night.settings.data_dir.parent) not in json.dumps(kept)
    assert str(Path.home()) not in json.dumps(kept)
    assert read_night(night.settings.tracking_uri, "0" * 32) == {}  # a run that is gone


@pytest.mark.slow
def test_the_command_reproduces_the_first_nights_champion(tmp_path: Path, prefect_database: None) -> None:
    """MovieLens 100K with every default, then its version from the registry alone."""
    assert encore(tmp_path, "retrain")[0] == 0
    status, made = encore(tmp_path, "reproduce", "1")
    assert status == 0, made
    assert made["identical"]
    assert made["n_metrics"] > 40
    assert not made["metrics"]
    (part,) = tmp_path.glob("data/lake/movielens-100k/*/interactions.parquet")
    part.unlink()
    status, made = encore(tmp_path, "reproduce", "1")
    assert status == 1
    assert part.parent.name in made["error"]["message"]


def encore(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit status of the command and what --json has."""
    environment = {**os.environ, "ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    command = [sys.executable, "-m", "flows", *words, "--json=result.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=600)
    return done.returncode, json.loads((folder / "result.json").read_text(encoding="utf-8"))
