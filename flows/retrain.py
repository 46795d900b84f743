"""The night: from the log to each user's list, and only a better model goes out."""

import getpass
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.command import process_start
from flows.config import PipelineConfig, Settings
from flows.contest import Contest, hold, verdict
from flows.crown import crown, settle
from flows.night import Night
from flows.refit import Outgoing, going_out
from flows.result import make_result
from flows.summary import as_markdown
from flows.unchanged import find_unchanged, located, night_key, remember, skipped
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.promote.task import Promotion, register
from tasks.publish.pointer import FLOOR_MARK, serves_a_champion
from tasks.publish.task import publish, recommend
from tasks.record.task import record
from tasks.sample.task import sample
from tasks.split.config import Positives
from tasks.split.task import split
from tasks.tracking.history import Event
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
    if (earlier := find_unchanged(store, config, settings, key)) is not None:
        return skipped(store, earlier, process_start())
    with Night(config, settings, process_start(), key) as night:
        step = night.step
        settle(night, config.registered_model)
        candidates, positives = config.evaluate.candidates, Positives.of(config.ingest)
        rules = (config.checks, settings.night, config.ingest.appends)
        staged = step("ingest", ingest, store, config.ingest, files)
        valid = step("validate", validate, store, staged.files, config.dataset, *rules)
        parts = step("split", split, store, valid.snapshot, config.split, positives, candidates)
        samples = step("sample", sample, store, parts, candidates)
        contest, decision = verdict(night, samples, hold(night, samples))
        out = going_out(night, valid.snapshot, samples, contest, decision)
        ours = (night.run, config.registered_model, decision, out.samples, out.trained, contest.champion_ref)
        promotion = step("promote", register, store, *ours, version_tags(night, contest, out))
        lists = serve(night, contest, out, promotion)
        result = make_result(night, valid, samples, contest, out, promotion, lists)
        step("record", record, store, night.run, night.described, valid, samples, *_judged(contest), result)
        result = night.finish(result)
        remember(store, config, settings, key, result)
        create_markdown_artifact(as_markdown(result), artifact_key(config.dataset), description="The night's result")
        return located(store, result)


def serve(night: Night, contest: Contest, out: Outgoing, promotion: Promotion) -> str:
    """Writes the lists of the night's model; where it may go out, crowns and publishes it. Returns their folder.

    What production serves moves last: whatever fails before leaves it as it was.
    """
    store, config = night.store, night.config
    ours = (out.samples, out.trained, promotion.version, night.run.run_id)
    lists: str = night.step("recommend", recommend, store, *ours, config.recommend)
    if promotion.decision.promote:
        crown(night, event_of(night, contest, promotion, lists))
    elif not serves_a_champion(store, config.dataset):  # no model is in production yet: better the floor than nothing
        best = contest.best_floor
        floor = (out.samples, best.trained, f"{FLOOR_MARK}{best.name}", f"{night.run.run_id}-floor")
        floor_lists = night.step("recommend", recommend, store, *floor, config.recommend)
        night.step("recommend", publish, store, config.dataset, floor_lists)
    return lists


def event_of(night: Night, contest: Contest, promotion: Promotion, lists: str) -> Event:
    """What the history will say of the night's promotion."""
    before = contest.champion_ref.version if contest.champion_ref else None
    return Event(
        name=promotion.name,
        version=promotion.version,
        before=before,
        kind="night",
        reason=promotion.decision.reason,
        by=getpass.getuser(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset=night.dataset,
        lists=lists,
        gain=promotion.decision.gain,
    )


def version_tags(night: Night, contest: Contest, out: Outgoing) -> dict[str, str]:
    """What a version says of where it comes from, beside the gate's reasons."""
    return {
        "configuration": night.configuration,
        "judged_key": contest.trained.key,
        "refit_all": str(out.on_everything).lower(),
        "as_of": night.settings.night.isoformat(timespec="seconds"),
    }


def artifact_key(dataset: str) -> str:
    """Prefect takes lowercase letters, digits and dashes."""
    return "night-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in dataset.lower())


def _judged(contest: Contest) -> tuple[Any, ...]:
    return contest.trained, contest.scores, contest.popularity.scores
