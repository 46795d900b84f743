"""The BPR loss and its kernel: gradients, one step by hand, verified negatives, and the same bits on any threads."""

from math import exp, log1p
from typing import get_args

import numba
import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.base import FitSession, Query, Ragged, TrainingData
from models.bpr_mf import kernel
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.fitting.config import OptimizerName, TrainerConfig
from tests.factories import batch_of, query_of, random_log

Floats = npt.NDArray[np.float32]
MAX_THREADS = numba.get_num_threads()


def random_weights(data: TrainingData, dim: int = 8) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(1)
    shapes = ((data.n_users, dim), (data.n_items, dim), (data.n_items,))
    user_UD, item_ID, bias_I = (rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes)
    return user_UD, item_ID, bias_I


def one_epoch(
    data: TrainingData, threads: int = 2, epoch: int = 1, seed: int = 0
) -> tuple[Floats, Floats, Floats, int]:
    user_UD, item_ID, bias_I = random_weights(data)
    rows = kernel.Rows.of(data.histories, data.n_items)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, MAX_THREADS))
    try:
        _, n_samples = kernel.train_epoch(
            rows, user_UD, item_ID, bias_I, rate=0.1, l2=0.01, use_bias=True, seed=seed, epoch=epoch
        )
    finally:
        numba.set_num_threads(before)
    return user_UD, item_ID, bias_I, n_samples


def test_gradient_agrees_with_finite_differences() -> None:
    data = random_log(4, 6, 12, seed=0)
    model = BPRMF.build(BPRMFConfig(dim=3, l2=0.3), data).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    batch = batch_of([0, 1, 1, 3], [2, 5, 0, 1], [[4], [3], [3], [0]], torch.float64)
    model.loss(batch).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            flat, gradient = parameter.view(-1), parameter.grad.view(-1)
            for at in range(len(flat)):
                value = flat[at].item()
                flat[at] = value + 1e-5
                above = model.loss(batch).item()
                flat[at] = value - 1e-5
                below = model.loss(batch).item()
                flat[at] = value
                assert gradient[at].item() == pytest.approx((above - below) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("weight", [None, 3.0])
def test_one_step_by_hand(weight: float | None) -> None:
    # One user who took item 0; item 1 is the only negative there is.
    data = TrainingData(2, Ragged.from_pairs(np.array([0]), np.array([0]), 1))
    u, p, n = np.array([1.0, 2.0]), np.array([0.5, -0.5]), np.array([0.25, 0.75])
    user_UD, item_ID = np.array([u], dtype=np.float32), np.array([p, n], dtype=np.float32)
    bias_I = np.array([0.5, 0.25], dtype=np.float32)
    rows = kernel.Rows.of(data.histories, 2, np.array([] if weight is None else [weight], dtype=np.float32))
    losses, n_samples = kernel.train_epoch(
        rows, user_UD, item_ID, bias_I, rate=0.1, l2=0.5, use_bias=True, seed=0, epoch=1
    )
    margin = 1 * 0.25 + 2 * -1.25 + 0.25  # u·(p - n) + b_p - b_n = -2
    step, shrink = (weight or 1) * 0.1 / (1 + exp(margin)), 1 - 0.1 * 0.5
    assert n_samples == 1
    assert losses == pytest.approx([(weight or 1) * log1p(exp(-margin))])
    assert user_UD[0] == pytest.approx(shrink * u + step * (p - n))
    assert item_ID[0] == pytest.approx(shrink * p + step * u)
    assert item_ID[1] == pytest.approx(shrink * n - step * u)
    assert bias_I == pytest.approx([shrink * 0.5 + step, shrink * 0.25 - step])


def test_a_step_of_the_kernel_is_a_step_of_torch() -> None:
    data = TrainingData(2, Ragged.from_pairs(np.array([0]), np.array([0]), 1))
    model = BPRMF.build(BPRMFConfig(dim=4, l2=0.2), data)
    model.initialise(0)
    user_UD, item_ID, bias_I = (parameter.detach().numpy().copy() for parameter in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    model.loss(batch_of([0], [0], [[1]])).backward()
    optimizer.step()
    rows = kernel.Rows.of(data.histories, 2)
    kernel.train_epoch(rows, user_UD, item_ID, bias_I, rate=0.3, l2=0.2, use_bias=True, seed=0, epoch=1)
    for expected, parameter in zip((user_UD, item_ID, bias_I), model.parameters(), strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-5, atol=1e-7)


def test_negatives_are_never_items_that_the_user_has_seen() -> None:
    # Every user saw items 0..39 of 80. Only a negative can lower a bias, so no seen item's may fall.
    users_R, items_R = np.repeat(np.arange(60), 40), np.tile(np.arange(40), 60)
    data = TrainingData(80, Ragged.from_pairs(users_R, items_R, 60))
    rows = kernel.Rows.of(data.histories, 80)
    assert rows.n_groups == 2
    user_UD, item_ID, bias_I = np.zeros((60, 2), np.float32), np.zeros((80, 2), np.float32), np.zeros(80, np.float32)
    _, n_samples = kernel.train_epoch(rows, user_UD, item_ID, bias_I, rate=0.01, l2=0.0, use_bias=True, seed=0, epoch=1)
    assert n_samples == data.n_rows
    assert (bias_I[:40] > 0).all()
    assert (bias_I[40:] < 0).all()


def test_a_user_who_saw_everything_is_skipped() -> None:
    data = TrainingData(3, Ragged.from_pairs(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), 2))
    user_UD, _, _, n_samples = one_epoch(data)
    assert n_samples == 1
    assert (user_UD[0] == random_weights(data)[0][0]).all()


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    data = random_log(300, 200, 20_000, seed=0)
    assert kernel.Rows.of(data.histories, data.n_items).n_groups > 1
    one = one_epoch(data, threads=1)
    for threads in range(2, MAX_THREADS + 1):
        many = one_epoch(data, threads=threads)
        assert all(np.array_equal(one[at], many[at]) for at in range(4))


def test_every_row_is_used_once_and_epochs_differ() -> None:
    data = random_log(300, 200, 20_000, seed=0)
    first, second = one_epoch(data, epoch=1), one_epoch(data, epoch=2)
    assert first[3] == second[3] == data.n_rows
    assert not np.array_equal(first[1], second[1])


@pytest.mark.parametrize("n_rows", [1, 10, 2_000, 40_000, 1_000_000])
def test_groups_are_never_empty(n_rows: int) -> None:
    for n_users, n_items in ((1, 1), (3, 1000), (1000, 40), (6040, 3706)):
        n_groups = kernel.count_groups(n_rows, n_users, n_items)
        assert 1 <= n_groups <= min(n_users, n_items)
        assert n_rows >= n_groups**2


def test_strangers_and_who_has_no_rows_get_the_scores_of_the_mean_fitted_user() -> None:
    data = TrainingData(3, Ragged(np.array([0, 1, 1, 3]), np.array([0, 1, 2], dtype=np.int32)))
    model = BPRMF.build(BPRMFConfig(dim=2), data)
    model.load_weights({
        "user_UD": torch.tensor([[1.0, 0.0], [9.0, 9.0], [3.0, 2.0]]),
        "item_ID": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        "bias_I": torch.tensor([0.5, 0.0, 0.0]),
        "fitted_U": torch.tensor([True, False, True]),
    })  # fmt: skip
    score_UI = model.score(Query(np.array([-1, 1, 0]), Ragged.empty(3)))
    assert score_UI.tolist() == [[2.5, 1, 3], [2.5, 1, 3], [1.5, 0, 1]]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_biases_they_stay_zero(optimizer: OptimizerName) -> None:
    data = random_log(50, 40, 600, seed=2)
    session = FitSession(TrainerConfig(optimizer=optimizer, epochs=1, device="cpu", batch_size=64))
    model = BPRMF.build(BPRMFConfig(dim=8, use_bias=False), data).fit(data, session)
    assert not model.bias_I.any()
    assert model.n_parameters == (50 + 40) * 8


def test_the_first_vectors_are_as_long_as_asked() -> None:
    model = BPRMF.build(BPRMFConfig(init_std=0.5), random_log(50, 40, 600, seed=2))
    model.initialise(0)
    assert [table.std().item() for table in model.embeddings()] == pytest.approx([0.5, 0.5], rel=0.1)


def test_the_rate_falls_by_decay_each_epoch() -> None:
    model = BPRMF.build(BPRMFConfig(decay=0.8), random_log(5, 4, 10, seed=2))
    rates = [model.learning_rate(TrainerConfig(learning_rate=0.5), epoch) for epoch in (1, 2, 3)]
    assert rates == pytest.approx([0.5, 0.4, 0.32])


def test_a_weight_goes_with_its_row_wherever_that_is_moved() -> None:
    # All rows but one weigh nothing, so that only the user and the item of this one may change.
    histories = random_log(60, 80, 3_000, seed=3).histories
    assert kernel.Rows.of(histories, 80).n_groups == 2
    for row in range(0, 3_000, 250):
        weight_R = np.zeros(3_000, np.float32)
        weight_R[row] = 2.0
        rng = np.random.default_rng(0)
        user_UD, item_ID = (rng.standard_normal((n, 2), dtype=np.float32) for n in (60, 80))
        before_UD, bias_I = user_UD.copy(), np.zeros(80, np.float32)
        rows = kernel.Rows.of(histories, 80, weight_R)
        kernel.train_epoch(rows, user_UD, item_ID, bias_I, rate=0.1, l2=0.0, use_bias=True, seed=0, epoch=1)
        assert np.flatnonzero((user_UD != before_UD).any(axis=1)).tolist() == [histories.users_R[row]]
        assert np.flatnonzero(bias_I > 0).tolist() == [histories.items_R[row]]


def test_weights_that_are_all_the_same_are_none() -> None:
    log = random_log(50, 40, 600, seed=2)
    fitted = [
        BPRMF.build(BPRMFConfig(), data).fit(data, FitSession(TrainerConfig(epochs=2))).weights()
        for data in (log, TrainingData(40, log.histories, weights_R=np.full(600, 5.0)))
    ]
    assert all(torch.equal(fitted[0][name], fitted[1][name]) for name in fitted[0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])  # the kernel, and batches
def test_items_of_heavy_rows_are_preferred(optimizer: OptimizerName) -> None:
    log = random_log(50, 40, 600, seed=2)
    is_heavy_R = log.histories.items_R < 10
    data = TrainingData(40, log.histories, weights_R=np.where(is_heavy_R, 5.0, 0.5))
    session = FitSession(TrainerConfig(optimizer=optimizer, epochs=5, device="cpu", batch_size=64))
    bias_I = BPRMF.build(BPRMFConfig(dim=8), data).fit(data, session).weights()["bias_I"]
    assert bias_I[:10].min() > bias_I[10:].max()


def test_adam_in_batches_learns_too() -> None:
    data = random_log(50, 40, 600, seed=2)
    session = FitSession(trainer=TrainerConfig(optimizer="adam", epochs=15, device="cpu", batch_size=64))
    model = BPRMF.build(BPRMFConfig(dim=8), data).fit(data, session)
    assert session.history[-1].loss < 0.8 * session.history[0].loss
    assert torch.isfinite(model.score(query_of(data))).all()


def test_without_a_wish_the_kernel_is_chosen_and_said_so() -> None:
    kernel_run = BPRMFConfig().complete(TrainerConfig())
    assert (kernel_run.optimizer, kernel_run.device) == ("sgd", "cpu")
    assert BPRMFConfig().complete(TrainerConfig(device="cuda")).optimizer == "adam"


def test_batches_of_any_size_step_as_far_as_the_kernel() -> None:
    bounded = TrainerConfig(optimizer="sgd", clip_norm=1e9)
    assert BPRMFConfig().complete(bounded).learning_rate == pytest.approx(0.1 * 1024)
    assert BPRMFConfig().complete(bounded.model_copy(update={"batch_size": 64})).learning_rate == pytest.approx(6.4)
    assert BPRMFConfig().complete(bounded.model_copy(update={"learning_rate": 3.0})).learning_rate == 3.0


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_every_optimizer_learns_at_its_recommended_rate(optimizer: OptimizerName) -> None:
    data = random_log(50, 40, 600, seed=2)
    session = FitSession(trainer=TrainerConfig(optimizer=optimizer, epochs=30, device="cpu", batch_size=64))
    BPRMF.build(BPRMFConfig(dim=8), data).fit(data, session)
    assert session.history[-1].loss < 0.95 * session.history[0].loss
