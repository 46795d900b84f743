"""`encore diff`: two nights by version or run, as MLflow keeps them, in a page and a few lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.commands import DiffConfig
from flows.config import Settings
from flows.diff import diff, show_diff
from tasks.errors import ConfigError
from tasks.store.refs import ChampionRef
from tasks.tracking import registry
from tasks.tracking.runs import Run, start_run
from tests.tasks.cards import CURVES, judged, model, side


def kept(run: Run, ndcg: float, **changes: Any) -> str:
    """A run that kept a night. Returns its id."""
    made = side(**changes)
    result = {**made.result, "run_id": run.run_id, "metrics": {"test/ndcg_at_10": ndcg}}
    files = {"config": made.config, "result": result, "training": made.training, "scores": judged(ndcg, CURVES)}
    for name, content in files.items():
        run.log_text(json.dumps(content), f"night/{name}.json")
    run.finish()
    return run.run_id


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("world")
    uri = f"sqlite:///{folder}/mlflow.db"
    runs = {name: start_run(uri, "films", name, {}) for name in ("one", "other", "empty", "begun")}
    beside = {"champion": {"version": "3", "users": 31}}
    by = {"champion": {"ndcg_at_10": {"mean": 0.02, "low": 0.01, "high": 0.03, "p_value": 0.002}}}
    found = {
        "one": kept(runs["one"], 0.05, model={**model("ease", l2=300.0), "version": "3"}),
        "other": kept(runs["other"], 0.08, beside=beside, differences=by, model={**model("ease", l2=100.0)}),
    }
    runs["empty"].finish()
    found |= {name: runs[name].run_id for name in ("empty", "begun")}
    return {"settings": Settings(data_dir=folder / "data", tracking_uri=uri), "folder": folder, **found}


def asked(world: dict[str, Any], one: str, other: str, page: str = "diff.html") -> dict[str, Any]:
    config = DiffConfig.model_validate(
        {"one": one, "other": other, "write": str(world["folder"] / page), "ingest": {"name": "films"}}
    )
    return diff(config, world["settings"])


def test_two_runs_are_compared_as_on_the_night_that_judged_them(
    world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = asked(world, world["one"], world["other"])
    page = Path(result["page"]).read_text(encoding="utf-8")
    assert f"run {world['one'][:8]} and run {world['other'][:8]} on films" in page
    assert (result["pairing"], result["overlap_at_10"]) == ("beside", None)
    assert result["settings"] == {"model.l2": ("300.0", "100.0")}
    assert result["other"] == {
        "label": f"run {world['other'][:8]}",
        "run_id": world["other"],
        "version": "5",
        "model": "ease",
        "ndcg_at_10": 0.08,
        "promoted": True,
        "night": "2024-06-01T03:00:00+00:00",
    }
    show_diff(json.loads(json.dumps(result)))  # what --json has is all that is printed
    said = capsys.readouterr().out
    assert "is better than" in said
    assert "over 31 users" not in said.partition("\n")[0]
    assert "+0.0200  +0.0100 to +0.0300  .002" in said
    assert "model.l2: 300.0 → 100.0" in said
    assert result["page"] in said.replace("\n", "")


def test_a_version_is_found_by_its_number(world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    version = ChampionRef("encore-films", "3", world["one"], "", "")
    found = {("encore-films", "3"): version}
    monkeypatch.setattr(registry, "find_version", lambda uri, name, number: found.get((name, number)))
    result = asked(world, "3", world["other"])
    assert result["one"]["label"] == "version 3"
    with pytest.raises(ConfigError, match="encore-films has no version 4"):
        asked(world, "4", world["other"])


@pytest.mark.parametrize(
    ("name", "told"),
    [("0" * 32, "no finished run 0000"), ("begun", "no finished run"), ("empty", "kept nothing to compare")],
)
def test_what_cannot_be_compared_is_told_in_one_line(name: str, told: str, world: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        asked(world, world["one"], world.get(name, name), "none.html")
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert not (world["folder"] / "none.html").exists()


def test_a_folder_is_no_page(world: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        asked(world, world["one"], world["other"], "")
