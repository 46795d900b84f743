"""LightGCN: the propagation against dense linear algebra, and what the model makes of it."""

import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

from models.base import Callback, Epoch, FitSession, Query, Ragged, Recommender, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.lightgcn.model import LightGCN, LightGCNConfig
from models.lightgcn.propagation import Graph, layer_sums, propagate
from models.popularity import Popularity, PopularityConfig
from models.ranking.metrics import hits, recall_at_k
from models.ranking.top_k import recommend
from tests.factories import query_of, random_log

LOG = random_log(40, 30, 300, seed=0)  # repeats included
NO_ROWS = TrainingData(30, Ragged.empty(40))


def session_of(**trainer: Any) -> FitSession:
    return FitSession(TrainerConfig(**{"epochs": 3, "batch_size": 64, "device": "cpu", **trainer}))


def fit(data: TrainingData = LOG, session: FitSession | None = None, **fields: Any) -> LightGCN:
    config = LightGCNConfig(**{"dim": 7, "layers": 3, **fields})
    return LightGCN.build(config, data).fit(data, session or session_of())


def tables(data: TrainingData, dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(data.n_users, dim, generator=generator), torch.randn(data.n_items, dim, generator=generator)


def dense_mean(data: TrainingData, layers: int) -> torch.Tensor:
    """[U + I, U + I] the mean over k = 0.. of (D^-1/2 A D^-1/2)^k in float64."""
    n = data.n_users + data.n_items
    a_NN = torch.zeros(n, n, dtype=torch.float64)
    users_R, items_R = (torch.from_numpy(one).long() for one in (data.histories.users_R, data.histories.items_R))
    a_NN[users_R, data.n_users + items_R] = 1
    a_NN[data.n_users + items_R, users_R] = 1
    root_N = a_NN.sum(dim=1).clamp(min=1).sqrt()
    a_NN = a_NN / root_N[:, None] / root_N
    return torch.stack([torch.linalg.matrix_power(a_NN, k) for k in range(layers + 1)]).mean(dim=0)


def test_two_steps_by_hand() -> None:
    # Users {0, 1} and {1}: a step to users is [[1/√2, 1/2], [0, 1/√2]], one to items its transpose.
    graph = Graph.of(Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2), 2)
    root = math.sqrt(2)
    u0, u1, i0, i1 = 2.0, 4.0, 1.0, 3.0
    u0_1, u1_1, i0_1, i1_1 = i0 / root + i1 / 2, i1 / root, u0 / root, u0 / 2 + u1 / root
    u0_2, u1_2, i0_2, i1_2 = i0_1 / root + i1_1 / 2, i1_1 / root, u0_1 / root, u0_1 / 2 + u1_1 / root
    user_UD, item_ID = propagate(graph, torch.tensor([[u0], [u1]]), torch.tensor([[i0], [i1]]), layers=2)
    assert user_UD[:, 0].tolist() == pytest.approx([(u0 + u0_1 + u0_2) / 3, (u1 + u1_1 + u1_2) / 3])
    assert item_ID[:, 0].tolist() == pytest.approx([(i0 + i0_1 + i0_2) / 3, (i1 + i1_1 + i1_2) / 3])


@pytest.mark.parametrize(("layers", "dim"), [(1, 3), (3, 64)])
def test_vectors_and_gradients_are_those_of_the_dense_matrix(layers: int, dim: int) -> None:
    first = [table.requires_grad_() for table in tables(LOG, dim)]
    made = torch.cat(propagate(Graph.of(LOG.histories, LOG.n_items), first[0], first[1], layers))
    weight_ND = torch.cat(tables(LOG, dim, seed=1))
    (weight_ND * made.square()).sum().backward()
    exact = [table.detach().double().requires_grad_() for table in first]
    expected = dense_mean(LOG, layers) @ torch.cat(exact)
    (weight_ND * expected.square()).sum().backward()
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(first, exact, strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


def test_torchs_sparse_product_gives_the_same() -> None:
    graph, (user_UD, item_ID) = Graph.of(LOG.histories, LOG.n_items), tables(LOG, 16)
    for side, other, own in zip(graph.sides, (item_ID, user_UD), (user_UD, item_ID), strict=True):
        torch.testing.assert_close(side.torch_step(other, own, 0.5), side.step(other, own, 0.5))


def test_who_has_no_rows_stands_alone() -> None:
    data = TrainingData(4, Ragged.from_pairs(np.array([1, 1, 2]), np.array([1, 2, 2]), 5))
    user_UD, item_ID = tables(data, 6)
    user_end_UD, item_end_ID = propagate(Graph.of(data.histories, 4), user_UD, item_ID, layers=3)
    alone_U, alone_I = [0, 3, 4], [0, 3]  # the first and the last row of a side among them
    torch.testing.assert_close(user_end_UD[alone_U], user_UD[alone_U] / 4)
    torch.testing.assert_close(item_end_ID[alone_I], item_ID[alone_I] / 4)
    assert not torch.isclose(user_end_UD[1], user_UD[1] / 4).all()


def test_the_number_of_threads_changes_no_bit() -> None:
    data, before = random_log(500, 300, 20_000, seed=1), numba.get_num_threads()
    graph, (user_UD, item_ID) = Graph.of(data.histories, 300), tables(data, 64)
    made = []
    try:
        for n_threads in (1, before):
            numba.set_num_threads(n_threads)
            made.append(propagate(graph, user_UD, item_ID, layers=3))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def test_dropped_pairs_are_gone_both_ways_and_the_mean_stays() -> None:
    graph, rng = Graph.of(LOG.histories, LOG.n_items), np.random.default_rng(0)
    full_UI, n_pairs = graph.by_user.dense(LOG.n_items), len(graph.order_R)
    sum_UI = np.zeros_like(full_UI)
    for _ in range(400):
        kept_R = rng.random(n_pairs) >= 0.25
        thinned = graph.thinned(kept_R, 0.75)
        thin_UI = thinned.by_user.dense(LOG.n_items)
        np.testing.assert_array_equal(thinned.by_item.dense(LOG.n_users).T, thin_UI)
        assert np.count_nonzero(thin_UI) == kept_R.sum()
        np.testing.assert_allclose(thin_UI[thin_UI > 0], full_UI[thin_UI > 0] / 0.75, rtol=1e-6)
        sum_UI += thin_UI
    np.testing.assert_allclose(sum_UI / 400, full_UI, atol=0.15 * full_UI.max())  # 5 standard deviations


def test_edges_are_dropped_in_training_only_and_anew_each_step() -> None:
    assert any(not torch.equal(one, fit(edge_dropout=0.4).weights()[name]) for name, one in fit().weights().items())
    model = fit(edge_dropout=0.4)
    assert model._graph_of_step() is model.graph
    model.train()
    first, second = (len(model._graph_of_step().by_user.columns_Z) for _ in range(2))
    assert first != second  # of some 250
    assert 0.45 < first / len(model.graph.order_R) < 0.75
    means = [float(model._graph_of_step().by_user.values_Z.sum()) for _ in range(50)]
    assert np.mean(means) == pytest.approx(float(model.graph.by_user.values_Z.sum()), rel=0.1)


def test_the_first_vectors_are_as_long_as_asked() -> None:
    model = LightGCN.build(LightGCNConfig(init_std=0.5), LOG)
    model.initialise(0)
    assert [table.std().item() for table in model.embeddings()] == pytest.approx([0.5, 0.5], rel=0.1)


def test_l2_weighs_the_first_vectors_of_what_a_row_uses() -> None:
    fields: dict[str, Any] = {"loss": "bpr", "init_std": 0.5}
    model, penalised = fit(l2=0.0, **fields), LightGCN.build(LightGCNConfig(dim=7, layers=3, l2=0.3, **fields), LOG)
    penalised.load_weights(model.weights())
    batch = next(iter(model.batches(model.prepare(LOG, session := _complete(model)), session.trainer, 1)))
    assert batch.negatives.shape == (64, 1)
    used = (model.user_UD[batch.users_B], model.item_ID[batch.positives_B], model.item_ID[batch.negatives[:, 0]])
    norm = sum(float(vectors.detach().double().square().sum()) for vectors in used) / 64
    assert penalised.loss(batch).item() - model.loss(batch).item() == pytest.approx(0.5 * 0.3 * norm, rel=1e-4)


def _complete(model: LightGCN) -> FitSession:
    session = session_of()
    session.trainer = model.config.complete(session.trainer)
    session.sampling = model.config.complete_sampling(SamplingConfig())
    return session


def test_loss_of_the_default_by_hand() -> None:
    model = fit()
    pairs = model.prepare(LOG, session := _complete(model))
    batch = next(iter(model.batches(pairs, session.trainer, 1)))
    vectors_ND = dense_mean(LOG, 3) @ torch.cat([model.user_UD, model.item_ID]).detach().double()
    vectors_ND = vectors_ND / vectors_ND.norm(dim=1, keepdim=True)
    score_UI = vectors_ND[:40] @ vectors_ND[40:].T / model.config.temperature
    seen = {(int(u), int(i)) for u, i in zip(LOG.histories.users_R, LOG.histories.items_R, strict=True)}
    losses = []
    for user, item in zip(batch.users_B.tolist(), batch.positives_B.tolist(), strict=True):
        others = [score_UI[user, other] for other in batch.negatives.tolist() if (user, other) not in seen]
        losses.append(torch.stack([score_UI[user, item], *others]).logsumexp(0) - score_UI[user, item])
    assert model.loss(batch).item() == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_stranger_is_put_on_the_graph(similarity: str) -> None:
    model = fit(similarity=similarity)
    unknown = Query(np.full(40, -1), LOG.histories)
    # Their vectors are the propagated ones without the share of their own first vectors, which are zero.
    user_UD, item_ID = propagate(model.graph, model.user_UD.detach(), model.item_ID.detach(), layers=3)
    user_UD = user_UD - model.user_UD.detach() / 4
    # The items pass on what they are given by the users whose vectors are known: the same ones here.
    score_UI = user_UD @ item_ID.T
    if similarity == "cosine":
        score_UI = score_UI / user_UD.norm(dim=1, keepdim=True) / item_ID.norm(dim=1)
    has_rows_U = torch.from_numpy(LOG.histories.lengths_U > 0)
    torch.testing.assert_close(model.score(unknown)[has_rows_U], score_UI[has_rows_U], rtol=1e-4, atol=1e-5)


def test_who_is_not_fitted_gets_the_same_known_by_index_or_not() -> None:
    histories = Ragged(np.append(LOG.histories.offsets_U1, LOG.histories.offsets_U1[-1]), LOG.histories.items_R)
    model = fit(TrainingData(30, histories))  # user 40 has no rows
    shown = Ragged.from_pairs(np.array([0, 0, 1, 1]), np.array([3, 8, 8, 3]), 4)
    score_UI = model.score(Query(np.array([40, -1, 40, -1]), shown))
    assert torch.equal(score_UI[0], score_UI[1])
    assert torch.equal(score_UI[2], score_UI[3])
    fitted_U = np.flatnonzero(histories.lengths_U)
    mean_I = model.score(Query(fitted_U, Ragged.empty(len(fitted_U)))).mean(dim=0)
    torch.testing.assert_close(score_UI[2], mean_I)  # products are linear in the user's vector
    assert not torch.allclose(score_UI[0], score_UI[2])


def test_scores_follow_the_weights() -> None:
    seen: list[torch.Tensor] = []

    def validate(model: Recommender) -> dict[str, float]:
        seen.append(model.score(query_of(LOG)))
        return {"ndcg_at_10": -float(len(seen))}  # the first epoch is kept

    session = session_of()
    session.validate = validate
    kept = fit(session=session).score(query_of(LOG))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(kept, seen[0])
    assert kept.abs().max() <= 1 + 1e-6  # cosines


def test_weights_carry_the_graph() -> None:
    model = fit()
    other = LightGCN.build(LightGCNConfig(dim=7, layers=3), NO_ROWS).load_weights(model.weights())
    query = Query(np.array([0, -1, 39, -1]), LOG.histories.take(np.array([1, 2, 3, -1])))
    assert torch.equal(model.score(query), other.score(query))
    assert other.weights().keys() == model.weights().keys()
    assert all(torch.equal(one, other.weights()[name]) for name, one in model.weights().items())


def test_weights_of_other_rows_are_taken_onto_the_own_graph() -> None:
    model, other = fit(), fit(random_log(40, 30, 200, seed=5))
    first = other.weights()
    other.load_weights(other.adopt(model.weights()))
    assert torch.equal(other.user_UD, model.user_UD)
    assert torch.equal(other.weights()["pairs.items"], first["pairs.items"])


class Killed(Exception):
    pass


class KillAfter(Callback):
    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Killed


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"edge_dropout": 0.2}
    expected = fit(session=session_of(epochs=4), **fields).weights()
    killed, again = session_of(epochs=4), session_of(epochs=4)
    killed.checkpoints = again.checkpoints = tmp_path
    killed.callbacks = [KillAfter()]
    with pytest.raises(Killed):
        fit(session=killed, **fields)
    weights = fit(session=again, **fields).weights()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("loss", "distribution"),
    [("sampled_softmax", None), ("sampled_softmax", "in_batch"), ("bpr", None), ("softmax", None)],
)
def test_finds_tastes_that_popularity_does_not_know(loss: str, distribution: str | None) -> None:
    rng = np.random.default_rng(0)
    users_R = rng.integers(200, size=5000)
    items_R = (users_R % 4) * 15 + (rng.random(5000) ** 1.5 * 15).astype(int)  # of four tastes, each with favourites
    items_R = np.where(rng.random(5000) < 0.2, rng.integers(60, size=5000), items_R)
    held_R = np.arange(5000) % 5 == 0
    data = TrainingData(60, Ragged.from_pairs(users_R[~held_R], items_R[~held_R], 200))
    relevant = Ragged.from_pairs(users_R[held_R], items_R[held_R], 200)
    session = session_of(epochs=5, batch_size=512)
    session.sampling = SamplingConfig.model_validate({"distribution": distribution})
    model = fit(data, session, loss=loss, dim=16)
    floor = Popularity.build(PopularityConfig(), data).fit(data, session_of())
    recall, least = (
        np.nanmean(recall_at_k(hits(recommend(one, query_of(data), None, 10)[0], relevant), relevant.lengths_U, 10))
        for one in (model, floor)
    )
    assert recall > 2 * least


def test_left_open_fields_go_with_the_loss() -> None:
    paper = LightGCNConfig(loss="bpr")
    assert (paper.similarity, paper.l2, paper.temperature, paper.layers) == ("dot", 1e-4, 1, 3)
    assert paper.complete_sampling(SamplingConfig()).negatives == 1
    assert LightGCNConfig(loss="bpr", l2=0.5, similarity="cosine").l2 == 0.5
    assert LightGCNConfig.model_validate(paper.model_dump()) == paper
    assert LightGCNConfig().complete_sampling(SamplingConfig()).shared
    assert (paper.complete(TrainerConfig()).batch_size, paper.complete(TrainerConfig()).learning_rate) == (16384, 0.01)
    assert paper.complete(TrainerConfig(batch_size=7)).batch_size == 7
    in_batch = SamplingConfig(distribution="in_batch")
    assert LightGCNConfig().complete(TrainerConfig(), in_batch).batch_size == 2048
    assert LightGCNConfig(loss="softmax").complete(TrainerConfig()).batch_size == 2048


def test_no_step_is_the_table_itself() -> None:
    graph, (user_UD, item_ID) = Graph.of(LOG.histories, LOG.n_items), tables(LOG, 5)
    user_same_UD, item_same_ID = layer_sums(graph, user_UD, item_ID, 0, 1.0)
    assert torch.equal(user_same_UD, user_UD)
    assert torch.equal(item_same_ID, item_ID)
