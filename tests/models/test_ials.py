"""Implicit ALS: the paper's equations, loss that only falls, the same bits on any threads, and strangers folded in."""

from collections.abc import Mapping

import numba
import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.base import Callback, Epoch, FitSession, Query, Ragged, Recommender, TrainingData, TrainingDiverged
from models.fitting.config import TrainerConfig
from models.ials import kernel
from models.ials.model import IALS, ITERATIONS, L2, MOST_POINTS, START, UNOBSERVED, IALSConfig
from tests.factories import query_of, random_log, two_communities

Floats = npt.NDArray[np.float32]
MAX_THREADS = numba.get_num_threads()
DATA = random_log(50, 40, 600, seed=0)  # with repeated rows: each counts


def counts(data: TrainingData) -> npt.NDArray[np.float64]:
    """[U, I] rows of each pair."""
    count_UI = np.zeros((data.n_users, data.n_items))
    np.add.at(count_UI, (data.histories.users_R, data.histories.items_R), 1)
    return count_UI


def penalties(count_UI: npt.NDArray[np.float64], config: IALSConfig) -> npt.NDArray[np.float64]:
    """[U] λ (|I_u| + α0 |I|)^ν: the frequency-scaled regularisation of Rendle et al. (RecSys 2022)."""
    assert config.l2 is not None
    assert config.unobserved is not None
    return np.asarray(config.l2 * (count_UI.sum(axis=1) + config.unobserved * count_UI.shape[1]) ** config.l2_exponent)


def dense_loss(user_UD: Floats, item_ID: Floats, data: TrainingData, config: IALSConfig) -> float:
    """The loss of Rendle et al. (RecSys 2022), over the whole table."""
    assert config.unobserved is not None
    count_UI, score_UI = counts(data), user_UD.astype(np.float64) @ item_ID.astype(np.float64).T
    rows = (count_UI * (score_UI - 1) ** 2).sum() + config.unobserved * (score_UI**2).sum()
    users = penalties(count_UI, config) @ (user_UD.astype(np.float64) ** 2).sum(axis=1)
    items = penalties(count_UI.T, config) @ (item_ID.astype(np.float64) ** 2).sum(axis=1)
    return float(rows + users + items)


def dense_users(item_ID: Floats, data: TrainingData, config: IALSConfig) -> npt.NDArray[np.float64]:
    """[U, D] every user's equations, built and solved in full."""
    assert config.unobserved is not None
    count_UI, item_ID = counts(data), item_ID.astype(np.float64)
    penalty_U = penalties(count_UI, config)
    return np.stack([
        np.linalg.solve(
            (item_ID.T * (count_I + config.unobserved)) @ item_ID + penalty * np.eye(item_ID.shape[1]),
            item_ID.T @ count_I,
        )
        for count_I, penalty in zip(count_UI, penalty_U, strict=True)
    ])  # fmt: skip


def fit(data: TrainingData, threads: int = MAX_THREADS, seed: int = 0, **fields: object) -> IALS:
    config = IALSConfig.model_validate({"dim": 7, "unobserved": 0.2, "l2": 0.02, "iterations": 4, **fields})
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, MAX_THREADS))
    try:
        return IALS.build(config, data).fit(data, FitSession(TrainerConfig(seed=seed)))
    finally:
        numba.set_num_threads(before)


def test_a_half_step_by_hand() -> None:
    # One user, who took the first of two items; vectors of length one, so that one step of the solver is exact.
    item_ID = np.array([[2.0], [3.0]], dtype=np.float32)
    user_UD = np.array([[1.0]], dtype=np.float32)
    partners = Ragged.from_pairs(np.array([0]), np.array([0]), 1)
    gram_DD = kernel.gram(item_ID)
    assert gram_DD.tolist() == [[13.0]]
    loss = kernel.half_step(user_UD, item_ID, gram_DD, partners, np.array([0.7], dtype=np.float32), 0.1, steps=1)
    assert loss == pytest.approx((1 * 2 - 1) ** 2 + 0.1 * (2**2 + 3**2) + 0.7)
    assert user_UD[0, 0] == pytest.approx(2 / (2 * 2 + 0.1 * 13 + 0.7))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dim", [1, 5, 16, 37])
def test_users_solve_the_equations_of_the_paper(dim: int, exponent: float) -> None:
    model = fit(DATA, dim=dim, l2_exponent=exponent, l2=0.3)
    expected_UD = dense_users(model.item_ID.numpy(), DATA, model.config)
    np.testing.assert_allclose(model.user_UD.numpy(), expected_UD, rtol=1e-3, atol=1e-4)


def test_gram_is_the_sum_of_outer_products() -> None:
    other_OD = np.random.default_rng(0).normal(size=(103, 37)).astype(np.float32)
    np.testing.assert_allclose(kernel.gram(other_OD), other_OD.T @ other_OD, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_loss_falls_with_every_half_step_and_is_the_one_of_the_paper(steps: int) -> None:
    config = IALSConfig(dim=6, unobserved=0.3, l2=0.05)
    rng = np.random.default_rng(0)
    user_UD, item_ID = (rng.normal(0, 0.3, (n, 6)).astype(np.float32) for n in (DATA.n_users, DATA.n_items))
    by_item = Ragged.from_pairs(DATA.histories.items_R, DATA.histories.users_R, DATA.n_items)
    penalty_U = penalties(counts(DATA), config).astype(np.float32)
    penalty_I = penalties(counts(DATA).T, config).astype(np.float32)
    losses = [dense_loss(user_UD, item_ID, DATA, config)]
    for _ in range(6):
        gram_DD = kernel.gram(item_ID)
        before = kernel.half_step(user_UD, item_ID, gram_DD, DATA.histories, penalty_U, 0.3, steps)
        assert before + penalty_I @ (item_ID**2).sum(axis=1) == pytest.approx(losses[-1], rel=1e-4)
        losses.append(dense_loss(user_UD, item_ID, DATA, config))
        gram_DD = kernel.gram(user_UD)
        before = kernel.half_step(item_ID, user_UD, gram_DD, by_item, penalty_I, 0.3, steps)
        assert before + penalty_U @ (user_UD**2).sum(axis=1) == pytest.approx(losses[-1], rel=1e-4)
        losses.append(dense_loss(user_UD, item_ID, DATA, config))
    assert (np.diff(losses) < 0).all()


@pytest.mark.skipif(MAX_THREADS < 2, reason="needs two threads")
def test_the_number_of_threads_changes_nothing() -> None:
    data = random_log(400, 300, 8_000, seed=2)
    one, two = fit(data, threads=1, dim=33), fit(data, threads=2, dim=33)
    assert torch.equal(one.user_UD, two.user_UD)
    assert torch.equal(one.item_ID, two.item_ID)


def test_a_stranger_with_a_fitted_users_history_gets_that_users_scores() -> None:
    model = fit(DATA)
    known = model.score(query_of(DATA))
    strangers = model.score(Query(np.full(DATA.n_users, -1), DATA.histories))
    has_rows_U = torch.from_numpy(DATA.histories.lengths_U > 0)
    torch.testing.assert_close(strangers[has_rows_U], known[has_rows_U], rtol=1e-6, atol=1e-6)


def test_strangers_can_be_folded_in_after_a_round_trip() -> None:
    # the numbers chosen by a fit are needed for it, and a configuration may not have them
    model = fit(DATA, unobserved=0.7, l2=0.09)
    other = IALS.build(IALSConfig(dim=7), DATA).load_weights(model.weights())
    stranger = Query(np.array([-1]), DATA.histories.take(np.array([3])))
    assert torch.equal(other.score(stranger), model.score(stranger))


def test_a_user_without_any_history_gets_the_mean_user() -> None:
    model = fit(DATA)
    score_UI = model.score(Query(np.array([-1]), Ragged.empty(1)))
    torch.testing.assert_close(score_UI[0], model.user_UD.mean(dim=0) @ model.item_ID.T)


def test_rows_without_partners_are_zero() -> None:
    data = TrainingData(5, Ragged.from_pairs(np.array([0, 0, 2]), np.array([1, 3, 3]), 4))
    model = fit(data)
    assert not model.item_ID[[0, 2, 4]].any()
    assert not model.user_UD[[1, 3]].any()


class Script:
    """Validation results by what the model was fitted with; remembers what it was asked."""

    def __init__(self, best: tuple[float, float], iterations: int) -> None:
        self.best, self.iterations = best, iterations
        self.asked: list[tuple[float | None, float | None, int | None]] = []

    def __call__(self, model: Recommender) -> Mapping[str, float]:
        assert isinstance(model.config, IALSConfig)
        unobserved, l2, iterations = model.config.unobserved, model.config.l2, model.config.iterations
        assert unobserved is not None
        assert l2 is not None
        assert iterations is not None
        self.asked.append((unobserved, l2, iterations))
        apart = abs(np.log(unobserved / self.best[0])) + abs(np.log(l2 / self.best[1]))
        return {"ndcg_at_10": 1 - 0.01 * float(apart) - 1e-4 * abs(iterations - self.iterations)}


class Remember(Callback):
    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.started = self.ended = self.most = 0

    def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
        self.started += 1
        self.most = epochs

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def on_end(self, model: Recommender, history: object) -> None:
        self.ended += 1


def test_the_validation_rows_choose_and_a_refit_repeats_it() -> None:
    data, _ = two_communities()
    best = (UNOBSERVED[UNOBSERVED.index(START[0]) - 2], L2[L2.index(START[1]) + 1])
    script, watcher = Script(best, ITERATIONS + 2), Remember()
    session = FitSession(TrainerConfig(), script, callbacks=[watcher])
    model = IALS.build(IALSConfig(dim=8), data).fit(data, session)
    assert (model.config.unobserved, model.config.l2, model.config.iterations) == (*best, ITERATIONS + 2)
    assert len({asked[:2] for asked in script.asked}) <= MOST_POINTS
    assert [epoch.number for epoch in session.history] == list(range(1, len(session.history) + 1))
    assert session.history[session.best_epoch - 1].metrics == script(model)
    assert len(session.history) <= watcher.most
    assert (watcher.started, watcher.ended, watcher.epochs) == (1, 1, session.history)
    again = IALS.build(model.config, data).fit(data, FitSession(TrainerConfig(epochs=session.best_epoch)))
    assert torch.equal(again.item_ID, model.item_ID)
    assert torch.equal(again.user_UD, model.user_UD)


def test_what_is_set_is_not_searched() -> None:
    script = Script((START[0], START[1]), 3)
    config = IALSConfig(dim=4, unobserved=0.25, l2=0.5, iterations=3)
    session = FitSession(TrainerConfig(), script)
    model = IALS.build(config, DATA).fit(DATA, session)
    assert script.asked == [(0.25, 0.5, 3)]
    assert model.config == config
    assert len(session.history) == 3


def test_overflow_is_noticed() -> None:
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(DATA, init_std=1e30)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        fit(TrainingData(3, Ragged.empty(2)))
