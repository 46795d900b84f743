"""Recognises a night in which nothing changed, before Prefect or MLflow is imported for work."""

import json
import time
from collections.abc import Sequence
from typing import Any

from flows.config import PipelineConfig, Settings
from models.registry import modules_used
from tasks.errors import without_passwords
from tasks.ingest.sources.base import SourceFile
from tasks.pairs_file import content_hash
from tasks.store.atomic import write_json
from tasks.store.keys import code_hash, make_key
from tasks.store.store import Store
from tasks.validate.ledger import plan, read_ledger

STEPS = ("ingest", "validate", "split", "sample", "train", "floors", "evaluate", "promote", "record", "recommend")


def night_key(config: PipelineConfig, files: Sequence[SourceFile], store: Store) -> str:
    """Hash of all that a night's result depends on: the content of the dataset, the configuration, the code."""
    named = {
        "checks.suite": config.checks.suite,
        "split.test": config.split.test,
        "split.valid": config.split.valid,
        "evaluate.candidates": config.evaluate.candidates,
    }
    weights, option = config.trainer.initial_weights, "trainer.initial_weights"
    start = content_hash(weights, option, "a file that trainer.checkpoint.path named")
    code = [code_hash(module) for module in modules_used(config.model)]
    tonight = [(file.table, file.label, file.sha256) for file in files]
    delivery = plan(store, config.dataset, tonight, config.ingest.appends)
    sources = [(table, sha256) for table, _, sha256 in delivery.contents]
    hashes = [content_hash(path, option) for option, path in named.items()]
    # A file that repeats another one changes nothing, but there is a warning of it.
    return make_key("flows.retrain", config, sources, delivery.repeated, hashes, start, code)


def remember(store: Store, config: PipelineConfig, settings: Settings, key: str, result: dict[str, Any]) -> None:
    """Keeps the result of a finished night under its key."""
    write_json(
        _record(store, config, key), {"tracking_uri": without_passwords(settings.tracking_uri), "result": result}
    )


def find_unchanged(store: Store, config: PipelineConfig, settings: Settings, key: str) -> dict[str, Any] | None:
    """The result of an earlier night with this key, while all that it left behind is still there, and its snapshot is
    that of the last good night: else tonight's files take the place of others, and are judged beside them.

    Nor is a night unchanged where by now the feed has stopped and is refused for it; where that is a warning, the
    result says so. It names the champion of now: another configuration may have won since, or somebody may have moved
    the alias. Where the champion was taken away, the night is not unchanged: it is the way to a new one. Nor is it
    where the model was refused for a freeze that somebody has lifted since.
    """
    record = _record(store, config, key)
    if not record.is_file():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    result: dict[str, Any] = content["result"]
    if content["tracking_uri"] != without_passwords(settings.tracking_uri) or not _still_there(store, settings, result):
        return None
    champion = _champion(settings, result["model"]["name"])
    warnings = _warnings(store, config, settings, result)
    if warnings is None or (champion is None and result["model"]["champion"] is not None):
        return None
    if _was_lifted(settings, result):
        return None
    return {**result, "model": {**result["model"], "champion": champion}, "warnings": warnings}


def skip_unchanged(
    store: Store, config: PipelineConfig, settings: Settings, key: str, started: float
) -> dict[str, Any] | None:
    """The result of a night in which nothing changed; None where there is something to do. What was done by hand in
    MLflow since, or was cut short, is put right and told."""
    from flows.keeper import put_right

    earlier = find_unchanged(store, config, settings, key)
    if earlier is None:
        return None
    told = put_right(config.dataset, config.registered_model, settings)
    if told and (earlier := find_unchanged(store, config, settings, key)) is None:
        return None
    return skipped(store, {**earlier, "warnings": [*earlier["warnings"], *told]}, started)


def skipped(store: Store, result: dict[str, Any], started: float) -> dict[str, Any]:
    """The earlier result, with this run's own seconds: every step was skipped."""
    total = time.time() - started
    seconds = {**dict.fromkeys(STEPS, 0.0), "startup": total, "total": total}
    return located(store, {**result, "seconds": seconds, "cached": list(STEPS), "unchanged": True})


def located(store: Store, result: dict[str, Any]) -> dict[str, Any]:
    """The result with absolute paths, for whoever reads it; what is remembered may move with the data folder."""
    paths = {name: result[name] for name in ("recommendations", "published", "report", "kept") if result.get(name)}
    return {**result, **{name: str(store.path(path)) for name, path in paths.items()}}


def _still_there(store: Store, settings: Settings, result: dict[str, Any]) -> bool:
    from tasks.tracking.registry import version_exists
    from tasks.tracking.runs import run_exists

    lists = (result["recommendations"], result["published"])
    return (
        all(path is None or store.path(path).is_file() for path in lists)
        and run_exists(settings.tracking_uri, result["run_id"])
        and version_exists(settings.tracking_uri, result["model"]["name"], result["model"]["version"])
    )


def _warnings(store: Store, config: PipelineConfig, settings: Settings, result: dict[str, Any]) -> list[str] | None:
    """The earlier result's, and what the date adds to them. None where the night is another one, or is refused."""
    from tasks.validate.result import sentence
    from tasks.validate.silence import silent

    ledger = read_ledger(store, config.dataset)
    if not ledger.nights or ledger.nights[-1].snapshot.rpartition("/")[2] != result["snapshot"]:
        return None
    found = silent(ledger, config.checks, settings.night)
    if any(finding.severity == "night" for finding in found):
        return None
    earlier = (one for one in result["warnings"] if not any(f'"{finding.expectation}"' in one for finding in found))
    return [*earlier, *map(sentence, found)]


def _champion(settings: Settings, name: str) -> str | None:
    from tasks.tracking.registry import find_champion

    found = find_champion(settings.tracking_uri, name)
    return found.version if found else None


def _was_lifted(settings: Settings, result: dict[str, Any]) -> bool:
    """Whether the night found the champion frozen, and now it is not."""
    from tasks.tracking.history import frozen

    stopped = any(check["name"] == "not frozen" and not check["passed"] for check in result["decision"]["checks"])
    return stopped and frozen(settings.tracking_uri, result["model"]["name"]) is None


def _record(store: Store, config: PipelineConfig, key: str) -> Any:
    return store.path(f"nights/{config.dataset}/{key}.json")
