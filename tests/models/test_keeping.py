"""Files of single epochs, fits that start from one, and what is reported: Keras' controls, each by what it changes."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from models.base import Callback, Epoch, FitSession, Ragged, Recommender, TrainingData, WrongStart
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.fitting import checkpoint
from models.fitting.config import CheckpointConfig, OptimizerName, StoppingConfig, TrainerConfig
from models.fitting.keeping import file_name
from models.fitting.optimizers import make_optimizer
from models.fitting.stopping import look_back
from models.ncf.config import GMFConfig
from models.ncf.model import GMF
from tests.factories import KillAfter, Killed, random_log

DATA = random_log(60, 50, 1_500, seed=0)
CONFIG = BPRMFConfig(dim=4)
EPOCHS = 6
NDCG = [0.1, 0.3, 0.2, 0.3, 0.4, 0.15]
"""Validation results that the tests hand to the trainer: better in epochs 1, 2 and 5."""
EACH = "{epoch}.safetensors"


class Remember(Callback):
    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.weights[epoch.number] = model.weights()


def session_of(folder: Path | None = None, ndcg: list[float] | None = NDCG, **fields: Any) -> FitSession:
    trainer = {"epochs": EPOCHS, "patience": 0, "batch_size": 256, "device": "cpu", "learning_rate": 0.05}
    rest = {name: fields.pop(name) for name in ("callbacks", "checkpoints") if name in fields}
    config = TrainerConfig.model_validate({**trainer, "optimizer": "adam", **fields})
    session = FitSession(trainer=config, keep=folder, **rest)
    if ndcg is not None:  # by the number of the epoch, so that a fit that begins late is told the same
        validated = iter([n for n in range(1, EPOCHS + 1) if n % config.validate_every == 0 or n == EPOCHS])

        def validate(model: Recommender) -> Mapping[str, float]:
            done = session.history[-1].number if session.history else config.initial_epoch
            number = next(n for n in validated if n > done)
            return {"ndcg_at_10": ndcg[number - 1], "recall_at_10": 1 - ndcg[number - 1]}

        session.validate = validate
    return session


def fit(session: FitSession, data: TrainingData = DATA, config: BPRMFConfig = CONFIG) -> BPRMF:
    return BPRMF.build(config, data).fit(data, session)


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)).removesuffix(".safetensors") for path in folder.rglob("*.*"))


def record_of(path: Path) -> dict[str, Any]:
    found = checkpoint.parse(path.read_bytes())
    assert found is not None
    return found[1]


# which epochs are written


@pytest.mark.parametrize(
    ("wanted", "trainer", "written"),
    [
        ({}, {}, "123456"),
        ({"every": 2}, {}, "246"),
        ({"every": 4}, {}, "4"),  # the last epoch has no privilege
        ({"save_best_only": True}, {}, "125"),
        ({"save_best_only": True, "mode": "min"}, {}, "1"),
        ({"save_best_only": True, "monitor": "recall_at_10"}, {}, "1"),
        ({"save_best_only": True, "initial_value_threshold": 0.3}, {}, "5"),
        ({"save_best_only": True, "initial_value_threshold": 0.15, "mode": "min"}, {}, "1"),
        # only the epochs that are looked at are compared: 2 and 4 are equal, 6 is worse
        ({"save_best_only": True, "every": 2}, {}, "2"),
        ({"save_best_only": True, "every": 3}, {}, "3"),
        # an epoch that was not validated is never the best, however its neighbours are
        ({"save_best_only": True}, {"validate_every": 3}, "3"),
        ({"save_best_only": True}, {"validate_every": 5}, "5"),
        ({"save_best_only": True, "every": 2}, {"validate_every": 3}, "6"),
        ({}, {"validate_every": 5}, "123456"),
        ({}, {"patience": 2}, "1234"),
    ],
)
def test_the_epochs_that_are_written(
    wanted: dict[str, Any], trainer: dict[str, Any], written: str, tmp_path: Path
) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH, **wanted}, **trainer))
    assert "".join(names(tmp_path)) == written


def test_by_the_loss_of_training_the_best_needs_no_validation(tmp_path: Path) -> None:
    wanted = {"path": EACH, "save_best_only": True, "monitor": "loss"}
    session = session_of(tmp_path, None, checkpoint=wanted)
    fit(session)
    losses = [epoch.loss for epoch in session.history]
    assert names(tmp_path) == [str(n + 1) for n in range(EPOCHS) if losses[n] < min([*losses[:n], 9.9])]


def test_without_validation_rows_no_epoch_is_the_best_by_their_metrics(tmp_path: Path, lines: list[str]) -> None:
    fit(session_of(tmp_path, None, checkpoint={"path": EACH, "save_best_only": True}))
    assert names(tmp_path) == []
    assert ["no validation rows" in line for line in lines] == [True]


def test_a_file_has_the_weights_of_its_epoch(tmp_path: Path) -> None:
    remember = Remember()
    wanted = {"path": EACH, "save_weights_only": True}
    fit(session_of(tmp_path, checkpoint=wanted, callbacks=[remember]))
    for number in range(1, EPOCHS + 1):
        assert same(load_file(tmp_path / f"{number}.safetensors"), remember.weights[number])
    record = record_of(tmp_path / "3.safetensors")
    assert (record["model"], record["epoch"], record["config"]["dim"], "history" in record) == ("bpr_mf", 3, 4, False)


def test_a_name_without_fields_is_one_file_that_is_replaced_by_better_ones(tmp_path: Path) -> None:
    remember = Remember()
    one = {"path": "best.safetensors", "save_weights_only": True}
    fit(session_of(tmp_path, checkpoint={**one, "save_best_only": True}, callbacks=[remember]))
    assert names(tmp_path) == ["best"]
    assert same(load_file(tmp_path / "best.safetensors"), remember.weights[5])
    fit(session_of(tmp_path, checkpoint=one))
    assert same(load_file(tmp_path / "best.safetensors"), remember.weights[EPOCHS])


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "best.safetensors"
    checkpoint.write_file(path, {"a": torch.zeros(3)}, {"epoch": 1})

    def cut_off(handle: int) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cut_off)  # all is written, nothing is certain to be on the disk
        with pytest.raises(Killed):
            checkpoint.write_file(path, {"a": torch.ones(3)}, {"epoch": 2})
    assert record_of(path) == {"epoch": 1}
    assert torch.equal(load_file(path)["a"], torch.zeros(3))
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".best.safetensors.1").write_bytes(b"half")  # of a process that was killed
    before = path.read_bytes()
    with path.open("rb") as reader:
        checkpoint.write_file(path, {"a": torch.ones(3)}, {"epoch": 2})
        assert reader.read() == before  # who reads it meanwhile has the old one, whole
    assert record_of(path) == {"epoch": 2}
    assert list(tmp_path.iterdir()) == [path]  # what was cut off is gone


def test_names_show_the_figures_and_nan_for_what_was_not_measured() -> None:
    config = CheckpointConfig(path="run/{epoch:03d}-{loss:.2f}-{ndcg_at_10:.4f}.safetensors")
    assert file_name(config, Epoch(7, 0.125, 1, 1.0, {"ndcg_at_10": 0.25})) == "run/007-0.12-0.2500.safetensors"
    assert file_name(config, Epoch(7, 0.125, 1, 1.0)) == "run/007-0.12-nan.safetensors"


def test_a_restarted_fit_writes_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    wanted = {"path": "{epoch}-{ndcg_at_10:.2f}.safetensors", "save_best_only": True}
    fit(session_of(tmp_path / "whole", checkpoint=wanted))
    places: dict[str, Any] = {"checkpoints": tmp_path / "points", "checkpoint": wanted}
    with pytest.raises(Killed):
        fit(session_of(tmp_path / "killed", callbacks=[KillAfter(3)], **places))
    fit(session_of(tmp_path / "killed", **places))
    assert names(tmp_path / "killed") == names(tmp_path / "whole") == ["1-0.10", "2-0.30", "5-0.40"]
    first, second = (load_file(tmp_path / kind / "5-0.40.safetensors") for kind in ("whole", "killed"))
    assert same(first, second)


def test_a_kill_after_the_recovery_point_has_lost_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_die(*args: Any) -> None:
        write(*args)
        raise Killed

    write = checkpoint.write
    places: dict[str, Any] = {"checkpoints": tmp_path / "points", "checkpoint": {"path": EACH}}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write_and_die)
        with pytest.raises(Killed):
            fit(session_of(tmp_path / "kept", **places))
    fit(session_of(tmp_path / "kept", **places))
    assert "".join(names(tmp_path / "kept")) == "123456"


def test_files_without_a_folder_for_them_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"FitSession\.keep"):
        fit(session_of(checkpoint={"path": EACH}))


# what does not make sense


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("{epochs}.safetensors", r"unknown field \{epochs\}; known: epoch, ndcg_at_10"),
        ("{val_loss}.safetensors", r"unknown field \{val_loss\}"),
        ("{}.safetensors", "unknown field"),
        ("{epoch.real}.safetensors", "unknown field"),
        ("{epoch!r}.safetensors", "only plain formats"),
        ("{epoch:{loss}}.safetensors", "only plain formats"),
        ("{epoch:/>9}.safetensors", "only plain formats"),
        ("{epoch:999999999}.safetensors", "only plain formats"),
        ("{epoch.safetensors", "is no pattern"),
        ("{ndcg_at_10:d}.safetensors", "has decimals"),
        ("{ndcg_at_10:.4f}.safetensors", r"overwrite each other; write \{epoch:03d\}"),
        ("{epoch:.0e}.safetensors", "overwrite each other"),
        ("/tmp/{epoch}.safetensors", "leaves the run's folder"),
        ("~/{epoch}.safetensors", "leaves the run's folder"),
        ("../{epoch}.safetensors", "leaves the run's folder"),
        ("a/../../{epoch}.safetensors", "leaves the run's folder"),
        ("a\\{epoch}.safetensors", "leaves the run's folder"),
        ("{epoch}.h5", "ends in .safetensors"),
        ("{epoch}", "ends in .safetensors"),
        ("", "ends in .safetensors"),
        (f"{'a' * 300}.safetensors", "short name"),
    ],
)
def test_a_pattern_that_cannot_be_a_file_is_refused_in_one_line(pattern: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as error:
        CheckpointConfig(path=pattern)
    assert error.value.error_count() == 1
    assert "\n" not in error.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"checkpoint": {"save_best_only": True}}, "save_best_only: no file is written before"),
        ({"checkpoint": {"path": EACH, "monitor": "loss"}}, "monitor: only save_best_only"),
        ({"checkpoint": {"path": EACH, "initial_value_threshold": 0.0}}, "threshold: only save_best_only"),
        ({"checkpoint": {"path": EACH, "every": 0}}, "greater than 0"),
        ({"epochs": 5, "initial_epoch": 5}, "initial_epoch of 5 leaves nothing of 5 epochs: raise trainer.epochs"),
        ({"epochs": 5, "stopping": {"start_from_epoch": 5}}, "start_from_epoch of 5 leaves nothing"),
        ({"initial_weights": ""}, "initial_weights is empty"),
        ({"initial_epoch": -1}, "greater than or equal to 0"),
    ],
)
def test_what_has_no_effect_or_sense_is_refused_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrainerConfig.model_validate(fields)


def test_the_recommended_epochs_count_too_but_a_refit_may_have_fewer() -> None:
    n = BPRMFConfig.recommended["epochs"]
    with pytest.raises(ValidationError, match="leaves nothing"):
        CONFIG.complete(TrainerConfig(initial_epoch=n))
    filled = CONFIG.complete(TrainerConfig(stopping=StoppingConfig(start_from_epoch=9)))
    assert CONFIG.complete(filled.model_copy(update={"epochs": 3})).epochs == 3
    with pytest.raises(WrongStart, match="leaves nothing"):
        fit(FitSession(trainer=filled.model_copy(update={"epochs": 3, "initial_epoch": 3})))


# going on


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("at", [1, 3, 5])
def test_an_interrupted_fit_goes_on_to_the_same_bits(optimizer: str, at: int, tmp_path: Path) -> None:
    controls: dict[str, Any] = {"optimizer": optimizer, "schedule": {"kind": "cosine", "warmup": 2, "epochs": 9}}
    whole = session_of(**controls)
    expected = fit(whole).weights()
    with pytest.raises(Killed):
        fit(session_of(tmp_path, checkpoint={"path": EACH}, callbacks=[KillAfter(at)], **controls))
    remember = Remember()
    file = tmp_path / f"{at}.safetensors"
    again = session_of(initial_epoch=at, initial_weights=str(file), callbacks=[remember], **controls)
    assert same(fit(again).weights(), expected)
    assert sorted(remember.weights) == list(range(at + 1, EPOCHS + 1))
    told = [[(e.number, e.loss, e.metrics) for e in session.history] for session in (again, whole)]
    assert told[0] == told[1]
    assert again.best_epoch == whole.best_epoch == 5


def test_the_best_weights_of_before_are_kept_and_patience_goes_on(tmp_path: Path) -> None:
    remember = Remember()
    with pytest.raises(Killed):
        fit(session_of(tmp_path, checkpoint={"path": EACH}, callbacks=[remember, KillAfter(3)]))
    again = session_of(initial_epoch=3, initial_weights=str(tmp_path / "3.safetensors"), patience=2)
    model = fit(again)
    assert (again.best_epoch, [epoch.number for epoch in again.history]) == (2, [1, 2, 3, 4])
    assert same(model.weights(), remember.weights[2])


def test_a_fit_that_goes_on_can_be_killed_too(tmp_path: Path) -> None:
    expected = fit(session_of(tmp_path, checkpoint={"path": EACH})).weights()
    start: dict[str, Any] = {"initial_epoch": 2, "initial_weights": str(tmp_path / "2.safetensors")}
    with pytest.raises(Killed):
        fit(session_of(checkpoints=tmp_path / "points", callbacks=[KillAfter(4)], **start))
    remember = Remember()
    again = session_of(checkpoints=tmp_path / "points", callbacks=[remember], **start)
    assert same(fit(again).weights(), expected)
    assert sorted(remember.weights) == [5, 6]


def test_recovery_points_know_the_content_of_the_file_and_not_its_name_alone(tmp_path: Path) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    file = tmp_path / "start"
    file.write_bytes((tmp_path / "2.safetensors").read_bytes())
    start: dict[str, Any] = {"initial_weights": str(file), "checkpoints": tmp_path / "points"}
    fit(session_of(**start))
    file.write_bytes((tmp_path / "3.safetensors").read_bytes())
    with pytest.raises(ValueError, match="another fit"):
        fit(session_of(**start))


def test_weights_alone_begin_a_history_and_an_optimizer_of_their_own(tmp_path: Path) -> None:
    fit(session_of(tmp_path / "all", checkpoint={"path": EACH}))
    fit(session_of(tmp_path / "weights", checkpoint={"path": EACH, "save_weights_only": True}))
    made = {}
    for kind in ("all", "weights"):
        session = session_of(initial_epoch=4, initial_weights=str(tmp_path / kind / "4.safetensors"))
        made[kind] = fit(session).weights()
        assert [epoch.number for epoch in session.history] == ([1, 2, 3, 4, 5, 6] if kind == "all" else [5, 6])
    assert not same(made["all"], made["weights"])  # Adam's moments


def test_with_epoch_0_training_begins_anew_from_the_weights(tmp_path: Path) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    tiny: dict[str, Any] = {"learning_rate": 1e-9, "epochs": 1, "optimizer": "sgd"}
    session = session_of(initial_weights=str(tmp_path / "4.safetensors"), **tiny)
    weights, given = fit(session).weights(), load_file(tmp_path / "4.safetensors")
    torch.testing.assert_close(weights["user_UD"], given["model.user_UD"], rtol=0, atol=1e-6)
    assert [epoch.number for epoch in session.history] == [1]


def test_the_optimizer_goes_on_even_where_the_epochs_begin_anew(tmp_path: Path) -> None:
    fit(session_of(tmp_path, None, checkpoint={"path": EACH}))
    first = fit(session_of(None, None, initial_weights=str(tmp_path / "2.safetensors"), epochs=1)).weights()
    bare = tmp_path / "bare"
    fit(session_of(bare, None, checkpoint={"path": EACH, "save_weights_only": True}))
    second = fit(session_of(None, None, initial_weights=str(bare / "2.safetensors"), epochs=1)).weights()
    assert not same(first, second)


def test_another_optimizer_begins_with_a_state_of_its_own_and_says_so(tmp_path: Path, lines: list[str]) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    session = session_of(initial_epoch=5, initial_weights=str(tmp_path / "5.safetensors"), optimizer="adagrad")
    fit(session)
    assert len(session.history) == EPOCHS
    assert ["adagrad begins anew" in line for line in lines] == [True]


def test_initial_epoch_alone_only_counts() -> None:
    remember = Remember()
    session = session_of(None, initial_epoch=4, callbacks=[remember])
    fit(session)
    assert [epoch.number for epoch in session.history] == sorted(remember.weights) == [5, 6]
    assert session.best_epoch == 5  # of the results .4 and .15


def test_the_later_epochs_have_their_own_rates_and_streams(tmp_path: Path) -> None:
    # The kernel keeps no state, so weights and the number of the epoch decide everything.
    plain: dict[str, Any] = {"optimizer": "sgd", "schedule": {"kind": "step", "every": 2}}
    only = {"path": EACH, "save_weights_only": True}
    expected = fit(session_of(tmp_path, None, checkpoint=only, **plain)).weights()
    start: dict[str, Any] = {"initial_weights": str(tmp_path / "4.safetensors"), **plain}
    assert same(fit(session_of(None, None, initial_epoch=4, **start)).weights(), expected)
    assert not same(fit(session_of(None, None, initial_epoch=3, epochs=5, **start)).weights(), expected)


@pytest.mark.parametrize(
    ("users", "items", "second_users"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 0], [0, 0, 1, 2]),
        ([0, 0, 1, 2], [0, 1, 2, 1], [0, 0, 1, 2]),  # as many rows of everyone, of other items
    ],
)
def test_other_rows_leave_the_history_and_say_who_was_fitted(
    users: list[int], items: list[int], second_users: list[int], tmp_path: Path, lines: list[str]
) -> None:
    first = TrainingData(3, Ragged.from_pairs(np.array(users), np.array(items), 3))
    second = TrainingData(3, Ragged.from_pairs(np.array(second_users), np.array([0, 1, 2, 0]), 3))
    fit(session_of(tmp_path, checkpoint={"path": EACH}), first)
    session = session_of(initial_epoch=2, initial_weights=str(tmp_path / "2.safetensors"))
    model = fit(session, second)
    assert [epoch.number for epoch in session.history] == [3, 4, 5, 6]
    assert model.fitted_U.tolist() == [True, True, True]  # else user 2 would be shown the mean of the others
    assert ["other rows" in line for line in lines] == [True]


def test_a_patience_that_had_run_out_is_told(tmp_path: Path, lines: list[str]) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    session = session_of(initial_epoch=4, initial_weights=str(tmp_path / "4.safetensors"), patience=2)
    fit(session)
    assert (len(session.history), session.best_epoch) == (4, 2)
    assert ["patience had run out by epoch 4" in line for line in lines] == [True]


@pytest.mark.parametrize(
    ("fields", "config", "data", "reason"),
    [
        ({"initial_epoch": 3}, CONFIG, DATA, r"up to epoch 4: set trainer\.initial_epoch=4"),
        ({"initial_epoch": 4}, BPRMFConfig(dim=5), DATA, "bias_I|item_ID is 50 x 4 in the file and 50 x 5 here"),
        (
            {},
            CONFIG,
            random_log(61, 50, 1_500, seed=0),
            "is 60 x 4 in the file and 61 x 4 here.*users or items have come",
        ),
        ({"initial_epoch": 4, "stopping": {"mode": "min"}}, CONFIG, DATA, "epoch 1 is the best so far"),
    ],
)
def test_a_file_that_does_not_fit_names_the_fix(
    fields: dict[str, Any], config: BPRMFConfig, data: TrainingData, reason: str, tmp_path: Path
) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    with pytest.raises(WrongStart, match=reason) as error:
        fit(session_of(initial_weights=str(tmp_path / "4.safetensors"), **fields), data, config)
    assert "\n" not in str(error.value)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}))
    found = checkpoint.parse((tmp_path / "4.safetensors").read_bytes())
    assert found is not None
    checkpoint.write_file(tmp_path / "other", found[0], {**found[1], "model": "ncf"})
    with pytest.raises(WrongStart, match=r"is of model ncf, not bpr_mf: set model\.name=ncf"):
        fit(session_of(initial_weights=str(tmp_path / "other")))


@pytest.mark.parametrize(("in_the_file", "here"), [(True, False), (False, True)])
def test_a_part_that_only_one_of_the_two_has_is_named(in_the_file: bool, here: bool, tmp_path: Path) -> None:
    def gmf(session: FitSession, use_bias: bool) -> None:
        GMF.build(GMFConfig(dim=4, use_bias=use_bias), DATA).fit(DATA, session)

    gmf(session_of(tmp_path, epochs=1, checkpoint={"path": EACH}), in_the_file)
    with pytest.raises(WrongStart, match=r"product\.bias_I is (50|missing) in the file and (50|missing) here"):
        gmf(session_of(epochs=1, initial_weights=str(tmp_path / "1.safetensors")), here)


def test_a_missing_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH}, checkpoints=tmp_path / "points"))
    content = (tmp_path / "4.safetensors").read_bytes()
    flipped = bytearray(content)
    flipped[-1] ^= 1
    (tmp_path / "cut").write_bytes(content[:-5])
    (tmp_path / "flipped").write_bytes(flipped)
    (tmp_path / "text").write_text("not a file of ours")
    point = next((tmp_path / "points").iterdir())
    for path in (tmp_path / "cut", tmp_path / "flipped", tmp_path / "text", point):
        with pytest.raises(WrongStart, match="damaged, or no file that"):
            fit(session_of(initial_weights=str(path)))
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(WrongStart, match="cannot be read"):
            fit(session_of(initial_weights=str(path)))


# stopping


@pytest.mark.parametrize(
    ("first", "values", "stopping", "best", "waited"),
    [
        # the first two epochs are not judged: neither the best, nor counted
        (1, (0.9, 0.8), {"start_from_epoch": 2}, 2, 0),
        (1, (0.9, 0.8, 0.1), {"start_from_epoch": 2}, 3, 0),
        (1, (0.9, 0.8, 0.1, 0.05), {"start_from_epoch": 2}, 3, 1),
        (1, (0.1, 0.1, 0.1), {"start_from_epoch": 2, "baseline": 0.5}, 3, 1),
        (1, (0.9, 0.8, 0.1), {"start_from_epoch": 2, "monitor": "loss", "mode": "max"}, 3, 0),
        # a fit that begins with epoch 8 has not waited since the first
        (8, (0.1, 0.2), {"baseline": 0.5}, 9, 2),
        (8, (0.3, 0.2), {}, 8, 1),
        (8, (0.3, 0.2, 0.1), {"start_from_epoch": 8}, 9, 1),
    ],
)
def test_late_starts_by_hand(
    first: int, values: tuple[float, ...], stopping: dict[str, Any], best: int, waited: int
) -> None:
    history = [Epoch(n, -n, 1, 1.0, {"ndcg_at_10": value}) for n, value in enumerate(values, start=first)]
    assert look_back(history, StoppingConfig(**stopping), judged=True) == (best, waited)


def test_patience_and_the_best_begin_after_the_epochs_that_are_not_judged() -> None:
    remember = Remember()
    stopping = {"start_from_epoch": 2}
    session = session_of(None, [0.9, 0.1, 0.3, 0.2, 0.1, 0.5], patience=2, stopping=stopping, callbacks=[remember])
    model = fit(session)
    assert (len(session.history), session.best_epoch) == (5, 3)
    assert same(model.weights(), remember.weights[3])


# what is reported


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the logger has said; on it and not on the root, as Prefect cuts it off from there."""
    said: list[str] = []

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    logger, listen = logging.getLogger("encore.training"), Listen()
    logger.addHandler(listen)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a command that ran in this process before shows our lines on its terminal
    yield said
    logger.propagate = True
    logger.removeHandler(listen)
    logger.setLevel(level)


def test_a_late_start_without_weights_is_told(lines: list[str]) -> None:
    fit(session_of(initial_epoch=2))
    assert lines == ["epoch 3 comes first, with new weights: trainer.initial_weights is unset"]


def test_nothing_is_said_that_was_not_asked_for(
    tmp_path: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(session_of(tmp_path, checkpoint={"path": EACH, "save_best_only": True}, patience=2))
    assert lines == []
    fit(session_of(tmp_path, checkpoint={"path": EACH, "verbose": True}, stopping={"verbose": True}))
    assert lines
    assert capsys.readouterr() == ("", "")  # lines are for whoever listens: a library does not print


def test_stopping_tells_of_each_judged_epoch_and_of_its_end(lines: list[str]) -> None:
    fit(session_of(stopping={"verbose": True}, patience=2))
    assert lines == [
        "epoch 1: ndcg_at_10 improved from nothing to 0.10000",
        "epoch 2: ndcg_at_10 improved from 0.10000 to 0.30000",
        "epoch 3: ndcg_at_10 did not improve from 0.30000 (it is 0.20000)",
        "epoch 4: ndcg_at_10 did not improve from 0.30000 (it is 0.30000)",
        "epoch 4: 2 epochs without progress: training ends early",
        "training ends with the weights of epoch 2",
    ]


def test_epochs_that_are_not_judged_are_not_told_of(lines: list[str]) -> None:
    fit(session_of(stopping={"verbose": True, "start_from_epoch": 3}, validate_every=5))
    assert lines == [
        "epoch 5: ndcg_at_10 improved from nothing to 0.40000",
        "epoch 6: ndcg_at_10 did not improve from 0.40000 (it is 0.15000)",
        "training ends with the weights of epoch 5",
    ]


def test_the_files_are_told_of_and_why_there_is_none(tmp_path: Path, lines: list[str]) -> None:
    wanted = {"path": EACH, "save_best_only": True, "verbose": True}
    fit(session_of(tmp_path, checkpoint=wanted, validate_every=2))
    assert lines == [
        "epoch 1: there is no ndcg_at_10, so no file is written",
        "epoch 2: 2.safetensors is written",
        "epoch 3: there is no ndcg_at_10, so no file is written",
        "epoch 4: ndcg_at_10 of 0.30000 is not better than 0.30000, so no file is written",
        "epoch 5: there is no ndcg_at_10, so no file is written",
        "epoch 6: ndcg_at_10 of 0.15000 is not better than 0.30000, so no file is written",
    ]


# fused steps


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_fused_steps_give_the_same_bits_with_any_number_of_threads(name: OptimizerName) -> None:
    before, weights = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            stream = torch.Generator().manual_seed(0)
            weight = nn.Parameter(torch.randn(10_007, 61, generator=stream))  # nothing divides it into equal parts
            optimizer = make_optimizer(name, [weight], 0.01)
            for _ in range(5):
                weight.grad = torch.randn(10_007, 61, generator=stream)
                optimizer.step()
            weights.append(weight.detach().clone())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert optimizer.param_groups[0]["fused"]
