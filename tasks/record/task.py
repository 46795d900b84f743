"""The step: everything about the night goes into its MLflow run, where an analyst compares runs by looking."""

from collections.abc import Mapping
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
    run.log_params(flatten(config))
    run.log_snapshot(valid.snapshot)
    if trained.cached:  # else they were logged while training went on
        run.log_history(training["history"])
    run.log_metrics({**result["metrics"], "train/best_epoch": training["best_epoch"]})
    run.set_tags(tags(result))
    if training["history"]:
        run.log_figure(learning_curve(training["history"], training["best_epoch"]), "learning_curve.png")
    run.log_figure(metric_at_k(curves(result["model"]["config"]["name"], judged, below)), "metric_at_k.png")
    run.log_text(store.path(valid.report).read_text(encoding="utf-8"), "validation.html")
    bundle = Bundle.load(store.path(trained.path))
    split = samples.split
    known = read_histories(store.read(samples.known))
    examples = make_examples(bundle, store.read(split.items), store.read(split.test), known, split.keeps_repeats)
    run.log_text(render(result, training, judged, below, examples), "card.html")


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
