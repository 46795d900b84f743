"""The result of a night: one flat record, shown as a table, kept as JSON."""

from typing import Any

from flows.night import Night
from tasks.promote.task import Promotion
from tasks.publish.pointer import published
from tasks.store.refs import EvaluatedRef, SplitRefs, TrainedRef, Validated


def make_result(
    night: Night,
    valid: Validated,
    parts: SplitRefs,
    trained: TrainedRef,
    scores: EvaluatedRef,
    floor: EvaluatedRef,
    beside: EvaluatedRef | None,
    promotion: Promotion,
    lists: str,
) -> dict[str, Any]:
    """Everything that a later reader may ask of a night; the names are those of the design."""
    store, config = night.store, night.config
    training, judged = store.manifest(trained.path), store.manifest(scores.path)
    floor_means = store.manifest(floor.path)["means"]
    return {
        "run_id": night.run.run_id,
        "experiment": config.experiment,
        "experiment_id": night.run.experiment_id,
        "tracking_uri": night.settings.tracking_uri,
        "data_dir": str(night.settings.data_dir),
        "dataset": config.dataset,
        "as_of": night.settings.night.isoformat(),
        "snapshot": valid.snapshot.hash,
        "key": trained.key,
        "protocol": parts.protocol,
        "metrics": {
            **{f"valid/{name}": value for name, value in training["valid"].items()},
            **judged["means"],
            **{f"floor/popularity/{name.removeprefix('test/')}": value for name, value in floor_means.items()},
            **(store.manifest(beside.path)["means"] if beside else {}),
        },
        "intervals": judged["intervals"],
        "rows": {
            "read": valid.read,
            "accepted": valid.accepted,
            "duplicates": valid.duplicates,
            **{part: getattr(parts, part).rows for part in ("train", "valid", "test", "users", "items")},
        },
        "test_users": judged["users"]["test"],
        "best_epoch": training["best_epoch"],
        "samples_per_second": training["samples_per_second"],
        "seconds": night.clock.total(),
        "cached": night.clock.cached,
        "peak_mb": night.memory.peak_mb,
        "weights_sha256": trained.weights_sha256,
        "decision": {
            "promote": promotion.decision.promote,
            "checks": [vars(check) for check in promotion.decision.checks],
        },
        "model": {
            "name": promotion.name,
            "version": promotion.version,
            "champion": promotion.champion,
            "parameters": training["n_parameters"],
            "config": config.model.model_dump(mode="json"),
        },
        "recommendations": f"{lists}/recommendations.parquet",
        "published": published(store, config.dataset),
        "report": valid.report,
        "unchanged": False,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The night for Prefect's page: the leaderboard line, the reasons, where things lie."""
    metrics, model = result["metrics"], result["model"]
    names = [name for name in metrics if name.startswith("test/")]
    head = " | ".join(name.removeprefix("test/") for name in names)
    ours = " | ".join(f"{metrics[name]:.4f}" for name in names)
    floor = " | ".join(f"{metrics['floor/popularity/' + name.removeprefix('test/')]:.4f}" for name in names)
    checks = "\n".join(
        f"- {'passed' if check['passed'] else '**failed**'}: {check['name']} ({check['detail']})"
        for check in result["decision"]["checks"]
    )
    verdict = "promoted" if result["decision"]["promote"] else "refused"
    return (
        f"## {result['dataset']}: {model['config']['name']} {verdict}\n\n"
        f"| model | {head} |\n|---|{'---|' * len(names)}\n"
        f"| {model['config']['name']} | {ours} |\n| popularity (floor) | {floor} |\n\n{checks}\n\n"
        f"Registered as `{model['name']}` version {model['version']}; champion: version {model['champion']}.\n"
        f"MLflow run `{result['run_id']}` in experiment `{result['experiment']}` ({_link(result)}). "
        f"Lists in production: `{result['published']}`.\n"
    )


def _link(result: dict[str, Any]) -> str:
    page = f"#/experiments/{result['experiment_id']}/runs/{result['run_id']}"
    uri = str(result["tracking_uri"])
    return f"[open]({uri.rstrip('/')}/{page})" if uri.startswith("http") else f"page `{page}`"
