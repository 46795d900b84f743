"""The night: from the log to each user's list, and only a better model goes out."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.command import process_start
from flows.config import PipelineConfig, Settings
from flows.contest import hold, verdict
from flows.crown import alarms, settle
from flows.night import Night
from flows.refit import going_out
from flows.result import make_result
from flows.serve import enrol, parties_of, serve
from flows.summary import as_markdown
from flows.unchanged import located, night_key, remember, skip_unchanged
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.record.task import record
from tasks.sample.task import sample
from tasks.split.config import Positives
from tasks.split.task import split
from tasks.validate.task import validate

EVERYTHING_DEFAULT = PipelineConfig()
FROM_ENVIRONMENT = Settings()


@flow(name="retrain", flow_run_name="{config.ingest.source} {config.model.name}")
def retrain(config: PipelineConfig = EVERYTHING_DEFAULT, settings: Settings = FROM_ENVIRONMENT) -> dict[str, Any]:
    """One night: ingest, validate, split, sample, train, evaluate, promote, recommend."""
    config, settings = config.resolved(), settings.resolved()
    store = settings.store
    files = identify(config.ingest, store)
    key = night_key(config, files, store)
    if (earlier := skip_unchanged(store, config, settings, key, process_start())) is not None:
        return earlier
    with Night(config, settings, process_start(), key) as night:
        step = night.step
        night.told += settle(night, config.registered_model)
        candidates, positives = config.evaluate.candidates, Positives.of(config.ingest)
        rules = (config.checks, settings.night, config.ingest.appends)
        staged = step("ingest", ingest, store, config.ingest, files)
        valid = step("validate", validate, store, staged.files, config.dataset, *rules)
        parts = step("split", split, store, valid.snapshot, config.split, positives, candidates)
        samples = step("sample", sample, store, parts, candidates)
        contest, decision = verdict(night, samples, hold(night, samples))
        out = going_out(night, valid.snapshot, samples, contest, decision)
        promotion = enrol(night, contest, out, decision)
        lists = serve(night, contest, out, promotion)
        night.told += alarms(night, config.registered_model, config.gate.max_age_days, datetime.now(UTC))
        result = make_result(night, valid, samples, contest, out, promotion, lists)
        step("record", record, store, night.run, night.described, valid, samples, parties_of(contest), result)
        result = night.finish(result)
        remember(store, config, settings, key, result)
        create_markdown_artifact(as_markdown(result), artifact_key(config.dataset), description="The night's result")
        return located(store, result)


def artifact_key(dataset: str) -> str:
    """Prefect takes lowercase letters, digits and dashes."""
    return "night-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in dataset.lower())
