"""The night: from the log to each user's list, and only a better model goes out."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.command import process_start
from flows.config import PipelineConfig, Settings
from flows.night import Night
from flows.result import as_markdown, make_result
from flows.unchanged import find_unchanged, night_key, remember, skipped
from models.registry import make_config
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.promote.task import judge, promote
from tasks.publish.pointer import published
from tasks.publish.task import publish, recommend
from tasks.record.task import record
from tasks.sample.task import sample
from tasks.split.task import split
from tasks.store.store import Store
from tasks.tracking.registry import find_champion, load_champion
from tasks.train.task import train
from tasks.validate.task import validate

FLOOR = make_config("popularity")


EVERYTHING_DEFAULT = PipelineConfig()
FROM_ENVIRONMENT = Settings()


@flow(name="retrain", flow_run_name="{config.ingest.source} {config.model.name}")
def retrain(config: PipelineConfig = EVERYTHING_DEFAULT, settings: Settings = FROM_ENVIRONMENT) -> dict[str, Any]:
    """One night: ingest, validate, split, sample, train, evaluate, promote, recommend."""
    config, settings, store = config.resolved(), settings.resolved(), Store(settings.resolved().data_dir)
    files = identify(config.ingest, store)
    key = night_key(config, files)
    if (earlier := find_unchanged(store, config, settings, key)) is not None:
        return skipped(earlier, process_start())
    with Night(config, settings, process_start(), key) as night:
        step, run = night.step, night.run
        staged = step("ingest", ingest, store, config.ingest, files)
        valid = step("validate", validate, store, staged.files, config.dataset, config.checks, settings.night)
        parts = step(
            "split", split, store, valid.snapshot, config.split, config.ingest.min_rating, config.evaluate.candidates
        )
        samples = step("sample", sample, store, parts, config.evaluate.candidates)
        fit = (config.trainer, config.sample.history_length, night.callbacks)
        trained = step("train", train, store, samples, config.model, *fit)
        floor = step("floors", train, store, samples, FLOOR, config.trainer)
        floor_scores = step("floors", evaluate, store, samples, floor, config.evaluate)
        scores = step("evaluate", evaluate, store, samples, trained, config.evaluate)
        champion = find_champion(settings.tracking_uri, config.registered_model)
        beside = None
        if champion is not None:
            loaded = load_champion(settings.tracking_uri, champion, config.dataset)
            beside = step("evaluate", evaluate_beside, store, samples, trained, loaded, champion, config.evaluate)
        judged = (scores, None if config.model.name == FLOOR.name else floor_scores, beside, champion)
        decision = step("promote", judge, store, *judged, night.configuration, config.gate)
        promotion = step(
            "promote",
            promote,
            store,
            run,
            config.registered_model,
            decision,
            samples,
            trained,
            night.configuration,
            champion,
        )
        lists = step("recommend", recommend, store, samples, trained, promotion.version, run.run_id, config.recommend)
        if decision.promote:
            step("recommend", publish, store, config.dataset, lists)
        elif published(store, config.dataset) is None:  # nothing is in production yet: better the floor than nothing
            name = f"{run.run_id}-floor"
            floor_lists = step(
                "recommend", recommend, store, samples, floor, "floor/popularity", name, config.recommend
            )
            step("recommend", publish, store, config.dataset, floor_lists)
        result = make_result(night, valid, parts, trained, scores, floor_scores, beside, promotion, lists)
        described = config.model_dump(mode="json")
        step("record", record, store, run, described, valid, samples, trained, scores, floor_scores, result)
        result = {**result, "seconds": night.clock.total(), "peak_mb": night.memory.peak_mb}
        run.log_metrics({f"seconds/{name}": value for name, value in result["seconds"].items()})
        run.finish()
        remember(store, config, settings, key, result)
        create_markdown_artifact(
            as_markdown(result), key=artifact_key(config.dataset), description="The night's result"
        )
        return result


def artifact_key(dataset: str) -> str:
    """Prefect takes lowercase letters, digits and dashes."""
    return "night-" + "".join(letter if letter.isalnum() else "-" for letter in dataset.lower())
