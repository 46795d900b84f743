"""GRU4Rec: a step by the equations, its loss by hand, padding, strangers, resumption.

U users, I items, B sequences, L places, D vector length, H width of the state, T targets
"""

from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.base import FitSession, Query, Ragged, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.gru4rec import GRU4Rec, GRU4RecConfig
from tests.factories import KillAfter, Killed, query_of, random_log

DATA = random_log(12, 9, 80, seed=0)
NONE = 9  # stands behind shorter sequences
EACH = pytest.mark.parametrize("fields", [{}, {"tied": True, "layers": 2}], ids=["own output", "tied"])


def config(**fields: Any) -> GRU4RecConfig:
    return GRU4RecConfig(**{"dim": 4, "width": 5, "history_length": 7, **fields})


def scrambled(data: TrainingData = DATA, **fields: Any) -> GRU4Rec:
    """A model with every weight drawn anew, but for the padding's."""
    model = GRU4Rec.build(config(**fields), data)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
        model.item_ID[-1] = 0
    return model.eval()


def fit(data: TrainingData = DATA, folder: Path | None = None, callbacks: Any = (), **fields: Any) -> GRU4Rec:
    trainer = TrainerConfig(epochs=6, device="cpu", batch_size=16, learning_rate=0.02)
    session = FitSession(trainer, callbacks=callbacks, checkpoints=folder)
    return GRU4Rec.build(config(**fields), data).fit(data, session)


def batches(model: GRU4Rec, data: TrainingData, batch_size: int) -> list[Any]:
    session = FitSession(TrainerConfig(device="cpu"), sampling=model.config.complete_sampling(SamplingConfig()))
    return list(model.prepare(data, session).batches(batch_size, 0, 1))


def outputs(model: GRU4Rec) -> Tensor:
    return model.item_ID[:-1] if model.output_ID is None else model.output_ID


def slow_unit(unit: Any, input_LD: Tensor) -> Tensor:
    """[L, H] the states after each input, from none (Hidasi et al., equations 1 to 4; the reset gate acts behind the
    product with the state, as in torch)."""

    def gate(number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = slice(number * width, (number + 1) * width)
        return unit.weight_ih_l0[own], unit.bias_ih_l0[own], unit.weight_hh_l0[own], unit.bias_hh_l0[own]

    width = unit.hidden_size
    state_H, states = torch.zeros(width), []
    for input_D in input_LD:
        w, b, u, c = gate(0)
        reset_H = torch.sigmoid(w @ input_D + b + u @ state_H + c)
        w, b, u, c = gate(1)
        keep_H = torch.sigmoid(w @ input_D + b + u @ state_H + c)
        w, b, u, c = gate(2)
        new_H = torch.tanh(w @ input_D + b + reset_H * (u @ state_H + c))
        state_H = (1 - keep_H) * new_H + keep_H * state_H
        states.append(state_H)
    return torch.stack(states)


@EACH
def test_what_it_says_is_what_the_equations_say(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    items_BL = torch.tensor([[3, 1, 4, 1, 5], [2, 7, NONE, NONE, NONE]])
    for items_L, row_LD in zip(items_BL, model.contexts(items_BL), strict=True):
        state_LH = model.item_ID[items_L]
        for unit in model.units:
            state_LH = slow_unit(unit, state_LH)
        torch.testing.assert_close(row_LD, state_LH @ model.dense.weight.T + model.dense.bias)


@EACH
def test_a_later_item_changes_nothing_before_it(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    before_BLD = model.contexts(torch.tensor([[3, 1, 4, 1, 5, 6]]))
    after_BLD = model.contexts(torch.tensor([[3, 1, 4, 2, 5, 6]]))
    assert torch.equal(before_BLD[:, :3], after_BLD[:, :3])
    assert (before_BLD[:, 3:] != after_BLD[:, 3:]).any(dim=2).all()


@EACH
def test_neither_padding_nor_company_changes_a_score(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    together_UI = model.score(query_of(DATA))
    assert len(set(DATA.histories.lengths_U.tolist())) > 3
    for user in range(12):
        alone_UI = model.score(Query(np.array([user]), DATA.histories.take(np.array([user]))))
        torch.testing.assert_close(alone_UI[0], together_UI[user], rtol=1e-5, atol=1e-5)


@EACH
def test_the_latest_items_score_and_the_user_does_not(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    long = np.array([8, 8, 0, 3, 1, 4, 1, 5, 2, 6])
    cut = long[-7:]
    histories = Ragged.from_pairs(np.repeat([0, 1], [len(long), len(cut)]), np.concatenate([long, cut]), 2)
    score_UI = model.score(Query(np.array([3, -1]), histories))
    assert model.folds_in
    torch.testing.assert_close(score_UI[0], score_UI[1])
    row_D = model.contexts(torch.from_numpy(cut)[None])[0, -1]
    torch.testing.assert_close(score_UI[0], outputs(model) @ row_D + model.bias_I)


def test_who_has_no_history_gets_the_biases() -> None:
    model = scrambled()
    score_UI = model.score(Query(np.array([-1, 4]), Ragged.empty(2)))
    assert torch.equal(score_UI, model.bias_I.detach().expand(2, 9))


def softmax_by_hand(row_D: Tensor, model: GRU4Rec, item: int, temperature: float) -> float:
    scores = [(row_D @ outputs(model)[i] + model.bias_I[i]).item() / temperature for i in range(model.n_items)]
    return -log(exp(scores[item]) / sum(exp(score) for score in scores))


@EACH
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_softmax_over_all_items_is_taken_at_every_place(fields: dict[str, Any], temperature: float) -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 0, 0, 1, 1, 2]), np.array([3, 1, 4, 1, 5, 2, 6]), 3)
    data = TrainingData(9, histories)
    model = scrambled(data, loss="softmax", temperature=temperature, **fields)
    (batch,) = batches(model, data, 100)
    losses = []
    for history, targets in (([3, 1, 4], [1, 4, 1]), ([5], [2])):  # the third user has nothing to predict
        for place, target in enumerate(targets):
            row_D = model.contexts(torch.tensor([history[: place + 1]]))[0, -1]
            losses.append(softmax_by_hand(row_D, model, target, temperature))
    assert len(batch) == model.samples_per_epoch(data) == 4
    assert model.loss(batch).item() == pytest.approx(sum(losses) / 4, rel=1e-5)


@EACH
def test_padding_gets_no_gradient_and_stays_zero(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    padded = [batch for batch in batches(model, DATA, 40) if (batch.items_BL == NONE).any()]
    assert padded
    model.loss(padded[0]).backward()
    assert model.item_ID.grad is not None
    assert model.item_ID.grad[:-1].any()
    assert not model.item_ID.grad[-1].any()
    learned_ID = fit(**fields).item_ID
    assert learned_ID[:-1].any(dim=1).all()
    assert not learned_ID[-1].any()


@EACH
def test_every_weight_learns(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    for batch in batches(model, DATA, 1000):
        model.loss(batch).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_parameters_by_the_formula() -> None:
    first, second = 3 * (4 * 5 + 5 * 5 + 2 * 5), 3 * (5 * 5 + 5 * 5 + 2 * 5)
    dense = 5 * 4 + 4
    assert GRU4Rec(config(), DATA).n_parameters == 10 * 4 + 9 * 4 + 9 + first + dense
    assert GRU4Rec(config(tied=True, layers=2), DATA).n_parameters == 10 * 4 + 9 + first + second + dense


@EACH
def test_the_first_weights_are_all_drawn_anew(fields: dict[str, Any]) -> None:
    used, fresh = scrambled(**fields, dim=32), GRU4Rec(config(**fields, dim=32), DATA)
    used.initialise(3)
    fresh.initialise(3)
    assert all(torch.equal(one, other) for one, other in zip(used.parameters(), fresh.parameters(), strict=True))
    for table_ID in used.embeddings():
        assert table_ID[:9].std().item() == pytest.approx(0.1, rel=0.15)
    assert not used.item_ID[-1].any()
    assert not used.bias_I.any()


def test_vectors_and_states_are_dropped_out_in_training_alone() -> None:
    model, items_BL = scrambled(dropout=0.25, dim=64, width=64, layers=2), torch.arange(9)[None]
    read: list[Tensor] = []
    for layer in (*model.units, model.dense):
        layer.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    model.contexts(items_BL)
    model.train().contexts(items_BL)
    assert len(read) == 6
    assert all(state_BLH.all() for state_BLH in read[:3])
    assert all(0.18 < (state_BLH == 0).float().mean() < 0.32 for state_BLH in read[3:])


def test_the_rate_falls_by_the_decay() -> None:
    model, trainer = GRU4Rec(config(decay=0.5), DATA), TrainerConfig(learning_rate=0.8)
    assert [model.learning_rate(trainer, epoch) for epoch in (1, 2, 4)] == [0.8, 0.4, 0.1]


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit().weights()
    with pytest.raises(Killed):
        fit(folder=tmp_path, callbacks=(KillAfter(2),))
    gone_on = fit(folder=tmp_path).weights()
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)


@EACH
def test_a_chain_is_learned(fields: dict[str, Any]) -> None:
    """Everyone goes around a circle of 9, from somewhere: what comes next is known, and popularity says nothing."""
    starts_U = np.arange(60) % 9
    items = (starts_U[:, None] + np.arange(6)) % 9
    data = TrainingData(9, Ragged.from_pairs(np.repeat(np.arange(60), 6), items.reshape(-1), 60))
    plain: dict[str, Any] = {"dim": 16, "width": 16, "dropout": 0.0, "decay": 1.0, "loss": "softmax"}
    score_UI = fit(data, **plain, **fields).score(query_of(data))
    assert np.array_equal(score_UI.argmax(dim=1).numpy(), (starts_U + 6) % 9)
