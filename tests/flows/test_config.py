"""The one configuration: what is filled in, what excludes what, and that it cannot change."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from flows.config import PipelineConfig, Settings
from flows.contest import fit
from models.fitting.config import SamplingConfig
from models.fitting.history import HistoryModelConfig
from models.registry import MODELS, make_config, model_class
from tasks.store.keys import make_hash


def config(**sections: object) -> PipelineConfig:
    return PipelineConfig.model_validate(sections)


def test_defaults_that_depend_on_other_fields_are_filled_in() -> None:
    resolved = config().resolved()
    assert (resolved.ingest.name, resolved.experiment, resolved.registered_model) == (
        "movielens-100k",
        "movielens-100k",
        "encore-movielens-100k",
    )
    own = config(ingest={"name": "mine"}, experiment="e", registered_model="r").resolved()
    assert (own.ingest.name, own.experiment, own.registered_model) == ("mine", "e", "r")
    assert resolved.resolved() == resolved


@pytest.mark.parametrize("name", MODELS)
def test_an_unset_trainer_field_takes_the_models_own_value(name: str) -> None:
    recommended = model_class(name).Config.recommended
    trainer = config(model={"name": name}, trainer={"epochs": 3}).resolved().trainer
    assert trainer.epochs == 3
    for field, value in recommended.items():
        if field != "epochs":
            assert getattr(trainer, field) == value


def test_the_model_completes_the_sampling_and_its_trainer_suits_it() -> None:
    resolved = config(sample={"negatives": 3}).resolved()
    assert (resolved.sample.distribution, resolved.sample.negatives, resolved.sample.shared) == ("uniform", 3, False)
    assert (config().resolved().trainer.optimizer, resolved.trainer.optimizer) == ("sgd", "adam")
    assert make_hash(resolved) != make_hash(config().resolved())


def test_a_night_trains_with_its_sampling_and_its_history_length() -> None:
    class Stopped(Exception):
        pass

    def step(name: str, work: object, *args: Any) -> str:
        told.append([name, *args])
        if name == "train":
            raise Stopped
        return "samples with windows"

    told: list[Any] = []
    own = config(sample={"negatives": 3, "history_length": 7}, trainer={"seed": 5})
    night: Any = SimpleNamespace(config=own, store="store", step=step, configuration="c")
    with pytest.raises(Stopped):
        fit(night, "samples", None, own.trainer, "callbacks")  # type: ignore[arg-type]
    drawn = SamplingConfig(negatives=3)
    assert told == [
        ["sample", "store", "samples", own.model, drawn, 5],
        ["train", "store", "samples with windows", own.model, own.trainer, drawn, 7, "callbacks", None],
    ]


WINDOWED = [name for name in MODELS if issubclass(model_class(name).Config, HistoryModelConfig)]


@pytest.mark.parametrize("name", WINDOWED)
def test_the_length_of_histories_is_one_number_wherever_it_is_set(name: str) -> None:
    usual = config(model={"name": name}).resolved()
    assert usual.sample.history_length == usual.model.shown == make_config(name).shown
    of_sample = config(model={"name": name}, sample={"history_length": 7}).resolved()
    of_model = config(model={"name": name, "history_length": 7}).resolved()
    assert of_sample.model == of_model.model
    assert (of_sample.model.shown, of_sample.sample.history_length) == (7, 7)
    assert make_hash(of_sample) == make_hash(of_model)
    assert of_sample.resolved() == of_sample
    assert PipelineConfig.model_validate(of_sample.model_dump(mode="json")).resolved() == of_sample
    with pytest.raises(ValidationError, match=r"model\.history_length is 9 and sample\.history_length is 7: set one"):
        config(model={"name": name, "history_length": 9}, sample={"history_length": 7})
    # also where the model's own is said aloud
    with pytest.raises(ValidationError, match="set one of them"):
        config(model={"name": name, "history_length": make_config(name).shown}, sample={"history_length": 7})
    assert config(model={"name": name, "history_length": 7}, sample={"history_length": 7}).resolved() == of_sample


def test_a_model_without_a_length_of_its_own_is_shown_what_is_asked_for() -> None:
    assert config(model={"name": "item_knn"}).resolved().sample.history_length is None
    asked = config(model={"name": "item_knn"}, sample={"history_length": 7}).resolved()
    assert asked.sample.history_length == 7
    assert asked.model == make_config("item_knn")


@pytest.mark.parametrize(
    ("sections", "protocol"),
    [
        ({}, "leave_last_out"),
        ({"ingest": {"source": "movielens-1m"}}, "leave_last_out"),
        ({"ingest": {"source": "synthetic"}}, None),
        ({"ingest": {"interactions": "a.csv"}}, None),
        ({"split": {"test": "t.csv"}}, "given"),
        ({"evaluate": {"candidates": "c.csv"}}, "given"),
        ({"split": {"protocol": "random"}}, "random"),
        ({"split": {"protocol": "leave_last_out"}, "ingest": {"interactions": "a.csv"}}, "leave_last_out"),
    ],
)
def test_the_protocol_follows_the_source_and_the_files(sections: dict[str, object], protocol: str | None) -> None:
    assert config(**sections).resolved().split.protocol == protocol


@pytest.mark.parametrize(
    "sections",
    [
        {"split": {"protocol": "given"}},
        {"split": {"valid": "v.csv"}},
        {"split": {"protocol": "given", "valid": "v.csv"}},
        {"split": {"protocol": "temporal", "test": "t.csv"}},
        {"ingest": {"source": "files"}},
        {"ingest": {"source": "synthetic", "interactions": "a.csv"}},
        {"model": {"name": "no_such_model"}},
        {"model": {"name": "popularity", "dim": 3}},
        {"experimant": "x"},
        {"gate": {"margin": -1}},
        {"gate": {"level": 1}},
        {"evaluate": {"cutoffs": []}},
        {"evaluate": {"cutoffs": [0]}},
        {"evaluate": {"cutoffs": ""}},
        {"evaluate": {"cutoffs": [10, 1001]}},
        {"ingest": {"interactions": ""}},
        {"recommend": {"k": 0}},
        {"registered_model": "a/b"},
        {"sample": {"distribution": "in_batch"}},
        {"model": {"name": "popularity"}, "sample": {"negatives": 3}},
    ],
)
def test_what_does_not_fit_together_is_an_error(sections: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**sections)


def test_an_empty_path_is_named_and_an_empty_list_is_empty() -> None:
    with pytest.raises(ValidationError, match=r"ingest\.interactions is empty"):
        config(ingest={"interactions": ""})
    assert config(recommend={"users": ""}).recommend.users == ()


def test_fields_of_the_model_without_its_name_are_the_defaults() -> None:
    assert config(model={"dim": 5}).model == make_config("bpr_mf", dim=5)


def test_it_is_frozen_and_survives_json() -> None:
    one = config(model={"name": "popularity"}, evaluate={"cutoffs": "5,7"}).resolved()
    with pytest.raises(ValidationError):
        one.experiment = "other"  # type: ignore[misc]
    again = PipelineConfig.model_validate(one.model_dump(mode="json"))
    assert again == one
    assert make_hash(again) == make_hash(one)
    assert make_hash(config(recommend={"k": 3})) != make_hash(config())


def test_files_of_one_name_in_two_folders_are_two_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = config(ingest={"interactions": "log.csv.gz"}), str(tmp_path / "log.csv.gz")
    assert relative.dataset == config(ingest={"interactions": absolute}).dataset
    assert relative.dataset.startswith("log-")
    assert relative.dataset != config(ingest={"interactions": "other/log.csv.gz"}).dataset


def test_settings_are_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Settings(data_dir=Path("d"), tracking_uri="sqlite:///m.db").resolved()
    assert (made.data_dir, made.tracking_uri) == (tmp_path / "d", f"sqlite:///{tmp_path}/m.db")
    assert abs(made.night - datetime.now(UTC)) < timedelta(minutes=1)
    assert made.resolved() == made
    for uri in ("http://host:5000", "sqlite:////abs/m.db", "postgresql://u@h/db"):
        assert Settings(tracking_uri=uri).resolved().tracking_uri == uri


@pytest.mark.parametrize("name", ["data_dir", "tracking_uri"])
def test_an_empty_place_is_not_the_current_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="is empty"):
        Settings.model_validate({name: ""})


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-05-06", datetime(2024, 5, 6, tzinfo=UTC)),
        ("2024-05-06T07:08:09", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:00+02:00", datetime(2024, 5, 6, 7, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_date_without_an_offset_is_utc(text: str, instant: datetime) -> None:
    night = Settings.model_validate({"as_of": text}).resolved().night
    assert night == instant
    assert night.tzinfo is not None


def test_unresolved_settings_have_no_night() -> None:
    with pytest.raises(ValueError, match="not resolved"):
        _ = Settings().night


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model": {"name": "ials"}, "trainer": {"checkpoint": {"path": "e.safetensors"}}}, "without epochs: leave tr"),
        ({"model": {"name": "blend"}, "trainer": {"initial_epoch": 3}}, "trainer.initial_epoch unset"),
        ({"model": {"name": "neumf", "pretrain": True}, "trainer": {"initial_epoch": 3}}, "pretrain makes three"),
        ({"model": {"name": "neumf"}, "sample": {"distribution": "in_batch"}}, "uniform or popularity there"),
        (
            {"model": {"name": "mlp", "loss": "sampled_softmax"}, "sample": {"shared": True}},
            "leave sample.shared unset",
        ),
    ],
)
def test_what_a_model_cannot_honour_is_refused_before_the_night(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        PipelineConfig.model_validate(values)
