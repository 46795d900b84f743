"""Where the kept files of a training lie, and what a training that starts from one of them does with its refit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flows.config import PipelineConfig
from flows.unchanged import night_key
from models.base import Callback, Epoch, Recommender
from models.fitting.config import TrainerConfig
from models.registry import make_config
from tasks.errors import ConfigError
from tasks.sample.task import sample
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.logic import Validation
from tasks.train.task import train
from tests.factories import make_snapshot, tiny_log

CONFIG = make_config("bpr_mf", dim=4)
EACH = {"path": "{epoch}.safetensors"}
NDCG = [0.1, 0.4, 0.2, 0.5, 0.3]
"""What the validation rows say: epochs 1, 2 and 4 are better than all before."""


class Watch(Callback):
    """The epochs that were trained in each phase."""

    def __init__(self) -> None:
        self.epochs: dict[str, list[int]] = {}

    def __call__(self, phase: str) -> Sequence[Callback]:
        numbers = self.epochs.setdefault(phase, [])

        class Phase(Callback):
            def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
                numbers.append(epoch.number)

        return [Phase()]


@pytest.fixture
def samples(store: Store) -> SampleRefs:
    rows = [(user, 2 * ((user + n) % 10) + user % 2, n) for user in range(40) for n in range(8)]
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows)), SplitConfig(protocol="leave_last_out"))
    return sample.fn(store, parts)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The validation results to come, one an epoch."""
    left = list(NDCG)
    monkeypatch.setattr(Validation, "__call__", lambda self, model: {"ndcg_at_10": left.pop(0)})
    return left


def ran(store: Store, samples: SampleRefs, watch: Watch | None = None, **fields: Any) -> TrainedRef:
    given = {"epochs": 5, "patience": 0, "device": "cpu", "batch_size": 64, "optimizer": "adam", **fields}
    trainer = TrainerConfig.model_validate(given)
    ref: TrainedRef = train.fn(store, samples, CONFIG, trainer, callbacks=watch or Watch())
    return ref


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)).removesuffix(".safetensors") for path in folder.rglob("*.*"))


def test_the_files_stay_beside_the_bundle_and_the_record_names_their_folder(
    store: Store, samples: SampleRefs, results: list[float]
) -> None:
    ref = ran(store, samples, checkpoint=EACH)
    kept = store.manifest(ref.path)["kept"]
    assert kept == f"checkpoints/{ref.key}/kept"
    assert names(store.path(kept)) == ["1", "2", "3", "4", "5", "refit/1", "refit/2", "refit/3", "refit/4"]
    assert not store.path(f"checkpoints/{ref.key}/epochs").exists()
    assert not [path for path in store.path(ref.path).iterdir() if "kept" in path.name]


def test_a_refit_has_no_best_epoch_so_it_keeps_no_file(store: Store, samples: SampleRefs, results: list[float]) -> None:
    ref = ran(store, samples, checkpoint={**EACH, "save_best_only": True})
    assert names(store.path(f"checkpoints/{ref.key}/kept")) == ["1", "2", "4"]


def test_without_a_pattern_there_is_no_folder(store: Store, samples: SampleRefs) -> None:
    ref = ran(store, samples)
    assert store.manifest(ref.path)["kept"] is None
    assert not store.path(f"checkpoints/{ref.key}/kept").exists()


@pytest.mark.parametrize("best_before", [True, False])
def test_a_training_that_goes_on_ships_the_bits_of_an_uninterrupted_one(
    best_before: bool, store: Store, samples: SampleRefs, results: list[float]
) -> None:
    if best_before:  # then the epochs after the file bring nothing, and the refit ends before them
        results[3] = 0.35
    again = list(results[3:])
    whole = ran(store, samples, checkpoint=EACH)
    file = store.path(f"checkpoints/{whole.key}/kept/3.safetensors")
    results[:] = again
    watch = Watch()
    later = ran(store, samples, watch, initial_epoch=3, initial_weights=str(file))
    best = 2 if best_before else 4
    assert watch.epochs == {"train": [4, 5], "refit": list(range(1, best + 1))}
    assert later.weights_sha256 == whole.weights_sha256
    assert later.key != whole.key
    assert store.manifest(later.path)["best_epoch"] == best


def test_the_refit_begins_with_the_weights_that_training_began_with(
    store: Store, samples: SampleRefs, results: list[float]
) -> None:
    first = ran(store, samples, checkpoint={**EACH, "save_weights_only": True})
    file = store.path(f"checkpoints/{first.key}/kept/2.safetensors")
    slow = {"learning_rate": 1e-9, "optimizer": "sgd", "steps_per_epoch": 1}
    results[:] = [0.1, 0.4, 0.2]
    watch = Watch()
    second = ran(store, samples, watch, initial_epoch=2, initial_weights=str(file), checkpoint=EACH, **slow)
    assert watch.epochs == {"train": [3, 4, 5], "refit": [3, 4]}
    given, after = load_file(file), load_file(store.path(f"checkpoints/{second.key}/kept/refit/4.safetensors"))
    assert (given["user_UD"] - after["model.user_UD"]).abs().max() < 1e-6


def test_the_content_of_the_file_is_part_of_the_key(store: Store, samples: SampleRefs, tmp_path: Path) -> None:
    first = ran(store, samples, checkpoint={**EACH, "save_weights_only": True})
    kept, file = store.path(f"checkpoints/{first.key}/kept"), tmp_path / "start.safetensors"
    keys, nights = [], []
    for number in (1, 2, 1):
        file.write_bytes((kept / f"{number}.safetensors").read_bytes())
        keys.append(ran(store, samples, initial_weights=str(file), epochs=1, refit=False).key)
        config = PipelineConfig.model_validate({"trainer": {"initial_weights": str(file)}}).resolved()
        nights.append(night_key(config, [], store))
    for found in (keys, nights):
        assert found[0] == found[2] != found[1]


def test_a_file_that_cannot_be_a_start_is_a_configuration_error(
    store: Store, samples: SampleRefs, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no file of ours")
    for path, reason in ((tmp_path / "no", "no such file"), (tmp_path / "text", "damaged")):
        with pytest.raises(ConfigError, match=rf"trainer\.initial_weights: .*{reason}|no such file") as error:
            ran(store, samples, initial_weights=str(path))
        assert error.value.exit_status == 2
        assert "trainer.checkpoint.path" in str(error.value)
    config = PipelineConfig.model_validate({"trainer": {"initial_weights": str(tmp_path / "no")}}).resolved()
    with pytest.raises(ConfigError, match="no such file"):
        night_key(config, [], store)  # before anything is run
