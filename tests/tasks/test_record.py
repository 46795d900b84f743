"""What MLflow shows of a night: a run's figures are those of the model that it keeps."""

import json
from pathlib import Path

import pytest
from mlflow.entities import Metric

from models.base import Epoch
from tasks.errors import RunFailed
from tasks.record.figures import (
    data_figures,
    difference_figures,
    figures,
    interval_figures,
    segment_figures,
    sortable,
    tags,
)
from tasks.record.plots import log_plots
from tasks.record.task import log_diff
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.tracking.registry import find_champion
from tasks.tracking.runs import EpochLogger, Run, artifact_root, close_dead_runs, run_exists, start_run
from tests.factories import FixedScores
from tests.tasks.cards import CLOSED_FORM, CURVES, beside_champion, differs, facts, judged, night, refused, side

HISTORY = [
    {"number": n, "loss": 1 / n, "samples": 5, "seconds": 1.0, "metrics": {"ndcg_at_10": value}}
    for n, value in ((1, 0.2), (2, 0.5), (3, 0.3))
]
METRICS = {"valid/ndcg_at_10": 0.5, "test/ndcg_at_10": 0.4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return start_run(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db", "tiny", "night", {})


def test_the_best_epoch_is_no_point_of_the_curve() -> None:
    assert figures(METRICS, {"history": HISTORY, "best_epoch": 2}) == {
        "test/ndcg_at_10": 0.4,
        "best/valid/ndcg_at_10": 0.5,
        "train/best_epoch": 2,
    }
    without_epochs = figures(METRICS, {"history": [], "best_epoch": 0})
    assert without_epochs["valid/ndcg_at_10"] == without_epochs["best/valid/ndcg_at_10"] == 0.5


def test_where_the_rows_went_is_compared_like_any_metric() -> None:
    result = {"rows": {"read": 9, "accepted": 7, "quarantined": 2}, "warnings": ["ratings drift"]}
    expected = {"data/read": 9, "data/accepted": 7, "data/quarantined": 2, "data/warnings": 1}
    assert data_figures(result) == expected


def test_a_difference_is_a_metric_with_its_interval_beside_it(run: Run) -> None:
    by = {"champion": {**differs(0.05), "auc": {"mean": -0.5, "low": -0.75, "high": -0.25, "p_value": 0.125}}}
    found = difference_figures(by)
    assert found["difference/champion/ndcg_at_10"] == 0.05
    assert {name: value for name, value in found.items() if "auc" in name} == {
        "difference/champion/auc": -0.5,
        "difference/champion/auc_low": -0.75,
        "difference/champion/auc_high": -0.25,
        "difference/champion/auc_p": 0.125,
    }
    run.log_metrics(found)  # MLflow takes every name
    assert run.client.get_run(run.run_id).data.metrics.items() >= found.items()


def test_the_interval_of_the_metric_that_decides_is_a_column() -> None:
    found = interval_figures({"test/ndcg_at_10": (0.1, 0.3), "test/auc": (0.5, 0.6)})
    assert found == {"interval/test/ndcg_at_10_low": 0.1, "interval/test/ndcg_at_10_high": 0.3}


def test_runs_can_be_filtered_by_what_became_of_them() -> None:
    assert tags(night())["decision"] == "promoted"
    assert tags(night(decision=refused()))["decision"] == "refused"
    assert tags(night(decision=refused(waits=True)))["decision"] == "waiting"
    beside = {"champion": {"version": "3", "users": 31}, "anchor": {"version": "1", "users": 30}}
    told = tags(
        night(beside=beside, warm={"from_version": "3", "from_key": "k", "nights": 1, "new_users": 0, "new_items": 0})
    )
    assert (told["beside_champion"], told["beside_anchor"], told["start"]) == ("3", "1", "warm")
    assert tags(night(warm={"cold_because": "scheduled"}))["start"] == "cold"
    assert not {"start", "beside_champion"} & set(tags(night()))
    assert tags(night(on_everything=True))["fitted_on"] == "everything"
    assert all(isinstance(value, str) and value for value in told.values())


BUCKETS = [
    "0",
    "1-4",
    "5-9",
    "10-19",
    "20-49",
    "50-99",
    "100-199",
    "200+",
    "<7",
    "7-30",
    "30-90",
    "90-365",
    "365+",
    "new",
]


def test_segments_are_metrics_in_an_order_that_makes_sense(run: Run) -> None:
    figures = segment_figures(
        {
            "history_length": [{"bucket": bucket, "users": 3, "ndcg_at_10": 0.5} for bucket in BUCKETS[:8]],
            "item_age": [{"bucket": bucket, "rows": 2, "recall_at_10": 0.25} for bucket in BUCKETS[8:]],
            "reason": [{"bucket": "fold-in", "users": 1, "ndcg_at_10": 1.0}],
        }
    )
    assert figures["test_by_history_length/005-009/ndcg_at_10"] == 0.5
    assert figures["test_by_item_age/000-007/rows"] == 2
    assert figures["test_by_reason/fold-in/ndcg_at_10"] == 1
    run.log_metrics(figures)  # MLflow takes every name
    assert run.client.get_run(run.run_id).data.metrics.items() >= figures.items()
    for buckets in (BUCKETS[:8], BUCKETS[8:]):
        assert sorted(map(sortable, buckets)) == list(map(sortable, buckets))


def test_epochs_of_before_a_kill_are_logged_once(run: Run) -> None:
    third = HISTORY[2]
    EpochLogger(run).on_epoch_end(FixedScores([[1]]), Epoch(**third))  # type: ignore[arg-type]
    assert run.logged_epochs() == {3}
    run.log_history([epoch for epoch in HISTORY if epoch["number"] not in run.logged_epochs()])
    curve: list[Metric] = run.client.get_metric_history(run.run_id, "valid/ndcg_at_10")
    assert sorted((point.step, point.value) for point in curve) == [(1, 0.2), (2, 0.5), (3, 0.3)]


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/../../b", "..", "ü", "plain-1.0"])
def test_an_experiments_files_lie_beside_the_database_whatever_its_name(name: str, tmp_path: Path) -> None:
    uri = artifact_root(f"sqlite:///{tmp_path}/mlflow.db", name)
    assert uri is not None
    assert Path(uri.removeprefix("file://")).resolve().parent == tmp_path.resolve() / "mlartifacts"


@pytest.mark.parametrize("uri", ["http://me:sesame@127.0.0.1:9", "nonsense://me:sesame@x"])
def test_an_mlflow_that_is_not_there_is_told_at_once_without_the_password(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for ask in (lambda: close_dead_runs(uri, "tiny", "store"), lambda: start_run(uri, "tiny", "night", {})):
        with pytest.raises(RunFailed) as caught:
            ask()
        assert "sesame" not in str(caught.value)
        assert "\n" not in str(caught.value)
    for look in (find_champion, run_exists):
        if uri.startswith("http"):
            with pytest.raises(RunFailed, match=r"no MLflow server answers at http://127\.0\.0\.1:9"):
                look(uri, "r")


def test_every_plot_that_has_something_to_draw_is_a_picture(run: Run) -> None:
    pictures = {"learning_curve.png", "metric_at_k.png", "roc.png", "precision_recall.png", "differences.png"}
    for night_, expected in (
        (beside_champion(), pictures),
        (
            facts(night(differences={}), CLOSED_FORM, judged(0.1, {"ndcg": [0.1], "recall": [0.2]}), {}),
            {"metric_at_k.png"},
        ),
    ):
        tonight = start_run(run.tracking_uri, "tiny", "plots", {})
        log_plots(tonight, night_)
        assert {one.path for one in tonight.client.list_artifacts(tonight.run_id)} == expected


def keep_night(run: Run, ndcg: float) -> ChampionRef:
    """The run keeps a night, as one that becomes the champion does."""
    kept = side()
    config = {**kept.config, "evaluate": {"resamples": 50}}
    files = {"config": config, "result": kept.result, "training": kept.training, "scores": judged(ndcg, CURVES)}
    for name, content in files.items():
        run.log_text(json.dumps(content), f"night/{name}.json")
    return ChampionRef("encore-films", "3", run.run_id, "", "")


def test_a_night_with_a_champion_has_the_diff_to_it(run: Run, tmp_path: Path) -> None:
    before, tonight = (start_run(run.tracking_uri, "tiny", name, {}) for name in ("before", "tonight"))
    champion = keep_night(before, 0.05)
    log_diff(Store(tmp_path), tonight, champion, facts())
    assert [one.path for one in tonight.client.list_artifacts(tonight.run_id)] == []  # it kept nothing yet
    keep_night(tonight, 0.08)
    log_diff(Store(tmp_path), tonight, ChampionRef("encore-films", "2", run.run_id, "", ""), facts())
    assert "diff_to_champion.html" not in [one.path for one in tonight.client.list_artifacts(tonight.run_id)]
    log_diff(Store(tmp_path), tonight, champion, facts())
    page = Path(str(tonight.client.download_artifacts(tonight.run_id, "diff_to_champion.html", str(tmp_path))))
    assert "version 3 and version 4 on films" in page.read_text(encoding="utf-8")
