"""Several models on the same rows: prepared once, then each trained as in a night, with each seed, and judged."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.command import process_start
from flows.config import CompareConfig, PipelineConfig, Settings
from flows.frontier import draw_frontier
from flows.leaderboard import as_csv, as_markdown, row_note
from flows.night import Surroundings, leave_note, watchers
from flows.retrain import artifact_key
from flows.standings import METRICS, Entry, Fit, rank, same_rows
from models.base import Callback
from models.config import ModelConfig
from models.registry import depends_on_seed
from tasks.errors import ConfigError, RunFailed, without_passwords
from tasks.evaluate.task import evaluate
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.record.figures import figures, flatten, segment_figures
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives
from tasks.split.task import split
from tasks.store.refs import SampleRefs, SplitRefs, TrainedRef, Validated
from tasks.store.tables import read_table
from tasks.tracking.runs import Run
from tasks.train.task import train
from tasks.validate.task import validate

LOG = logging.getLogger("encore.compare")
EXAMPLE = CompareConfig.model_validate({"models": "popularity,item_knn,bpr_mf"})
FROM_ENVIRONMENT = Settings()
BATCH_SIZE = "trainer.batch_size"
"""What a fit may choose itself: logged when that is known."""
NOT_READ = {"gate", "recommend", "registered_model"}  # of a night's configuration: nothing is promoted or published


class FitFailed(RunFailed):
    """One model could not be trained; that is no reason to stop the others."""


class ModelsFailed(RunFailed):
    """Some models could not be trained; `result` holds the leaderboard of the others."""

    def __init__(self, failed: Sequence[str], result: dict[str, Any]) -> None:
        super().__init__(f"failed: {', '.join(failed)}", "the leaderboard says why; the other models are done")
        self.result = result


@flow(name="compare", flow_run_name="{config.ingest.source} {config.title}")
def compare(config: CompareConfig = EXAMPLE, settings: Settings = FROM_ENVIRONMENT) -> dict[str, Any]:
    """Several models on one snapshot and split: ingest, validate, split, sample, then train and evaluate each."""
    config, settings = config.resolved(), settings.resolved()
    files = identify(config.ingest, settings.store)
    with Comparison(config, settings, process_start()) as comparison:
        store, step = comparison.store, comparison.step
        candidates, positives = config.evaluate.candidates, Positives.of(config.ingest)
        rules = (config.checks, settings.night, config.ingest.appends)
        staged = step("ingest", ingest, store, config.ingest, files)
        valid = step("validate", validate, store, staged.files, config.dataset, *rules)
        parts = step("split", split, store, valid.snapshot, config.split, positives, candidates)
        samples = step("sample", sample, store, parts, candidates)
        entries = [enter(comparison, samples, label, model) for label, model in config.labelled]
        result = comparison.finish(make_result(comparison, valid, parts, entries))
        key = artifact_key(config.dataset).replace("night-", "compare-", 1)
        create_markdown_artifact(as_markdown(result), key, description="The leaderboard")
    if failed := [entry.label for entry in entries if entry.error]:
        raise ModelsFailed(failed, result)
    return result


class Comparison(Surroundings):
    """One run of the compare flow, with a run below it for each model and seed."""

    def __init__(self, config: CompareConfig, settings: Settings, started: float) -> None:
        super().__init__("compare", config.dataset, config.experiment, settings, started, config.title)
        self.config = config
        self.tags["models"] = ", ".join(label for label, _ in config.labelled)

    @contextmanager
    def child(self, label: str, config: PipelineConfig) -> Iterator[Run]:
        """The run of one fit. It ends with the fit, however that ends."""
        seed = str(config.trainer.seed)
        own = {"model": config.model.name, "label": label, "seed": seed}
        run = self.run.child(f"{label} seed {seed}", {**self.tags, **own})
        try:
            told = flatten(config.model_dump(mode="json", exclude=NOT_READ))
            run.log_params({name: value for name, value in told.items() if name != BATCH_SIZE or value is not None})
            yield run
            run.finish()
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to show
                leave_note(run, error)
            raise

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Ends the MLflow run, whose description is the leaderboard. Returns the result with the last figures."""
        shared = flatten(self.config.model_dump(mode="json", exclude={"models"}))
        self.run.log_params({"models": self.tags["models"], **shared})
        self.run.set_tags({"snapshot": result["snapshot"], "protocol": result["protocol"]})
        self.run.log_text(as_csv(result["leaderboard"]), "leaderboard.csv")
        self.run.log_text(as_markdown(result), "leaderboard.md")
        judged = [row for row in result["leaderboard"] if not row["error"]]
        if judged:
            self._tell(judged, result)
        failed = len(judged) < len(result["leaderboard"])
        return self.end(result, as_markdown, "FAILED" if failed else "FINISHED")

    def _tell(self, judged: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> None:
        """What an analyst sorts and looks by: the best model's figures on the parent, which MLflow shows collapsed,
        each model's place on its fits, and the frontier as a picture."""
        best = judged[0]
        figures = {**{f"test/{metric}": best[metric] for metric in METRICS}, "seconds/train": best["train_seconds"]}
        self.run.log_metrics({**figures, "n_parameters": best["parameters"]})
        self.run.set_tags({"best_model": best["model"], "model": best["name"]})
        for row in judged:
            for run_id in row["run_ids"]:
                fit = replace(self.run, run_id=run_id)
                fit.set_tags({"rank": str(row["rank"]), "mlflow.note.content": row_note(row, result)})
        figure = draw_frontier(judged, result)
        for kind in ("png", "svg"):
            self.run.log_figure(figure, f"frontier.{kind}")


def enter(comparison: Comparison, samples: SampleRefs, label: str, model: ModelConfig) -> Entry:
    """Trains and judges one model with every seed that can change it; the first training that fails ends it."""
    fits: list[Fit] = []
    seeds = comparison.config.seeds
    for seed in seeds if depends_on_seed(model) else seeds[:1]:
        try:
            fits.append(fit_once(comparison, samples, label, comparison.config.night(model, seed)))
        except FitFailed as error:
            LOG.warning("%s, seed %d failed: %s", label, seed, error)
            return Entry(label, model, tuple(fits), f"seed {seed}: {error}")
    return Entry(label, model, tuple(fits))


def fit_once(comparison: Comparison, samples: SampleRefs, label: str, config: PipelineConfig) -> Fit:
    """Trains and judges as a night of this configuration does. Raises FitFailed where it cannot be trained."""
    store, step, seed = comparison.store, comparison.step, config.trainer.seed
    with comparison.child(label, config) as run:
        comparison.memory.begin_lap()
        trained = train_once(comparison, samples, config, partial(watchers, run, whose=f"{label}, seed {seed}:"))
        peak_mb = None if trained.cached else comparison.memory.lap_mb()
        scores = step("evaluate", evaluate, store, samples, trained, config.evaluate)
        training, judged = store.manifest(trained.path), store.manifest(scores.path)
        log(run, samples, training, judged, peak_mb)
    took = "trained before" if trained.cached else f"trained in {training['seconds']:.1f} s"
    LOG.info("%s, seed %d: NDCG@10 %.4f, %s", label, seed, judged["means"]["test/ndcg_at_10"], took)
    path = store.path(f"{scores.path}/test.parquet")
    table = read_table(path, list(METRICS))
    per_user = {metric: table[metric].to_numpy() for metric in METRICS}
    return Fit(seed, run.run_id, trained.cached, str(path), training, judged["test_fingerprint"], per_user, peak_mb)


def train_once(
    comparison: Comparison, samples: SampleRefs, config: PipelineConfig, callbacks: Callable[[str], Sequence[Callback]]
) -> TrainedRef:
    """The model as a night would train it. Raises FitFailed where that is not possible: training diverges, needs more
    memory than there is, or reads a feature that the data has not."""
    store, step, sampling, seed = comparison.store, comparison.step, config.sample.sampling, config.trainer.seed
    whole = step("sample", sample_windows, store, samples, config.model, sampling, seed)
    fit = (config.trainer, sampling, config.sample.history_length, callbacks)
    try:
        trained: TrainedRef = step("train", train, store, whole, config.model, *fit)
    except (RunFailed, ConfigError) as error:
        raise FitFailed(error.message, error.hint) from error
    return trained


def log(
    run: Run, samples: SampleRefs, training: Mapping[str, Any], judged: Mapping[str, Any], peak_mb: float | None
) -> None:
    """What MLflow shows of one fit: its rows, epochs, metrics and costs."""
    run.log_snapshot(samples.split.snapshot)
    run.log_params({BATCH_SIZE: training["trainer"]["batch_size"]})
    run.complete_history(training["history"])
    valid = {f"valid/{name}": value for name, value in training["valid"].items()}
    costs = {"n_parameters": training["n_parameters"], "samples_per_second": training["samples_per_second"]}
    costs |= {} if peak_mb is None else {"peak_mb": peak_mb}
    metrics = figures({**valid, **judged["means"]}, training) | segment_figures(judged["segments"])
    run.log_metrics({**metrics, **costs, "seconds/train": training["seconds"]})
    run.set_tags({"weights_sha256": training["weights_sha256"], "test_fingerprint": judged["test_fingerprint"]})


def make_result(comparison: Comparison, valid: Validated, parts: SplitRefs, entries: Sequence[Entry]) -> dict[str, Any]:
    """Everything that a later reader may ask of a comparison; names are those of a night's result where it has them."""
    config, settings, run = comparison.config, comparison.settings, comparison.run
    judged = [fit for entry in entries for fit in entry.fits]
    return {
        "run_id": run.run_id,
        "experiment": config.experiment,
        "experiment_id": run.experiment_id,
        "tracking_uri": without_passwords(settings.tracking_uri),
        "data_dir": str(settings.data_dir),
        "dataset": config.dataset,
        "as_of": settings.night.isoformat(),
        "snapshot": valid.snapshot.hash,
        "protocol": parts.protocol,
        "test_fingerprint": same_rows(entries),
        "test_users": len(judged[0].per_user["ndcg_at_10"]) if judged else None,
        "level": config.evaluate.level,
        "leaderboard": rank(entries, config.evaluate),
        "warnings": [*valid.warnings, *comparison.store.manifest(f"prepared/{parts.key}")["notes"]],
        "cached": comparison.clock.cached,
    }
