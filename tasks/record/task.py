"""The step: everything about the night goes into its MLflow run, where an analyst compares runs by looking."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bundle import Bundle
from tasks.cards.card import curves, render
from tasks.cards.examples import make_examples
from tasks.cards.plots import learning_curve, metric_at_k
from tasks.store.histories import read_histories
from tasks.store.refs import EvaluatedRef, SampleRefs, TrainedRef, Validated
from tasks.store.store import Store
from tasks.tracking.runs import Run


@task(cache_policy=NO_CACHE)
def record(
    store: Store,
    run: Run,
    config: Mapping[str, Any],
    valid: Validated,
    samples: SampleRefs,
    trained: TrainedRef,
    scores: EvaluatedRef,
    floor: EvaluatedRef,
    result: dict[str, Any],
) -> None:
    """Logs parameters, the snapshot, metrics, plots, the validation report and the run card."""
    training, judged, below = (store.manifest(ref.path) for ref in (trained, scores, floor))
    run.log_params(flatten({**config, "trainer": training["trainer"]}))  # the fit chose what was left to it
    run.log_snapshot(valid.snapshot)
    logged = run.logged_epochs()  # while training went on; not those that were found, or that a killed night ran
    run.log_history([epoch for epoch in training["history"] if epoch["number"] not in logged])
    run.log_metrics(figures(result["metrics"], training) | segment_figures(judged["segments"]) | data_figures(result))
    run.set_tags(tags(result))
    if training["history"]:
        run.log_figure(learning_curve(training["history"], training["best_epoch"]), "learning_curve.png")
    run.log_figure(metric_at_k(curves(result["model"]["config"]["name"], judged, below)), "metric_at_k.png")
    run.log_text(store.path(valid.report).read_text(encoding="utf-8"), "validation.html")
    bundle = Bundle.load(store.path(trained.path))
    split = samples.split
    known = read_histories(store.path(samples.known.path))
    strangers = store.read(split.strangers) if split.strangers else None
    shown = (store.read(split.items), store.read(split.test), known, split.keeps_repeats, strangers)
    examples = make_examples(bundle, *shown)
    run.log_text(render(result, training, judged, below, examples), "card.html")


def figures(metrics: Mapping[str, float], training: Mapping[str, Any]) -> dict[str, float]:
    """The night's metrics under the names that they have in MLflow: `valid/…` is a curve there, which shows its last
    epoch, so the best epoch's value is called `best/valid/…`."""
    best = {f"best/{name}": value for name, value in metrics.items() if name.startswith("valid/")}
    own = {name: value for name, value in metrics.items() if not (training["history"] and name.startswith("valid/"))}
    return {**own, **best, "train/best_epoch": training["best_epoch"]}


def data_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """`data/accepted`, `data/quarantined` and so on, and how many expectations failed that are only shown."""
    return {
        **{f"data/{name}": count for name, count in result["rows"].items()},
        "data/warnings": len(result["warnings"]),
    }


def segment_figures(segments: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """`test_by_history_length/005-009/ndcg_at_10` and so on: names that MLflow takes, in an order that makes sense."""
    return {
        f"test_by_{kind}/{sortable(row['bucket'])}/{name}": float(value)
        for kind, rows in segments.items()
        for row in rows
        for name, value in row.items()
        if name != "bucket"
    }


def sortable(bucket: str) -> str:
    """A bucket with its numbers in three digits: `5-9` as 005-009, `<7` as 000-007, `365+` as 365-up."""
    spelt = bucket.replace("<", "0-").replace("+", "-up")
    return re.sub(r"\d+", lambda number: number[0].zfill(3), spelt)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as `section.field`, the names that every flag has."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and (value or not prefix):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def tags(result: Mapping[str, Any]) -> dict[str, str]:
    """What an analyst filters runs by."""
    return {
        "decision": "promoted" if result["decision"]["promote"] else "refused",
        "snapshot": result["snapshot"],
        "protocol": result["protocol"],
        "weights_sha256": result["weights_sha256"],
        "model_version": result["model"]["version"],
    }
