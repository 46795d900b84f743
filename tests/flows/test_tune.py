"""A search: what it is told, that no test row speaks in it, and a whole one with its night."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from flows import tune as tuning
from flows.config import Settings, TuneConfig
from flows.options import options_of, parse, read_options
from flows.trial import Job, fit_trial, run_trial
from flows.tune import Search, tune, with_search
from flows.tuned import as_csv, as_markdown, describe, notes, table_of, title, trial_line
from models.registry import MODELS, model_class
from models.search import Choice, Real, Whole
from tasks.errors import ConfigError, RunFailed
from tasks.gc.found import find_old
from tasks.gc.kept import Keep
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives, SplitConfig
from tasks.split.task import split
from tasks.store.refs import SampleRefs
from tasks.store.store import Store
from tasks.train.task import train
from tasks.tune.slots import DIED, DONE, STEP
from tasks.tune.study import Study, Tried
from tests.factories import make_snapshot, tiny_log
from tests.flows.test_retrain import Place, Ran

SYNTHETIC = (
    "--ingest.source=synthetic", "--ingest.rows=4000", "--ingest.users_count=150", "--ingest.items_count=120",
    "--split.protocol=leave_last_out", "--trainer.epochs=4", "--trainer.device=cpu",
)  # fmt: skip

# what is told


def told(*words: str, file: Path | None = None) -> TuneConfig:
    config = read_options(parse(words), str(file) if file else None, "tune").config
    assert isinstance(config, TuneConfig)
    return config


@pytest.mark.parametrize("name", [name for name in MODELS if model_class(name).Config.search])
def test_every_models_own_space_is_searched_whole(name: str) -> None:
    config = told(f"--model.name={name}")
    assert config.space == model_class(name).Config.search
    night = config.night({})
    assert night == read_options(parse([f"--model.name={name}"]), None).config
    for option, value in config.first.items():
        section, field = option.split(".")
        assert getattr(getattr(night, section), field) == value


def test_a_night_with_drawn_settings_is_the_night_that_names_them() -> None:
    drawn = {"model.dim": 20, "trainer.learning_rate": 0.03, "model.l2": 0.02}
    words = ["--model.name=gmf", "--split.test_share=.2", "--gate.seeds=2", "--trainer.patience=3"]
    flags = [f"--{name}={value}" for name, value in drawn.items()]
    assert told(*words).night(drawn) == read_options(parse([*words, *flags]), None).config


def test_what_a_setting_decides_is_decided_anew_in_each_trial() -> None:
    config = told("--search={trainer.optimizer: [sgd, adam]}")
    rates = [config.night({"trainer.optimizer": name}).trainer.learning_rate for name in ("sgd", "adam")]
    assert rates == [0.1, 0.01]
    assert config.first == {"trainer.optimizer": "sgd"}


def test_what_is_set_stays_and_what_makes_no_sense_beside_it_is_not_varied() -> None:
    assert "model.dim" not in told("--model.name=mind", "--model.dim=32").space
    assert "trainer.learning_rate" not in told("--model.name=mind", "--trainer.learning_rate=.01").space
    assert "model.dim" in told("--model.name=mind", "--model.dim=64").space  # it is the default, as forms send it
    assert "model.history_length" not in told("--model.name=mind", "--sample.history_length=20").space
    assert "model.temperature" not in told("--model.name=lightgcn", "--model.loss=bpr").space
    assert "model.interests" not in told("--model.name=mind", "--model.power=1").space  # has no meaning with one


def test_a_search_of_ones_own_takes_the_place_of_the_models(tmp_path: Path) -> None:
    file = tmp_path / "tune.yaml"
    file.write_text(
        "trials: 7\nmodel: {name: bpr_mf}\n"
        "search:\n  model.dim: [16, 32]\n  trainer: {learning_rate: {low: 1, high: 2}}\n"
    )
    config = told(file=file)
    assert config.space == {"model.dim": Choice(values=(16, 32)), "trainer.learning_rate": Real(low=1, high=2)}
    assert config.first == {}  # the defaults lie beyond: the first trial is the night as it is
    whole = told("--search={model.dim: {low: 8, high: 64}, trainer.schedule.warmup: {low: 0, high: 3}}")
    assert whole.space["model.dim"] == Whole(low=8, high=64)
    assert whole.night({"trainer.schedule.warmup": 2}).trainer.schedule.warmup == 2
    assert TuneConfig.model_validate(config.model_dump(mode="json")).space == config.space
    assert config.resolved() == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.name=popularity"], "popularity has nothing to tune; name what varies, as in --search="),
        (["--model.name=blend"], "blend has nothing to tune"),
        (["--model.name=ease", "--model.l2=5", "--model.decay=.5"], "search: all that it varies is set"),
        (["--search={model.dmi: [1, 2]}"], "search: model.dmi: there is no such field; did you mean dim?"),
        (["--search={model.dim: [1]}"], "search: model.dim: a choice is of two values or more"),
        (["--search={model.dim: 7}"], "search: model.dim: write a list as [32, 64]"),
        (["--search={model.dim: {low: 1.5, high: 3}}"], "search: model.dim: Input should be a valid integer"),
        (["--search={model.dim: {low: -3, high: 3}}"], "search: model.dim: -3: Input should be greater than 0"),
        (["--search={model.dim: {low: 9, high: 3}}"], "search: model.dim: low of 9 is not below high of 3"),
        (["--search={trainer.optimizer: [sgd, adamm]}"], "search: trainer.optimizer: adamm: Input should be 'sgd'"),
        (["--search={gate.seeds: [1, 2]}"], "search: gate.seeds: only model.* and trainer.* and sample.* are varied"),
        (["--search={trainer.seed: [1, 2]}"], "search: trainer.seed is luck, not a setting"),
        (["--search={model: [1, 2]}"], "search: model: only model.*"),
        (["--search=[1, 2]"], "search: Input should be a valid dictionary"),
        (["--trainer.initial_weights=w.safetensors"], "go on with one model's fit: use encore retrain"),
        (["--trainer.initial_epoch=3"], "go on with one model's fit"),
        (["--trials=0"], "trials: Input should be greater than 0"),
        (["--trails=3"], "unknown option trails"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(*words)
    assert caught.value.exit_status == 2
    assert message in caught.value.message
    assert "\n" not in str(caught.value)


def test_help_and_run_form_know_the_search() -> None:
    from prefect.utilities.schema_tools.validation import validate as check_schema

    names = {name for name, _, _ in options_of("tune")}
    assert {"trials", "workers", "search", "model.name", "gate.seeds", "data_dir"} <= names
    schema = tune.parameters.model_dump()
    defaults = {name: field["default"] for name, field in schema["properties"].items()}
    check_schema(defaults, schema, raise_on_error=True)
    sent = tune.validate_parameters(defaults)
    assert TuneConfig.model_validate(sent["config"]).space == model_class("bpr_mf").Config.search


# a trial


def prepared(store: Store) -> SampleRefs:
    rows = [(user, 2 * ((user + n) % 10) + user % 2, n) for user in range(40) for n in range(8)]
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows)), SplitConfig(protocol="leave_last_out"))
    return sample.fn(store, parts)


def job(store: Store, samples: SampleRefs, name: str, **params: Any) -> Job:
    words = [f"--model.name={name}", "--trainer.epochs=3", "--trainer.device=cpu", "--split.protocol=leave_last_out"]
    if not model_class(name).Config.recommended:
        del words[1]
    night = told(*words).night(params)
    return Job(store, sample_windows.fn(store, samples, night.model, night.sample.sampling, 0), night)


class Heard:
    """Remembers what is reported, and says no after so many."""

    def __init__(self, patience: int = 99) -> None:
        self.values: dict[int, float] = {}
        self.patience = patience

    def __call__(self, step: int, value: float, more: Any) -> bool:
        self.values[step] = value
        assert more["metrics"]["ndcg_at_10"] == value
        return len(self.values) < self.patience


@pytest.mark.parametrize("name", ["bpr_mf", "mind", "ease"])
def test_no_trial_reads_a_row_of_the_test(name: str, store: Store) -> None:
    """Everything that holds a test row, or was made with one, is taken away: nothing changes."""
    samples = prepared(store)
    asked = job(store, samples, name)
    before, heard = run_trial(asked, first := Heard()), Heard()
    assert before["state"] == "complete"
    with_test_rows = (samples.split.test, samples.served, samples.seen_served, samples.seen_known, samples.known)
    gone = {store.path(ref.path) for ref in with_test_rows} | set((store.root / "lake").rglob("*.parquet"))
    for path in gone:
        path.unlink()
    after = run_trial(asked, heard)
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert heard.values == first.values
    assert len(heard.values) == (3 if name != "ease" else 0)


def test_a_trial_is_worth_its_best_validated_epoch_without_a_refit(store: Store) -> None:
    asked = job(store, prepared(store), "bpr_mf")
    came = run_trial(asked, heard := Heard())
    assert came["value"] == max(heard.values.values())
    assert heard.values[came["best_epoch"]] == came["value"]
    assert list(heard.values) == [1, 2, 3]
    assert asked.night.trainer.refit
    assert not fit_trial(asked, Heard()).refitted


@pytest.mark.parametrize("name", ["bpr_mf", "sasrec", "item_knn"])
def test_a_trial_is_worth_what_the_nights_own_training_says(name: str, store: Store) -> None:
    """Where pairs repeat and are not masked, rows have weights, users have features, and histories are cut short."""
    rng = np.random.default_rng(0)
    kinds = {"view": 1, "buy": 9}
    rows = [
        (user, 2 * ((user + int(rng.integers(6))) % 8) + user % 2, n, None, "buy" if rng.random() < 0.2 else "view")
        for user in range(40)
        for n in range(10)
    ]
    people = pa.table({"user_id": [str(user) for user in range(40)], "kind": [str(user % 2) for user in range(40)]})
    config = SplitConfig(protocol="leave_last_out", repeats="keep")
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows), users=people), config, Positives(events=kinds))
    asked = job(store, sample.fn(store, parts), name)
    sampling = asked.night.sample.model_copy(update={"history_length": 4})
    asked = replace(asked, night=asked.night.model_copy(update={"sample": sampling}))
    night, length = asked.night, asked.night.sample.history_length
    own = train.fn(store, asked.samples, night.model, night.trainer, night.sample.sampling, length)
    came = run_trial(asked, Heard())
    record = store.manifest(own.path)
    assert (came["value"], came["best_epoch"]) == (record["valid"]["ndcg_at_10"], record["best_epoch"])
    whole = replace(asked, samples=replace(asked.samples, split=replace(asked.samples.split, keeps_repeats=False)))
    assert run_trial(whole, Heard())["value"] != came["value"]  # else nothing is tested
    if name == "bpr_mf":
        alike = replace(asked, samples=replace(asked.samples, fitted_weights=None))
        assert run_trial(alike, Heard())["value"] != came["value"]


def test_a_trial_is_given_up_where_the_answer_is_no(store: Store) -> None:
    asked = job(store, prepared(store), "bpr_mf")
    assert run_trial(asked, heard := Heard(patience=2)) == {"state": "pruned"}
    assert list(heard.values) == [1, 2]


def test_a_trial_that_diverges_fails_with_the_reason(store: Store) -> None:
    came = run_trial(job(store, prepared(store), "bpr_mf", **{"model.init_std": 1e30}), Heard())
    assert came["state"] == "failed"
    assert came["error"].startswith("training diverged: ")


# the search, its trials here instead of in processes


class Here:
    """Slots whose work is scripted, in this process; what they say is taken in turn."""

    script: ClassVar[list[Callable[[Job], Iterator[tuple[str, Any]]]]] = []

    def __init__(self, work: Any, workers: int) -> None:
        self.all = [HereSlot() for _ in range(workers)]

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def speaking(self, busy: list[Any]) -> list[Any]:
        return busy[:1]


class HereSlot:
    def begin(self, job: Job) -> None:
        self.said = iter(Here.script[0](job))
        self.answers: list[bool] = []

    def receive(self) -> tuple[str, Any]:
        said: tuple[str, Any] = next(self.said)
        return said

    def answer(self, go_on: bool) -> None:
        self.answers.append(go_on)
        if not go_on:
            self.said = iter([(DONE, {"state": "pruned"})])


def epochs(*values: float) -> Iterator[tuple[str, Any]]:
    """What a trial says that has these validation values."""
    for number, value in enumerate(values, start=1):
        figures = {"loss": 1.0, "samples": 10, "seconds": 0.1, "metrics": {"ndcg_at_10": value}}
        yield STEP, (number, value, figures)
    done = {"value": max(values), "seconds": 2.0, "best_epoch": int(np.argmax(values)) + 1, "n_parameters": 9}
    yield DONE, {"state": "complete", **done}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("search")
    return Settings(data_dir=root / "data", tracking_uri=f"sqlite:///{root}/mlflow.db").resolved()


@pytest.fixture
def samples(settings: Settings) -> SampleRefs:
    return prepared(settings.store)


def direct(self: Search, name: str, work: Any, *args: Any) -> Any:
    """A step without Prefect."""
    return work.fn(*args)


def searched(
    config: TuneConfig, settings: Settings, samples: SampleRefs, script: Any, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A search without preparation and night."""
    monkeypatch.setattr(tuning, "Slots", Here)
    monkeypatch.setattr(Here, "script", [script])
    monkeypatch.setattr(Search, "step", direct)
    with Search(config, settings, time.time()) as search:
        search.facts = {"snapshot": "s", "protocol": "random", "validation_rows": 40}
        study = search.open(samples)
        search.run_trials(study, samples)
        return search.finish(study)


def test_trials_are_runs_below_the_search_with_their_curves(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(job: Job) -> Iterator[tuple[str, Any]]:
        rate = job.night.trainer.learning_rate
        assert rate is not None
        return epochs(0.1, 0.2 + rate / 10, 0.15)

    config = told("--experiment=runs", "--trials=5", "--workers=2", *SYNTHETIC)
    found = searched(config, settings, samples, script, monkeypatch)
    client = MlflowClient(settings.tracking_uri)
    parent = client.get_run(found["run_id"])
    below = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{found['run_id']}'")
    by_trial = {int(run.data.tags["trial"]): run for run in below}
    assert sorted(by_trial) == [0, 1, 2, 3, 4]
    for row in found["trials"]:
        run = by_trial[row["trial"]]
        assert (row["run_id"], run.info.status, row["state"]) == (run.info.run_id, "FINISHED", "complete")
        assert run.data.metrics["best/valid/ndcg_at_10"] == pytest.approx(
            0.2 + row["params"]["trainer.learning_rate"] / 10
        )
        assert run.data.params["trainer.learning_rate"] == str(row["params"]["trainer.learning_rate"])
        assert not [name for name in run.data.params if name.startswith("gate.")]
        curve = client.get_metric_history(run.info.run_id, "valid/ndcg_at_10")
        assert [(point.step, round(point.value, 3)) for point in curve][::2] == [(1, 0.1), (3, 0.15)]
        assert run.data.tags["mlflow.note.content"].startswith(f"trial {row['trial']}: NDCG@10 0.2")
    best = max(found["trials"], key=lambda row: row["value"])
    assert found["best"] == best
    assert found["default"] == found["trials"][0]
    assert parent.data.metrics["best/valid/ndcg_at_10"] == best["value"]
    assert parent.data.tags["best_trial"] == str(best["trial"])
    assert parent.data.params["search.model.dim"] == "16 to 256 by its logarithm"
    files = {file.path for file in client.list_artifacts(found["run_id"])}
    assert files == {"trials.csv", "history.png", "history.svg", "slices.png", "slices.svg"}
    assert "5 trials (5 complete)" in parent.data.tags["mlflow.note.content"]


def test_failures_and_deaths_are_trials_too_and_the_rest_goes_on(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = iter(
        [
            epochs(0.3),
            iter([(DIED, -9)]),
            iter([(DONE, {"state": "failed", "error": "training diverged: nan"})]),
            epochs(0.2),
        ]
    )
    config = told("--experiment=failures", "--trials=4", "--trainer.seed=5", *SYNTHETIC)
    found = searched(config, settings, samples, lambda job: next(scripts), monkeypatch)
    assert [row["state"] for row in found["trials"]] == ["complete", "failed", "failed", "complete"]
    assert found["trials"][1]["error"] == "its process died (-9): perhaps for want of memory"
    assert found["best"]["trial"] == 0
    run = MlflowClient(settings.tracking_uri).get_run(found["trials"][2]["run_id"])
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "training diverged: nan")


def test_settings_that_make_no_sense_together_are_a_failed_trial(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = "--search={model.dim: [64, 63], model.heads: [1, 2]}"
    with pytest.raises(ConfigError, match="is not divided by"):
        told("--model.name=sasrec", space)  # an end that never makes sense is refused at once
    space = "--search={model.interests: [1, 2], model.power: [hard, 1.0]}"
    config = told("--model.name=mind", space, "--trials=9", "--experiment=nonsense", *SYNTHETIC)
    found = searched(config, settings, samples, lambda job: epochs(0.1), monkeypatch)
    for row in found["trials"]:
        idle = row["params"] == {"model.interests": 1, "model.power": 1.0}  # each of them makes sense with the default
        assert row["state"] == ("failed" if idle else "complete")
        assert ("power has no meaning with one interest" in row.get("error", "")) == idle
    assert {row["state"] for row in found["trials"]} == {"complete", "failed"}


def test_where_all_trials_fail_the_search_does(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = told("--experiment=all", "--trials=2", "--trainer.seed=3", *SYNTHETIC)
    script = [(DONE, {"state": "failed", "error": "training diverged: nan"})]
    with pytest.raises(RunFailed, match="all 2 trials failed: training diverged: nan") as caught:
        searched(config, settings, samples, lambda job: iter(script), monkeypatch)
    assert caught.value.exit_status == 1


def test_an_interrupted_search_goes_on_and_shows_all_its_trials_below_one_run(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    seen: list[dict[str, Any]] = []

    def dies(job: Job) -> Iterator[tuple[str, Any]]:
        seen.append(job.night.model.model_dump())
        if len(seen) == 4:
            raise Killed
        return epochs(0.1 * len(seen))

    config = told("--experiment=interrupted", "--trials=6", "--trainer.seed=4", *SYNTHETIC)
    with pytest.raises(Killed):
        searched(config, settings, samples, dies, monkeypatch)
    again: list[dict[str, Any]] = []

    def goes_on(job: Job) -> Iterator[tuple[str, Any]]:
        again.append(job.night.model.model_dump())
        return epochs(0.05)

    found = searched(config, settings, samples, goes_on, monkeypatch)
    assert again[0] == seen[3]  # the one that was being tried is repeated, and no other
    assert len(again) == 3
    assert [row["trial"] for row in found["trials"]] == [0, 1, 2, 3, 4, 5]
    assert found["best"]["trial"] == 2
    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_run(found["run_id"]).info.experiment_id
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{found['run_id']}'")
    assert {run.info.run_id for run in below} == {row["run_id"] for row in found["trials"]}
    more = config.model_copy(update={"trials": 7})
    assert len(searched(more, settings, samples, goes_on, monkeypatch)["trials"]) == 7
    assert len(again) == 4


def test_other_rows_settings_spaces_or_code_are_another_search(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = told("--experiment=keys", *SYNTHETIC)
    changed = [
        config.model_copy(update={"trials": 3, "workers": 2}),
        told("--experiment=keys", "--search={model.dim: [1, 2]}", *SYNTHETIC),
        told("--experiment=keys", "--trainer.seed=1", *SYNTHETIC),
        told("--experiment=keys", "--model.loss=hinge", *SYNTHETIC),
        told("--experiment=keys", "--sample.weights=user", *SYNTHETIC),
    ]
    other = replace(samples, split=replace(samples.split, valid=replace(samples.split.valid, fingerprint="other")))
    with Search(config, settings, time.time()) as search:

        def key(told: TuneConfig, rows: SampleRefs) -> Any:
            search.config = told
            search.open(rows)
            return search.facts["study"]

        first = key(config, samples)
        keys = [key(one, samples) for one in changed]
        assert keys[0] == first
        assert len({first, *keys[1:], key(config, other)}) == 6
        monkeypatch.setattr(tuning, "code_hash", lambda module: "changed")
        assert key(config, samples) != first


def test_a_trial_reads_the_rows_that_the_night_would_draw(
    settings: Settings, samples: SampleRefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the items that each row is compared with are stored beside it, by the night's seed."""
    seen: list[Job] = []

    def script(job: Job) -> Iterator[tuple[str, Any]]:
        seen.append(job)
        return epochs(0.1)

    words = ("--model.name=mind", "--sample.stored=true", "--trainer.seed=5", "--experiment=stored", "--trials=1")
    searched(told(*words, *SYNTHETIC), settings, samples, script, monkeypatch)
    (job,) = seen
    night = job.night
    own, other = (
        sample_windows.fn(settings.store, samples, night.model, night.sample.sampling, seed).windows for seed in (5, 0)
    )
    assert job.samples.windows == own != other


def test_an_old_search_can_be_tidied_up_with_its_dataset(settings: Settings, samples: SampleRefs) -> None:
    with Search(told("--experiment=old", *SYNTHETIC), settings, time.time()) as search:
        search.open(samples)
        folder = search.facts["study"]

    def found(dataset: str, before: datetime) -> set[str]:
        old = find_old(settings.store, dataset, Keep.of([], frozenset()), before, None, ())
        return {trace.name for trace in old}

    dataset, later = samples.split.dataset, datetime.now(UTC) + timedelta(minutes=1)
    assert folder in found(dataset, later)
    assert folder not in found(dataset, later - timedelta(days=1))
    assert folder not in found("another", later)


# for people

TRIED = [
    {"trial": 0, "state": "complete", "value": 0.5, "params": {"model.dim": 64}, "seconds": 1.0, "run_id": "r0"},
    {"trial": 1, "state": "pruned", "value": 0.9, "params": {"model.dim": 8}, "run_id": "r1"},
    {"trial": 2, "state": "failed", "value": None, "params": {"model.dim": 9}, "error": "diverged", "run_id": "r2"},
    {"trial": 3, "state": "complete", "value": 0.6, "params": {"model.dim": 128}, "seconds": 2.0, "run_id": "r3"},
]
FOUND = {
    "trials": TRIED, "space": {"model.dim": "8 to 128"}, "best": TRIED[3], "validation_rows": 1234,
    "counts": {"complete": 2, "pruned": 1, "failed": 1}, "importance": {"model.dim": 1.0},
    "seconds": {"startup": 4.0, "total": 30.0},
}  # fmt: skip


def test_the_table_has_the_best_on_top_and_what_was_given_up_below() -> None:
    heads, rows = table_of(FOUND)
    assert heads == ["trial", "NDCG@10", "seconds", "dim", ""]
    assert rows == [
        ["3", "0.6000", "2.0", "128", ""],
        ["0", "0.5000", "1.0", "64", "the defaults"],
        ["1", "0.9000", "", "8", "given up"],
    ]
    many = [{**TRIED[3], "trial": place, "value": 0.6 + place} for place in range(1, 15)]
    shown = table_of({**FOUND, "trials": [TRIED[0], *many]})[1]
    assert [row[0] for row in shown] == [*map(str, range(14, 4, -1)), "0"]
    assert title(FOUND) == "4 trials (2 complete, 1 pruned, 1 failed), by 1,234 validation rows"
    assert notes(FOUND)[:2] == ["what the best tenth differ by: dim 100%", "trial 2 failed: diverged"]
    assert "| 3 | 0.6000 | 2.0 | 128 |  |" in as_markdown(FOUND)
    assert as_csv(FOUND).splitlines()[:2] == [
        "trial,state,value,seconds,run_id,model.dim,error",
        "0,complete,0.5,1.0,r0,64,",
    ]


def test_a_trial_in_a_line() -> None:
    one = Tried(3, "complete", 0.12345, {"model.dim": 64, "model.l2": 0.0123456}, {"seconds": 1.26})
    assert trial_line(one, one) == "trial 3: NDCG@10 0.1235 in 1.3 s, the best so far (dim=64, l2=0.01235)"
    assert trial_line(Tried(0, "pruned", 0.2, {}), one) == "trial 0: given up at 0.2000 (all left to the fit)"
    failed = Tried(1, "failed", None, {"model.dim": 3}, {"error": "diverged"})
    assert trial_line(failed, one) == "trial 1: failed: diverged (dim=3)"
    assert describe(Choice(values=("a", None))) == "a, None"


def test_the_nights_seconds_begin_where_it_did() -> None:
    night = {"seconds": {"startup": 31.0, "train": 2.0, "total": 40.0}, "run_id": "n"}
    made = with_search(night, FOUND)
    assert made["seconds"] == {"startup": 4.0, "train": 2.0, "total": 40.0, "search": 26.0}
    assert made["tune"] is FOUND


# one whole search


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_ends_with_one_night(tmp_path: Path, prefect_database: None) -> None:
    place, words = Place(tmp_path), ("tune", *SYNTHETIC, "--trials=6", "--workers=2")
    environment = {**os.environ, "ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows", *words], cwd=tmp_path, env=environment, stdout=file, stderr=file
        )
        while "trial 2: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (study,) = (tmp_path / "data/tuning").iterdir()
    config = told(*words[1:])
    before = {one.place: one for one in Study(study, config.space, config.first, 0).tried}
    ran: Ran = place.encore(*words)
    assert ran.status == 0, ran.err
    found = ran.result["tune"]
    assert [row["trial"] for row in found["trials"]] == list(range(6))
    for row in found["trials"]:
        if row["trial"] in before:
            assert (row["value"], row["run_id"]) == (before[row["trial"]].value, before[row["trial"]].told["run_id"])
    assert ran.result["model"]["config"]["dim"] == found["best"]["params"]["model.dim"]
    assert ran.result["metrics"]["valid/ndcg_at_10"] == pytest.approx(found["best"]["value"])
    assert ran.result["decision"]["checks"]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(found["run_id"]).data.tags["night"] == ran.result["run_id"]
    assert client.get_run(ran.result["run_id"]).data.tags["tuned_by"] == found["run_id"]
    for text in ("6 trials", "the best of many is lucky", "item_knn"):
        assert text in ran.out
    assert len(client.search_model_versions("name = 'encore-synthetic'")) == 1  # no trial is registered
