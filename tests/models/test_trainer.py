"""The training loop: resume to the bit, corrupt checkpoints, every control, divergence, interruption."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models.base import (
    Callback,
    Epoch,
    Feature,
    FitSession,
    NothingToLearn,
    Query,
    Ragged,
    Recommender,
    TrainingData,
    TrainingDiverged,
)
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.fitting.config import Monitor, OptimizerName, SamplingConfig, ScheduleConfig, StoppingConfig, TrainerConfig
from models.fitting.gradient import GradientModel
from models.fitting.objective import PairModelConfig, make_pairs
from models.fitting.opponents import PairBatch
from models.fitting.schedule import share_of_rate
from models.fitting.stopping import look_back
from models.ranking.metrics import all_metrics
from tests.factories import KillAfter, Killed, random_log

DATA = random_log(60, 50, 1_500, seed=0)
CONFIG = BPRMFConfig(dim=4)
EPOCHS = 5
NDCG = [0.1, 0.3, 0.2, 0.3, 0.15]
"""Validation results that the tests hand to the trainer; the best is epoch 2, and 4 is as good."""


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


CONTROLS: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name} for name in get_args(OptimizerName)},
    "sparse checkpoints": {"optimizer": "adam", "recovery_every": 2},
    "sparse validation": {"optimizer": "adam", "validate_every": 2},
    "a part of a pass": {"optimizer": "adam", "steps_per_epoch": 2},
    "more than a pass": {"optimizer": "adam", "steps_per_epoch": 9},
    "schedule": {"optimizer": "ftrl", "schedule": {"kind": "cosine", "warmup": 2}},
    "schedule of the kernel": {"optimizer": "sgd", "schedule": {"kind": "step", "every": 2}},
    "bounds": {"optimizer": "momentum", "clip_norm": 0.01, "max_norm": 0.05},
    "bounded sgd": {"optimizer": "sgd", "learning_rate": 5, "max_norm": 0.05},
    "loss": {"optimizer": "adam", "stopping": {"monitor": "loss", "min_delta": 0.001}, "patience": 2},
    "the last weights": {
        "optimizer": "adam",
        "stopping": {"restore_best_weights": False, "baseline": 0.25},
        "patience": 4,
    },
    "patience": {"optimizer": "adam", "patience": 2},
}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("killed_after", range(1, EPOCHS + 1))
def test_a_killed_fit_goes_on_to_the_same_bits(control: str, killed_after: int, tmp_path: Path) -> None:
    whole = scripted(session_of(**CONTROLS[control]))
    expected = fit(whole).weights()
    if killed_after > len(whole.history):
        pytest.skip("stops before")
    with pytest.raises(Killed):
        fit(scripted(session_of(**CONTROLS[control], callbacks=[KillAfter(killed_after)], checkpoints=tmp_path)))
    again = scripted(session_of(**CONTROLS[control], checkpoints=tmp_path))
    assert same(fit(again).weights(), expected)
    assert [(e.number, e.loss, e.metrics) for e in again.history] == [
        (e.number, e.loss, e.metrics) for e in whole.history
    ]
    assert again.best_epoch == whole.best_epoch


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_batches_and_the_kernel_give_the_same_bits_each_time(optimizer: str) -> None:
    data = random_log(50, 600, 20_000, seed=0)  # rows of a table come up often in each batch of several threads
    config = BPRMFConfig(dim=64)
    first, second = (
        BPRMF.build(config, data).fit(data, session_of(optimizer, batch_size=8_192)).weights() for _ in range(2)
    )
    assert same(first, second)


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


ROWS_OF_ALL_KINDS: dict[str, Any] = {
    "user_features": {"kind": Feature(np.zeros(60, dtype=np.int64), 2)}, "weights_R": np.ones(DATA.n_rows)
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"histories": Ragged(DATA.histories.offsets_U1, (DATA.histories.items_R + 1) % 50)},
        {"user_features": {"kind": Feature(np.ones(60, dtype=np.int64), 2)}},
        {"weights_R": np.linspace(1, 2, DATA.n_rows)},
        {"sampling": SamplingConfig(negatives=2)},
        {"config": BPRMFConfig(dim=4, l2=0.5)},
    ],
)
def test_whatever_decides_what_a_fit_computes_makes_it_another(changed: dict[str, Any], tmp_path: Path) -> None:
    def run(histories: Ragged = DATA.histories, **changed: Any) -> None:
        session = session_of("adam", epochs=1, checkpoints=tmp_path)
        session.sampling = changed.pop("sampling", session.sampling)
        config = changed.pop("config", CONFIG)
        data = TrainingData(50, histories, **{**ROWS_OF_ALL_KINDS, **changed})
        BPRMF.build(config, data).fit(data, session)

    run()
    run()
    with pytest.raises(ValueError, match="another fit"):
        run(**changed)


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


def test_a_weight_that_becomes_infinite_in_the_last_step_is_named() -> None:
    with pytest.raises(TrainingDiverged, match="other is not finite after epoch 1"):
        numbers(10.0, learning_rate=3e38, steps_per_epoch=1, epochs=1)


def test_without_rows_there_is_nothing_to_train_on() -> None:
    empty = TrainingData(3, Ragged.empty(4))
    with pytest.raises(ValueError, match="no rows to train on"):
        BPRMF.build(CONFIG, empty).fit(empty, session_of())


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


def test_layers_draw_other_numbers_in_each_epoch_and_with_each_seed() -> None:
    class Draws(Numbers):
        def loss(self, batch: PairBatch) -> torch.Tensor:
            drawn.append(torch.rand(()).item())
            return super().loss(batch)

    drawn: list[float] = []
    for seed in (0, 0, 1):
        Draws().fit(ROWS, session_of("adam", seed=seed, epochs=2))
    assert drawn[:2] == drawn[2:4]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_adds_up_in_a_fixed_order_while_training_and_only_then(deterministic: bool) -> None:
    class Watched(Numbers):
        def loss(self, batch: PairBatch) -> torch.Tensor:
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            return super().loss(batch)

    Watched().fit(ROWS, session_of("adam", deterministic=deterministic, epochs=1))
    assert not torch.are_deterministic_algorithms_enabled()


# stopping


class Numbers(GradientModel):
    """Remembers the rows of each step. Its gradients are given, and its loss is always 1."""

    Config = PairModelConfig

    def __init__(self, gradient: float = 0.0) -> None:
        super().__init__()
        self.config = PairModelConfig(name="numbers")
        self.table = nn.Embedding(3, 2)
        self.other = nn.Parameter(torch.zeros(2, 2))
        self.gradient = gradient
        self.taken: list[list[tuple[int, int]]] = []

    @classmethod
    def build(cls, config: object, data: TrainingData) -> "Numbers":
        return cls()

    def initialise(self, seed: int) -> None:
        self.taken.clear()
        with torch.no_grad():
            self.table.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
            self.other.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))

    def loss(self, batch: PairBatch) -> torch.Tensor:
        self.taken.append(list(zip(batch.users_B.tolist(), batch.positives_B.tolist(), strict=True)))
        slope = self.gradient * (self.other[0, 0] - self.other[0, 0].detach() + self.table.weight.sum())
        return 1 + slope - slope.detach()

    def score(self, query: Query) -> torch.Tensor:
        return torch.zeros(len(query), 3)


ROWS = TrainingData(3, Ragged.from_pairs(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 2, 0, 1]), 4))


def numbers(gradient: float = 0.0, **fields: object) -> tuple[Numbers, FitSession]:
    session = session_of("sgd", **{"batch_size": 2, "learning_rate": 1.0, **fields})
    model = Numbers(gradient)
    return model.fit(ROWS, session), session


def history_of(*values: float | None, metric: str = "ndcg_at_10") -> list[Epoch]:
    return [Epoch(n, -n, 1, 1.0, {} if v is None else {metric: v}) for n, v in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "stopping", "best", "waited"),
    [
        ((0.1, 0.3, 0.3, 0.2), {}, 2, 2),
        ((0.1, 0.3, 0.3, 0.2), {"mode": "max"}, 2, 2),
        ((0.1, 0.3, 0.3, 0.2), {"mode": "min"}, 1, 3),
        ((0.1, 0.3, 0.3, 0.2), {"restore_best_weights": False}, 4, 2),
        # steps of .1 are no gain above .15, but two of them are, counted from the last best
        ((0.1, 0.2, 0.3, 0.35), {"min_delta": 0.15}, 3, 1),
        ((0.4, 0.35, 0.2, 0.19), {"mode": "min", "min_delta": 0.15}, 3, 1),
        # below the baseline there is a best epoch but no progress
        ((0.1, 0.2, 0.3), {"baseline": 0.5}, 3, 3),
        ((0.1, 0.6, 0.3), {"baseline": 0.5}, 2, 1),
        ((0.9, 0.6, 0.7), {"baseline": 0.5, "mode": "min"}, 2, 3),
        ((0.55, 0.6), {"baseline": 0.5, "min_delta": 0.08}, 1, 2),
        # epochs without validation neither win nor count until the next one is judged
        ((None, None), {}, 2, 0),
        ((None, 0.3, None, 0.2, None), {}, 2, 2),
        # the loss of epoch n is -n: it falls all the time, whatever the metric does
        ((0.3, 0.2, 0.1), {"monitor": "loss"}, 3, 0),
        ((0.3, 0.2, 0.1), {"monitor": "loss", "mode": "max"}, 1, 2),
        ((None, None, None), {"monitor": "loss", "min_delta": 1.5}, 3, 0),
    ],
)
def test_the_best_epoch_and_the_waiting_by_hand(
    values: tuple[float | None, ...], stopping: dict[str, Any], best: int, waited: int
) -> None:
    assert look_back(history_of(*values), StoppingConfig(**stopping), judged=True) == (best, waited)


def test_without_validation_rows_the_last_epoch_is_kept_even_by_the_loss() -> None:
    assert look_back(history_of(None, None), StoppingConfig(monitor="loss", mode="max"), judged=False) == (2, 0)


def test_another_metric_chooses_the_epoch() -> None:
    session = session_of(stopping={"monitor": "recall_at_20"}, patience=2)
    recall = [0.1, 0.2, 0.9, 0.1, 0.1]
    session.validate = lambda model: {
        "ndcg_at_10": NDCG[len(session.history)], "recall_at_20": recall[len(session.history)]
    }  # fmt: skip
    fit(session)
    assert (session.best_epoch, len(session.history)) == (3, 5)


def test_the_metrics_to_monitor_are_those_that_validation_gives() -> None:
    given = all_metrics(np.zeros((1, 20), dtype=bool), np.array([1]), (10, 20))
    assert set(get_args(Monitor)) == {*given, "loss"}


def test_a_baseline_that_is_never_reached_stops_after_patience() -> None:
    session = scripted(session_of(patience=3, stopping={"baseline": 0.5}))
    fit(session)
    assert (len(session.history), session.best_epoch) == (3, 2)


def test_the_last_weights_are_kept_on_demand() -> None:
    remember = Remember()
    session = scripted(session_of(callbacks=[remember], stopping={"restore_best_weights": False}))
    model = fit(session)
    assert session.best_epoch == EPOCHS
    assert same(model.weights(), remember.weights[EPOCHS])


# how often


def test_validation_every_n_epochs_and_after_the_last() -> None:
    session = scripted(session_of(validate_every=2))
    fit(session)
    assert [bool(epoch.metrics) for epoch in session.history] == [False, True, False, True, True]
    assert session.best_epoch == 2


def test_until_the_first_validation_the_latest_weights_are_kept() -> None:
    remember = Remember()
    session = scripted(session_of(validate_every=4, callbacks=[remember, KillAfter(3)]))
    model = BPRMF.build(CONFIG, DATA)
    with pytest.raises(Killed):
        model.fit(DATA, session)
    assert same(model.weights(), remember.weights[3])


def test_a_checkpoint_every_n_epochs_and_after_the_last(tmp_path: Path) -> None:
    class Names(Callback):
        seen: list[str] = []  # noqa: RUF012

        def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
            self.seen.append(" ".join(sorted(path.name.split("-")[1].lstrip("0") for path in tmp_path.iterdir())))

    names = Names()
    fit(session_of(recovery_every=2, checkpoints=tmp_path, callbacks=[names]))
    assert names.seen == ["", "2", "2", "2 4", "4 5"]


def test_a_fit_that_ran_out_of_patience_has_a_checkpoint_of_its_last_epoch(tmp_path: Path) -> None:
    fit(scripted(session_of(recovery_every=3, patience=2, checkpoints=tmp_path)))
    remember = Remember()
    fit(scripted(session_of(recovery_every=3, patience=2, checkpoints=tmp_path, callbacks=[remember])))
    assert not remember.weights  # nothing is trained again


@pytest.mark.parametrize(("steps", "sizes"), [(1, [2]), (2, [2, 2]), (3, [2, 2, 1]), (5, [2, 2, 1, 2, 2])])
def test_an_epoch_has_exactly_as_many_steps_as_asked(steps: int, sizes: list[int]) -> None:
    model, session = numbers(steps_per_epoch=steps, epochs=2)
    assert [len(rows) for rows in model.taken] == sizes * 2
    assert [epoch.samples for epoch in session.history] == [sum(sizes)] * 2
    assert [epoch.loss for epoch in session.history] == [1, 1]  # each row's is 1, in a batch that is not full too


def test_steps_beyond_a_pass_see_every_row_again_in_another_order() -> None:
    data = random_log(20, 30, 200, seed=0)
    model = Numbers()
    model.fit(data, session_of("adam", steps_per_epoch=8, batch_size=50, epochs=1))
    first, second = ([row for rows in part for row in rows] for part in (model.taken[:4], model.taken[4:]))
    assert first != second
    assert (
        sorted(first)
        == sorted(second)
        == sorted(zip(data.histories.users_R.tolist(), data.histories.items_R.tolist(), strict=True))
    )


def test_a_part_of_a_pass_is_another_part_each_epoch() -> None:
    model = Numbers()
    model.fit(random_log(20, 30, 200, seed=0), session_of("adam", steps_per_epoch=1, batch_size=50, epochs=2))
    first, second = model.taken
    assert sorted(first) != sorted(second)


def test_the_progress_bar_is_told_of_the_steps() -> None:
    told: list[int] = []

    class Told(Callback):
        def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
            told.append(samples_per_epoch)

    for steps in (None, 3):
        fit(session_of("adam", steps_per_epoch=steps, epochs=1, callbacks=[Told()]))
    assert told == [DATA.n_rows, 3 * 256]


def test_a_log_without_a_usable_row_is_refused_whatever_the_steps() -> None:
    everything = TrainingData(2, Ragged.from_pairs(np.array([0, 0]), np.array([0, 1]), 1))
    session = session_of("adam", steps_per_epoch=3, epochs=1)
    with pytest.raises(NothingToLearn, match="bpr_mf finds no row"):
        BPRMF.build(CONFIG, everything).fit(everything, session)


# step size


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"warmup": 3}, [0.25, 0.5, 0.75, 1, 1]),
        ({"kind": "linear", "epochs": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"kind": "linear", "epochs": 4, "end": 0.2}, [1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        ({"kind": "linear", "epochs": 4, "warmup": 2}, [1 / 3, 2 / 3, 1, 0.5, 0]),
        ({"kind": "cosine", "epochs": 3}, [1, 0.75, 0.25, 0]),
        ({"kind": "cosine", "epochs": 2, "end": 0.5}, [1, 0.75, 0.5]),
        ({"kind": "step", "every": 2, "factor": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
        ({"kind": "step", "every": 2, "factor": 0.1, "warmup": 1}, [0.5, 1, 1, 0.1, 0.1, 0.01]),
    ],
)
def test_shares_of_the_learning_rate_by_hand(schedule: dict[str, Any], shares: list[float]) -> None:
    config = ScheduleConfig(**schedule)
    got = [share_of_rate(config, epoch) for epoch in range(1, len(shares) + 1)]
    assert got == pytest.approx(shares)


def test_the_schedule_reaches_the_weights() -> None:
    # The gradient is 1 in each of the 3 steps of an epoch, so the weight falls by three times the sum of the rates.
    model, session = numbers(1.0, schedule={"kind": "linear"}, epochs=4)
    assert model.other[0, 0].item() == pytest.approx(3 - 3 * (1 + 0.75 + 0.5 + 0.25))
    assert session.trainer.schedule.epochs == 4


def test_the_schedule_reaches_the_kernel() -> None:
    slow = {"kind": "step", "every": 1, "factor": 1e-9}
    once, twice = (fit(session_of("sgd", epochs=n, schedule=slow)).weights() for n in (1, 2))
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-6)
    assert not torch.allclose(twice["user_UD"], fit(session_of("sgd", epochs=2)).weights()["user_UD"], atol=1e-3)


def test_a_refit_of_fewer_epochs_falls_as_the_fit_that_was_judged() -> None:
    filled = BPRMFConfig().complete(TrainerConfig(schedule=ScheduleConfig(kind="cosine"), epochs=50))
    again = BPRMFConfig().complete(filled.model_copy(update={"epochs": 7}))
    assert again.schedule.epochs == 50


# bounds


def test_gradients_are_clipped_by_their_norm_all_taken_together() -> None:
    # Seven gradients of 10: six of the table and one of the other. Their norm is 10 √7.
    model, _ = numbers(10.0, clip_norm=0.5, steps_per_epoch=1, epochs=1)
    step = 0.5 / math.sqrt(7)
    assert model.other[0, 0].item() == pytest.approx(3 - step, rel=1e-5)
    assert model.table.weight[1].tolist() == pytest.approx([0.3 - step, 0.4 - step], rel=1e-5)


def test_gradients_within_the_norm_are_left_alone() -> None:
    model, _ = numbers(0.1, clip_norm=0.5, steps_per_epoch=1, epochs=1)
    assert model.other[0, 0].item() == pytest.approx(2.9)


def test_long_embeddings_are_shortened_and_nothing_else_is() -> None:
    model, _ = numbers(0.0, max_norm=1.0, steps_per_epoch=1, epochs=1)
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(model.table.weight.detach(), expected)
    assert model.other[0].tolist() == [3, 4]


def test_max_norm_of_bpr_mf_holds_for_users_and_items() -> None:
    weights = fit(session_of("adam", max_norm=0.07)).weights()
    for name in ("user_UD", "item_ID"):
        length = torch.linalg.vector_norm(weights[name], dim=1)
        assert length.max() <= 0.07 * (1 + 1e-6)
        assert length.max() > 0.0699
    assert weights["bias_I"].abs().max() > 0.07


def test_a_model_without_embeddings_refuses_max_norm() -> None:
    class Bare(Numbers):
        def embeddings(self) -> list[torch.Tensor]:
            return []

    with pytest.raises(ValueError, match="has no embeddings"):
        Bare().fit(ROWS, session_of(max_norm=1.0))


# what does not go together


@pytest.mark.parametrize("control", [{"clip_norm": 1e6}, {"max_norm": 1e6}, {"steps_per_epoch": 6}])
def test_the_kernel_steps_aside_for_what_it_cannot_honour(control: dict[str, Any]) -> None:
    # Bounds that never bind and all of the 6 batches there are: the same as torch's own steps over the same batches.
    model = fit(session_of("sgd", epochs=1, **control))
    plain = BPRMF.build(CONFIG, DATA)
    plain.initialise(0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    for batch in steps(make_pairs(DATA, CONFIG, CONFIG.complete_sampling(SamplingConfig())).batches(256, 0, 1)):
        optimizer.zero_grad()
        plain.loss(batch).backward()
        optimizer.step()
    torch.testing.assert_close(model.weights(), plain.weights())
    assert BPRMFConfig().complete(TrainerConfig(**control)).optimizer == "adam"


def steps(batches: Iterator[PairBatch]) -> list[PairBatch]:
    found = list(batches)
    assert len(found) == 6
    return found


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schedule": {"kind": "constant", "end": 0.5}}, "end has no meaning for kind constant"),
        ({"schedule": {"kind": "constant", "epochs": 5}}, "epochs has no meaning"),
        ({"schedule": {"kind": "linear", "every": 5}}, "every has no meaning"),
        ({"schedule": {"kind": "cosine", "factor": 0.1}}, "factor has no meaning"),
        ({"schedule": {"kind": "step", "end": 0.1}}, "end has no meaning"),
        ({"schedule": {"kind": "cosine", "epochs": 5, "warmup": 5}}, "leaves nothing"),
        ({"schedule": {"warmup": 5}, "epochs": 5}, "leaves nothing"),
        ({"stopping": {"baseline": 0.1}, "patience": 0}, "needs a patience"),
        ({"stopping": {"monitor": "ndcg_at_11"}}, "ndcg_at_10"),
        ({"optimizer": "sdg"}, "nesterov"),
    ],
)
def test_what_has_no_effect_or_sense_is_refused_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrainerConfig.model_validate(fields)


def test_a_warm_up_as_long_as_the_recommended_epochs_is_refused() -> None:
    with pytest.raises(ValidationError, match="leaves nothing"):
        BPRMFConfig().complete(TrainerConfig(schedule=ScheduleConfig(kind="cosine", warmup=80)))


def test_the_complete_configuration_can_be_read_back() -> None:
    for schedule in ({}, {"kind": "linear"}, {"kind": "step"}):
        complete = BPRMFConfig().complete(TrainerConfig.model_validate({"schedule": schedule}))
        assert TrainerConfig.model_validate(complete.model_dump()) == complete
        assert BPRMFConfig().complete(complete) == complete
