"""The result of a night: one flat record, kept as JSON."""

from typing import Any

from flows.contest import Contest, Rival
from flows.night import Night
from flows.refit import Outgoing
from tasks.differences import LEAD, Differences, differences
from tasks.errors import without_passwords
from tasks.evaluate.config import EvaluateConfig
from tasks.promote.task import Promotion
from tasks.publish.pointer import published
from tasks.store.refs import SampleRefs, Validated
from tasks.store.store import Store


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
            **{f"beyond/{name}": value for name, value in judged.get("beyond", {}).get("test", {}).items()},
            **floors,
            **(store.manifest(champion.beside.path)["means"] if champion else {}),
        },
        "intervals": judged["intervals"],
        "differences": differences_of(store, contest, config.evaluate),
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
        "warm": training.get("warm"),
        "seeds": 1 + len(contest.seeds),
        "beside": {
            whom: {"version": rival.ref.version, "users": store.manifest(rival.beside.path)["users"]["champion"]}
            for whom, rival in rivals_of(contest).items()
        },
        "evaluated": {
            "test": contest.scores.path,
            **{whom: rival.beside.path for whom, rival in rivals_of(contest).items()},
        },
        "test_fingerprint": judged["test_fingerprint"],
        "decision": {
            "promote": promotion.decision.promote,
            "awaits_approval": promotion.decision.awaits_approval,
            "gain": promotion.decision.gain,
            "reason": promotion.decision.reason,
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
        "warnings": [*valid.warnings, *store.manifest(f"prepared/{parts.key}")["notes"], *night.told],
        "audit": audit,
        "report": valid.report,
        "kept": training["kept"],
        "unchanged": False,
    }


def rivals_of(contest: Contest) -> dict[str, Rival]:
    """`champion` and `anchor`, as far as there are such."""
    held = {"champion": contest.champion, "anchor": contest.anchor}
    return {whom: rival for whom, rival in held.items() if rival is not None}


def differences_of(store: Store, contest: Contest, evaluate: EvaluateConfig) -> dict[str, Differences]:
    """How much better the model is than each of the others on the rows that may judge both, user by user.

    To floors only by the metric that decides: they are on the same rows, where every metric stands beside theirs.
    """
    settings, ours = (evaluate.resamples, evaluate.level), f"{contest.scores.path}/test.parquet"
    found: dict[str, Differences] = {}
    for whom, rival in rivals_of(contest).items():
        if store.manifest(rival.beside.path)["users"]["champion"]:
            new, old = (store.path(f"{rival.beside.path}/{part}.parquet") for part in ("challenger", "champion"))
            found[whom] = differences(new, old, *settings)
    for floor in contest.floors:
        if floor.scores.key != contest.scores.key:  # else it is the model itself
            old = store.path(f"{floor.scores.path}/test.parquet")
            found[floor.name] = differences(store.path(ours), old, *settings, metrics=(LEAD,))
    return found
