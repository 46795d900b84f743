"""A search for better settings of one model, on the validation rows only; it ends with a night, judged once."""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from prefect import flow
from pydantic import ValidationError

from flows.command import process_start
from flows.config import Settings, TuneConfig
from flows.night import Surroundings
from flows.retrain import retrain
from flows.trial import Job, run_trial
from flows.tuned import Bar, as_csv, as_markdown, search_result, trial_line
from flows.tuned import show as show  # the command prints by it
from models.registry import modules_used
from tasks.errors import RunFailed
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.record.figures import flatten
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives
from tasks.split.task import split
from tasks.store.atomic import write_json
from tasks.store.keys import code_hash, make_key
from tasks.store.refs import SampleRefs
from tasks.tracking.runs import Run, epoch_metrics
from tasks.tune.plots import draw_history, draw_slices
from tasks.tune.slots import BROKEN, DIED, STEP, Slot, Slots
from tasks.tune.study import METRIC, Asked, Study, Tried
from tasks.validate.task import validate

LOG = logging.getLogger("encore.tune")
ANY = TuneConfig()
HERE = Settings()
VARIED = {"model", "trainer", "sample"}  # the sections of a night that a trial's run shows


@flow(name="tune", flow_run_name="{config.ingest.source} {config.model.name}")
def tune(config: TuneConfig = ANY, settings: Settings = HERE) -> dict[str, Any]:
    """Searches by the validation rows, then runs one night with the best: only that one sees the test rows."""
    config, settings = config.resolved(), settings.resolved()
    with Search(config, settings, process_start()) as search:
        study = search.open(samples := search.prepare())
        search.run_trials(study, samples)
        found = search.finish(study)
    result = retrain(config.night(found["best"]["params"]), settings)
    link(search.run, result)
    return with_search(result, found)


class Search(Surroundings):
    """One run of the tune flow, with a run below it for each trial."""

    def __init__(self, config: TuneConfig, settings: Settings, started: float) -> None:
        super().__init__("tune", config.dataset, config.experiment, settings, started, f"tune {config.model.name}")
        self.config = config
        self.tags |= {"model": config.model.name}
        self.facts: dict[str, Any] = {}

    def prepare(self) -> SampleRefs:
        """The rows, as a night prepares them. Raises RunFailed where none of them can choose."""
        config, store, step = self.config, self.store, self.step
        files = identify(config.ingest, store)
        rules = (config.checks, self.settings.night, config.ingest.appends)
        staged = step("ingest", ingest, store, config.ingest, files)
        valid = step("validate", validate, store, staged.files, config.dataset, *rules)
        chosen = (Positives.of(config.ingest), config.evaluate.candidates)
        parts = step("split", split, store, valid.snapshot, config.split, *chosen)
        samples: SampleRefs = step("sample", sample, store, parts, config.evaluate.candidates)
        if not parts.valid.rows:
            raise RunFailed("the split has no validation rows to choose by", "set split.valid_share, or use retrain")
        self.facts = {"snapshot": valid.snapshot.hash, "protocol": parts.protocol, "validation_rows": parts.valid.rows}
        return samples

    def open(self, samples: SampleRefs) -> Study:
        """The trials so far: those of a search over the same rows, space, configuration and code go on."""
        config, parts, base = self.config, samples.split, self.config.night({})
        rows = [ref.fingerprint for ref in (samples.fitted, parts.valid, parts.users)]
        code = [code_hash(name) for name in (*modules_used(config.model), "tasks.tune.study", "tasks.sample.windows")]
        asked = (config.space, base.model, base.trainer, base.sample)
        key = make_key("flows.trial", parts.key, rows, *asked, code)
        self.facts["study"] = f"tuning/{key}"
        write_json(self.store.path(f"tuning/{key}/made_from.json"), parts.snapshot.made_from)  # `encore gc` asks whose
        known = (config.space, config.first, base.trainer.seed, config.workers, base.trainer.epochs or 0)
        study = Study(self.store.path(self.facts["study"]), *known)
        if study.tried or study.repeated:
            LOG.info("going on: %d trials are done, %d are repeated", len(study.tried), study.repeated)
        for one in study.tried:  # what an interrupted search tried is shown below this run
            with suppress(Exception):  # another tracking database does not know it
                self._run_of(one).set_tags({"mlflow.parentRunId": self.run.run_id})
        return study

    def run_trials(self, study: Study, samples: SampleRefs) -> None:
        """Tries what is left, `workers` at a time. The same search with other workers tries other things."""
        if not study.is_open(self.config.trials):
            return
        busy: dict[Slot, Trial] = {}
        with Slots(run_trial, self.config.workers) as slots, Bar(self.config) as bar:
            while True:
                for slot in slots.all:
                    if slot not in busy and study.is_open(self.config.trials):
                        if (trial := self._begin(study, samples, slot)) is not None:
                            busy[slot] = trial
                        bar.update(study)
                if not busy and not study.is_open(self.config.trials):
                    return
                for slot in slots.speaking(list(busy)) if busy else []:
                    if self._hear(study, slot, busy[slot]):
                        del busy[slot]
                        bar.update(study)

    def _begin(self, study: Study, samples: SampleRefs, slot: Slot) -> "Trial | None":
        """Hands the next trial to a process; None where its settings make no sense together."""
        asked = study.ask()
        label = f"trial {asked.place}"
        run = self.run.child(label, {**self.tags, "label": label, "trial": str(asked.place)})
        trial = Trial(asked, run)
        try:
            night = self.config.night(asked.params)
        except ValidationError as error:
            self._over(study, trial, {"state": "failed", "error": str(error.errors()[0]["msg"])})
            return None
        run.log_params(flatten(night.model_dump(mode="json", include=VARIED)))
        whole = (samples, night.model, night.sample.sampling, night.trainer.seed)
        slot.begin(Job(self.store, self.step("sample", sample_windows, self.store, *whole), night))
        return trial

    def _hear(self, study: Study, slot: Slot, trial: "Trial") -> bool:
        """Takes what a process says. True where its trial is over."""
        kind, content = slot.receive()
        if kind == STEP:
            epoch, value, more = content
            trial.run.log_metrics(epoch_metrics(**more), epoch)
            slot.answer(not study.report(trial.asked.number, epoch, value))
            return False
        if kind == BROKEN:
            raise RuntimeError(f"trial {trial.asked.place} with {dict(trial.asked.params)}:\n{content}")
        if kind == DIED:
            content = {"state": "failed", "error": f"its process died ({content}): perhaps for want of memory"}
        self._over(study, trial, content)
        return True

    def _over(self, study: Study, trial: "Trial", came: dict[str, Any]) -> None:
        """Keeps what came of a trial, in the study and in MLflow, and says it."""
        run, state = trial.run, came["state"]
        study.tell(trial.asked.number, **came, run_id=run.run_id)
        tried = next(one for one in study.tried if one.place == trial.asked.place)
        costs = {"seconds/train": came.get("seconds"), "n_parameters": came.get("n_parameters")}
        figures = {f"best/valid/{METRIC}": tried.value, f"valid/{METRIC}": tried.value, **costs}
        if came.get("best_epoch") or state == "pruned":  # the epochs are a curve already
            del figures[f"valid/{METRIC}"]
        run.log_metrics({name: float(value) for name, value in figures.items() if value is not None})
        run.set_tags({"state": state, **({"error": came["error"]} if "error" in came else {})})
        run.finish("FAILED" if state == "failed" else "FINISHED", trial_line(tried, study.best))
        LOG.info("%s", trial_line(tried, study.best))

    def finish(self, study: Study) -> dict[str, Any]:
        """Ends the search's own run. Returns what it found. Raises RunFailed where no trial came to its end."""
        best, config = study.best, self.config
        found = search_result(study, self.facts, self.run.run_id)
        self.run.log_params({"trials": config.trials, "workers": config.workers})
        self.run.log_params(flatten(config.night({}).model_dump(mode="json")))
        self.run.log_params({f"search.{name}": space for name, space in found["space"].items()})
        self.run.log_text(as_csv(found), "trials.csv")
        if best is None:
            errors = [str(one.told["error"]) for one in study.tried if "error" in one.told]
            first = f": {errors[0]}" if errors else ""
            raise RunFailed(f"all {len(study.tried)} trials failed{first}", "set --search to something milder")
        counts = {f"trials/{state}": float(count) for state, count in found["counts"].items()}
        self.run.log_metrics({f"best/valid/{METRIC}": found["best"]["value"], **counts})
        self.run.set_tags({"best_trial": str(best.place), **{name: str(self.facts[name]) for name in self.facts}})
        pictures = {"history": draw_history(study.tried, best), "slices": draw_slices(study.tried, best, study.space)}
        for name, figure in pictures.items():
            self.run.log_figure(figure, f"{name}.png")
            self.run.log_figure(figure, f"{name}.svg")
        return self.end(found, as_markdown)

    def _run_of(self, tried: Tried) -> Run:
        return replace(self.run, run_id=str(tried.told["run_id"]))


@dataclass(frozen=True)
class Trial:
    """A trial that a process has, and its run."""

    asked: Asked
    run: Run


def link(search: Run, result: dict[str, Any]) -> None:
    """The search's run names the night's, and the other way round."""
    search.set_tags({"night": result["run_id"]})
    replace(search, run_id=result["run_id"]).set_tags({"tuned_by": search.run_id})


def with_search(result: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The night's result, with the search beside it; its seconds are a step of their own, and no start-up."""
    own = found["seconds"]
    seconds = {**result["seconds"], "startup": own["startup"], "search": own["total"] - own["startup"]}
    return {**result, "seconds": seconds, "tune": found}
