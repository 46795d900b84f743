"""The result of a night: one flat record, kept as JSON."""

from typing import Any

from flows.contest import Contest
from flows.night import Night
from flows.refit import Outgoing
from tasks.errors import without_passwords
from tasks.promote.task import Promotion
from tasks.publish.pointer import published
from tasks.store.refs import SampleRefs, Validated


def make_result(
    night: Night,
    valid: Validated,
    samples: SampleRefs,
    contest: Contest,
    out: Outgoing,
    promotion: Promotion,
    lists: str,
) -> dict[str, Any]:
    """Everything that a later reader may ask of a night; the names are those of the design."""
    store, config = night.store, night.config
    trained, champion, parts = contest.trained, contest.champion, samples.split
    audit = [finding for key in (parts.key, samples.key) for finding in store.manifest(f"prepared/{key}")["audit"]]
    training, judged = store.manifest(trained.path), store.manifest(contest.scores.path)
    floors = {
        f"floor/{floor.name}/{name.removeprefix('test/')}": value
        for floor in contest.floors
        for name, value in store.manifest(floor.scores.path)["means"].items()
    }
    return {
        "run_id": night.run.run_id,
        "experiment": config.experiment,
        "experiment_id": night.run.experiment_id,
        "tracking_uri": without_passwords(night.settings.tracking_uri),
        "data_dir": str(night.settings.data_dir),
        "dataset": config.dataset,
        "as_of": night.settings.night.isoformat(),
        "snapshot": valid.snapshot.hash,
        "key": trained.key,
        "protocol": parts.protocol,
        "metrics": {
            **{f"valid/{name}": value for name, value in training["valid"].items()},
            **judged["means"],
            **floors,
            **(store.manifest(champion.beside.path)["means"] if champion else {}),
        },
        "intervals": judged["intervals"],
        "level": config.evaluate.level,
        "rows": {
            "read": valid.read,
            "accepted": valid.accepted,
            "quarantined": valid.quarantined,
            "duplicates": valid.duplicates,
            **{part: getattr(parts, part).rows for part in ("train", "valid", "test", "users", "items")},
        },
        "segments": judged["segments"],
        "test_users": judged["users"]["test"],
        "best_epoch": training["best_epoch"],
        "samples_per_second": training["samples_per_second"],
        "seconds": night.clock.total(),
        "cached": night.clock.cached,
        "peak_mb": night.memory.peak_mb,
        "weights_sha256": out.trained.weights_sha256,
        "on_everything": out.on_everything,
        "decision": {
            "promote": promotion.decision.promote,
            "checks": [vars(check) for check in promotion.decision.checks],
        },
        "model": {
            "name": promotion.name,
            "version": promotion.version,
            "champion": promotion.champion,
            "parameters": training["n_parameters"],
            "config": training["config"],
        },
        "recommendations": f"{lists}/recommendations.parquet",
        "published": published(store, config.dataset),
        "quarantine": dict(valid.reasons),
        "warnings": [*valid.warnings, *store.manifest(f"prepared/{parts.key}")["notes"]],
        "audit": audit,
        "report": valid.report,
        "kept": training["kept"],
        "unchanged": False,
    }
