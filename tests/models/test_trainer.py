"""The training loop: resume to the bit, corrupt checkpoints, early stopping, divergence, interruption."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from models.base import Callback, Epoch, FitSession, Recommender, TrainingDiverged
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.config import TrainerConfig
from tests.factories import random_log

DATA = random_log(60, 50, 1_500, seed=0)
CONFIG = BPRMFConfig(dim=4)
EPOCHS = 5
NDCG = [0.1, 0.3, 0.2, 0.3, 0.15]
"""Validation results that the tests hand to the trainer; the best is epoch 2, and 4 is as good."""


class Killed(BaseException):
    """Stands for a kill: nothing in the program expects it."""


class KillAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        if epoch.number == self.epoch:
            raise Killed


class Remember(Callback):
    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}
        self.ended = 0

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.weights[epoch.number] = model.weights()

    def on_end(self, model: Recommender, history: object) -> None:
        self.ended += 1


def scripted(session: FitSession) -> FitSession:
    """Validation results by the number of the epoch, as the history tells it: they survive a restart."""
    session.validate = lambda model: {"ndcg_at_10": NDCG[len(session.history)]}
    return session


def session_of(optimizer: str = "sgd", **fields: object) -> FitSession:
    trainer = {"epochs": EPOCHS, "patience": 0, "batch_size": 256, "device": "cpu", "learning_rate": 0.05}
    callbacks, checkpoints = fields.pop("callbacks", ()), fields.pop("checkpoints", None)
    config = TrainerConfig.model_validate({**trainer, "optimizer": optimizer, **fields})
    return FitSession(trainer=config, callbacks=callbacks, checkpoints=checkpoints)  # type: ignore[arg-type]


def fit(session: FitSession) -> BPRMF:
    return BPRMF.build(CONFIG, DATA).fit(DATA, session)


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
@pytest.mark.parametrize("killed_after", range(1, EPOCHS + 1))
def test_a_killed_fit_goes_on_to_the_same_bits(optimizer: str, killed_after: int, tmp_path: Path) -> None:
    whole = scripted(session_of(optimizer))
    expected = fit(whole).weights()
    with pytest.raises(Killed):
        fit(scripted(session_of(optimizer, callbacks=[KillAfter(killed_after)], checkpoints=tmp_path)))
    again = scripted(session_of(optimizer, checkpoints=tmp_path))
    assert same(fit(again).weights(), expected)
    assert [(e.number, e.loss, e.metrics) for e in again.history] == [
        (e.number, e.loss, e.metrics) for e in whole.history
    ]
    assert again.best_epoch == whole.best_epoch == 2


def test_two_checkpoints_are_kept_and_a_corrupt_one_falls_back(tmp_path: Path) -> None:
    expected = fit(session_of()).weights()
    with pytest.raises(Killed):
        fit(session_of(callbacks=[KillAfter(3)], checkpoints=tmp_path))
    _, newest = sorted(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    remember = Remember()
    assert same(fit(session_of(callbacks=[remember], checkpoints=tmp_path)).weights(), expected)
    assert sorted(remember.weights) == [3, 4, 5]  # went on from the older one, of epoch 2


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    (tmp_path / f".epoch-000009-{'0' * 64}.safetensors.1").write_bytes(b"half")
    session = session_of(checkpoints=tmp_path)
    fit(session)
    assert len(session.history) == EPOCHS
    assert len(list(tmp_path.iterdir())) == 2


def test_checkpoints_of_another_fit_are_refused(tmp_path: Path) -> None:
    fit(session_of(checkpoints=tmp_path))
    with pytest.raises(ValueError, match="another fit"):
        fit(session_of(checkpoints=tmp_path, seed=1))


def test_the_best_epoch_is_kept_of_equals_the_earliest() -> None:
    remember = Remember()
    session = scripted(session_of(callbacks=[remember]))
    model = fit(session)
    assert session.best_epoch == 2
    assert same(model.weights(), remember.weights[2])
    assert remember.ended == 1


def test_patience_stops_early() -> None:
    session = scripted(session_of(patience=2))
    fit(session)
    assert [epoch.number for epoch in session.history] == [1, 2, 3, 4]


def test_a_refit_runs_all_epochs_and_keeps_the_last() -> None:
    remember = Remember()
    session = session_of(patience=1, callbacks=[remember])
    model = fit(session)
    assert session.best_epoch == len(session.history) == EPOCHS
    assert same(model.weights(), remember.weights[EPOCHS])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_diverging_loss_raises_and_names_epoch_and_step(optimizer: str) -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch \d+, step \d+|not finite after epoch \d+"):
        fit(session_of(optimizer, learning_rate=1e30))


def test_an_interrupted_fit_has_the_best_weights() -> None:
    class Interrupt(Remember):
        def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
            super().on_epoch_end(model, epoch)
            if epoch.number == 3:
                raise KeyboardInterrupt

    interrupt = Interrupt()
    model = BPRMF.build(CONFIG, DATA)
    with pytest.raises(KeyboardInterrupt):
        model.fit(DATA, scripted(session_of(callbacks=[interrupt])))
    assert same(model.weights(), interrupt.weights[2])
    assert interrupt.ended == 1


def test_validation_without_a_number_is_an_error() -> None:
    session = session_of()
    session.validate = lambda model: {"ndcg_at_10": math.nan}
    with pytest.raises(ValueError, match="nothing to choose"):
        fit(session)


def test_the_session_tells_what_was_used() -> None:
    session = FitSession(trainer=TrainerConfig(epochs=1))
    fit(session)
    assert session.trainer.epochs == 1
    assert session.trainer.learning_rate == BPRMFConfig.recommended["learning_rate"]


def test_training_leaves_torchs_global_stream_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fit(session_of("adam", epochs=1))
    assert torch.equal(torch.rand(3), expected)
