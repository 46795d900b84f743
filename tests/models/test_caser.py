"""Caser against its equations, written out as loops."""

import numpy as np
import pytest
import torch

from models.base import FitSession, Query, Ragged, TrainingData
from models.caser import Caser, CaserConfig
from models.fitting.config import TrainerConfig
from tests.factories import random_log

DATA = random_log(n_users=7, n_items=9, n_rows=60, seed=1)
SMALL = CaserConfig(loss="softmax", dim=3, history_length=4, horizontal=2, vertical=2)


def drawn(config: CaserConfig = SMALL, seed: int = 0) -> Caser:
    """A model with large random weights, so that every part shows."""
    model = Caser.build(config, DATA)
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
            if name in ("input_ID", "user_UD"):
                parameter[-1] = 0
    return model.eval()


def by_loops(model: Caser, user: int, history: list[int]) -> np.ndarray:
    """[I] scores from the paper's equations 4 to 10, of one user; only windows that hold an item count."""
    config, weights = model.config, {name: tensor.numpy() for name, tensor in model.weights().items()}
    length, dim = config.history_length, config.dim
    latest = history[-length:]
    image_LD = np.zeros((length, dim))
    for place, item in enumerate(latest):
        image_LD[length - len(latest) + place] = weights["input_ID"][item]
    read = []
    for height in range(1, length + 1):
        filters, bias = weights[f"filters.{height - 1}.weight"], weights[f"filters.{height - 1}.bias"]
        for number in range(config.horizontal):
            best = 0.0  # of relu
            for top in range(length - height + 1):
                if top + height > length - len(latest):
                    window_HD = image_LD[top : top + height]
                    best = max(best, float((window_HD * filters[number].reshape(height, dim)).sum() + bias[number]))
            read.append(best)
    for number in range(config.vertical):
        read.extend(sum(weights["place_LF"][place, number] * image_LD[place] for place in range(length)))
    joined_D = np.maximum(weights["join.weight"] @ np.array(read) + weights["join.bias"], 0)
    described_H = np.concatenate([joined_D, weights["user_UD"][user]])
    scores: np.ndarray = weights["output_IH"] @ described_H + weights["bias_I"]
    return scores


@pytest.mark.parametrize("history", [[], [4], [1, 2], [1, 2, 3, 4], [8, 8, 0, 1, 2, 3, 5]])
def test_scores_are_those_of_the_equations(history: list[int]) -> None:
    model = drawn()
    query = Query(np.array([2, -1]), Ragged.from_pairs(np.repeat([0, 1], len(history)), np.array(history * 2), 2))
    score_UI = model.score(query).numpy()
    np.testing.assert_allclose(score_UI[0], by_loops(model, 2, history), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(score_UI[1], by_loops(model, -1, history), rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_softmax_of_the_equations_over_all_items() -> None:
    model = drawn(SMALL.model_copy(update={"l2": 0.3}))  # eval mode: without dropout, but users are hidden at random
    model.config = model.config.model_copy(update={"user_dropout": 0.0})
    session = FitSession(sampling=SMALL.complete_sampling(FitSession().sampling))
    windows = model.prepare(DATA, session)
    total, penalty = 0.0, 0.0
    output_IH, user_UD = model.output_IH.detach().numpy(), model.user_UD.detach().numpy()
    for user in range(DATA.n_users):
        items = DATA.histories.row(user).tolist()
        for place, target in enumerate(items):
            logit_I = by_loops(model, user, items[:place])
            total += float(np.log(np.exp(logit_I - logit_I[target]).sum()))
            penalty += 0.15 * float((user_UD[user] ** 2).sum() + (output_IH[target] ** 2).sum())
    batches = list(windows.batches(11, 0, 1))
    made = sum(model.loss(batch).item() * len(batch) for batch in batches)
    assert sum(map(len, batches)) == DATA.n_rows
    assert made == pytest.approx(total + penalty, rel=1e-4)


def test_the_length_of_the_others_in_a_batch_changes_nothing() -> None:
    model = drawn()
    short, long = Ragged.from_pairs(np.array([0]), np.array([3]), 1), np.array([0, 1, 1, 1, 1, 1])
    both = Ragged.from_pairs(long, np.array([3, 8, 7, 6, 5, 4]), 2)
    alone = model.score(Query(np.array([1]), short))
    torch.testing.assert_close(model.score(Query(np.array([1, 2]), both))[:1], alone)


def test_hidden_users_are_as_many_as_asked_for_and_have_the_vector_of_nobody() -> None:
    data = random_log(n_users=50, n_items=20, n_rows=4000, seed=0)
    config = SMALL.model_copy(update={"user_dropout": 0.25})
    model = Caser.build(config, data)
    model.initialise(0)
    session = FitSession(sampling=config.complete_sampling(FitSession().sampling))
    (batch,) = model.prepare(data, session).batches(4000, 0, 1)
    seen: list[torch.Tensor] = []
    describe = model._described
    model._described = lambda users_B, history_BL: (seen.append(users_B), describe(users_B, history_BL))[1]  # type: ignore
    torch.manual_seed(0)
    model.loss(batch)
    share = (seen[0] == data.n_users).double().mean().item()
    assert share == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 4000))
    assert (seen[0][seen[0] < data.n_users] == batch.pairs.users_B[seen[0] < data.n_users]).all()


def test_the_row_of_no_item_stays_zero_and_users_without_rows_are_nobody() -> None:
    wider = Ragged(np.append(DATA.histories.offsets_U1, DATA.n_rows), DATA.histories.items_R)
    data = TrainingData(DATA.n_items, wider)
    session = FitSession(TrainerConfig(epochs=2, seed=0, device="cpu", batch_size=8))
    model = Caser.build(SMALL, data).fit(data, session)
    assert not model.input_ID[-1].any()
    assert model.input_ID[:-1].any(dim=1).all()
    assert model.user_UD[-1].any()  # hidden users have taught it
    one = Ragged.from_pairs(np.array([0, 0]), np.array([3, 5]), 1)
    stranger, rowless, other = (model.score(Query(np.array([user]), one)) for user in (-1, 7, 0))
    assert torch.equal(stranger, rowless)
    assert not torch.equal(stranger, other)


def test_number_of_parameters() -> None:
    horizontal = sum(2 * (height * 3 + 1) for height in range(1, 5))
    join = (4 * 2 + 2 * 3 + 1) * 3
    assert Caser.build(SMALL, DATA).n_parameters == 10 * 3 + 8 * 3 + 9 * 6 + 9 + horizontal + 4 * 2 + join
