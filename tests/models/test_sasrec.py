"""SASRec: what it says at each place, its loss by hand, padding, strangers, resumption.

U users, I items, B sequences, L places, D vector length, T targets, S steps back
"""

from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.base import FitSession, Query, Ragged, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.nn.reading import BLOCK_ITEMS
from models.sasrec import SASRec, SASRecConfig
from tests.factories import KillAfter, Killed, query_of, random_log

DATA = random_log(12, 9, 80, seed=0)
NONE = 9  # stands behind shorter sequences
PAPER = {"positions": "absolute", "recent": 0}
EACH = pytest.mark.parametrize("fields", [{}, PAPER, {"norm": "post", "recent": 1}], ids=["ours", "paper", "post"])


def config(**fields: Any) -> SASRecConfig:
    return SASRecConfig(**{"dim": 6, "width": 5, "history_length": 7, **fields})


def scrambled(data: TrainingData = DATA, **fields: Any) -> SASRec:
    """A model with every weight drawn anew, but for the padding's."""
    model = SASRec.build(config(**fields), data)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
        for items_ID in model.embeddings():
            items_ID[-1] = 0
    return model.eval()


def fit(data: TrainingData = DATA, folder: Path | None = None, callbacks: Any = (), **fields: Any) -> SASRec:
    trainer = TrainerConfig(epochs=4, device="cpu", batch_size=16, learning_rate=0.02)
    session = FitSession(trainer, callbacks=callbacks, checkpoints=folder)
    return SASRec.build(config(**fields), data).fit(data, session)


def batches(model: SASRec, data: TrainingData, batch_size: int) -> list[Any]:
    session = FitSession(TrainerConfig(device="cpu"), sampling=model.config.complete_sampling(SamplingConfig()))
    return list(model.prepare(data, session).batches(batch_size, 0, 1))


@EACH
def test_what_it_says_is_what_the_blocks_make_of_the_vectors(fields: dict[str, Any]) -> None:
    model = scrambled(**fields)
    items_BL = torch.tensor([[3, 1, 4, 1, 5], [2, 7, NONE, NONE, NONE]])
    state_BLD = model.item_ID[items_BL] * 6**0.5
    if model.place_LD is not None:
        state_BLD = state_BLD + torch.stack([model.place_LD[place] for place in range(5)])
    for block in model.blocks:
        state_BLD = block(state_BLD)
    expected_BLD = model.norm(state_BLD)
    for b, place, back in np.ndindex(2, 5, model.config.recent):
        if back <= place:
            assert model.recent_ID is not None
            assert model.recency_S is not None
            expected_BLD[b, place] += model.recency_S[back] * model.recent_ID[items_BL[b, place - back]]
    torch.testing.assert_close(model.contexts(items_BL), expected_BLD)


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


def test_more_histories_than_are_read_at_a_time_are_all_scored() -> None:
    model = scrambled()
    n = BLOCK_ITEMS  # of about 3 items
    rng = np.random.default_rng(0)
    histories = Ragged.from_pairs(rng.integers(n, size=3 * n), rng.integers(9, size=3 * n), n)
    score_UI = model.score(Query(np.arange(n), histories))
    unread_U = (score_UI == model.bias_I).all(dim=1).numpy()
    assert np.array_equal(unread_U, histories.lengths_U == 0)
    some = np.array([0, 1, n // 2, n - 1])
    torch.testing.assert_close(score_UI[some], model.score(Query(some, histories.take(some))), rtol=1e-5, atol=1e-5)


def test_the_latest_items_score_and_the_user_does_not() -> None:
    model = scrambled()
    long = np.array([8, 8, 0, 3, 1, 4, 1, 5, 2, 6])
    cut = long[-7:]
    histories = Ragged.from_pairs(np.repeat([0, 1], [len(long), len(cut)]), np.concatenate([long, cut]), 2)
    score_UI = model.score(Query(np.array([3, -1]), histories))
    assert model.folds_in
    torch.testing.assert_close(score_UI[0], score_UI[1])
    row_D = model.contexts(torch.from_numpy(cut)[None])[0, -1]
    torch.testing.assert_close(score_UI[0], model.item_ID[:-1] @ row_D + model.bias_I)


def test_who_has_no_history_gets_the_biases() -> None:
    model = scrambled()
    score_UI = model.score(Query(np.array([-1, 4]), Ragged.empty(2)))
    assert torch.equal(score_UI, model.bias_I.detach().expand(2, 9))


def softmax_by_hand(row_D: Tensor, model: SASRec, item: int, temperature: float) -> float:
    scores = [(row_D @ model.item_ID[i] + model.bias_I[i]).item() / temperature for i in range(model.n_items)]
    return -log(exp(scores[item]) / sum(exp(score) for score in scores))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_softmax_over_all_items_is_taken_at_every_place(temperature: float) -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 0, 0, 1, 1, 2]), np.array([3, 1, 4, 1, 5, 2, 6]), 3)
    data = TrainingData(9, histories)
    model = scrambled(data, loss="softmax", temperature=temperature)
    (batch,) = batches(model, data, 100)
    losses = []
    for history, targets in (([3, 1, 4], [1, 4, 1]), ([5], [2])):  # the third user has nothing to predict
        for place, target in enumerate(targets):
            row_D = model.contexts(torch.tensor([history[: place + 1]]))[0, -1]
            losses.append(softmax_by_hand(row_D, model, target, temperature))
    assert len(batch) == model.samples_per_epoch(data) == 4
    assert model.loss(batch).item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_padding_gets_no_gradient_and_stays_zero() -> None:
    model = scrambled()
    padded = [batch for batch in batches(model, DATA, 40) if (batch.items_BL == NONE).any()]
    assert padded
    model.loss(padded[0]).backward()
    for items_ID in fit().embeddings():
        assert items_ID[:-1].any(dim=1).all()
        assert not items_ID[-1].any()
    for items_ID in model.embeddings():
        assert items_ID.grad is not None
        assert items_ID.grad[:-1].any()
        assert not items_ID.grad[-1].any()


def test_every_weight_learns() -> None:
    model = scrambled()
    for batch in batches(model, DATA, 1000):
        model.loss(batch).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


@pytest.mark.parametrize("positions", ["distance", "absolute"])
def test_parameters_by_the_formula(positions: Any) -> None:
    dense = 4 * (6 * 6 + 6) + (6 * 5 + 5) + (5 * 6 + 6) + 2 * 2 * 6  # attention, two layers, two norms
    order = 2 * 7 * 3 if positions == "distance" else 7 * 6  # a number a block, distance and head, or a vector a place
    expected = 2 * 10 * 6 + 9 + order + 2 * dense + 2 * 6 + 4
    assert SASRec(config(positions=positions, heads=3, recent=4), DATA).n_parameters == expected


@EACH
def test_the_first_weights_are_all_drawn_anew(fields: dict[str, Any]) -> None:
    used, fresh = scrambled(dim=32, **fields), SASRec(config(dim=32, **fields), DATA)
    used.initialise(3)
    fresh.initialise(3)
    assert all(torch.equal(one, other) for one, other in zip(used.parameters(), fresh.parameters(), strict=True))
    for items_ID in used.embeddings():
        assert items_ID[:-1].std().item() == pytest.approx(0.02, rel=0.15)
        assert not items_ID[-1].any()
    weights = {name: weight for name, weight in used.named_parameters() if name.endswith(("bias_I", "nearness_RH"))}
    assert len(weights) == (1 if fields == PAPER else 3)
    assert not any(weight.any() for weight in weights.values())
    if used.recency_S is not None:
        assert used.recency_S.tolist() == pytest.approx([0.6**back for back in range(used.config.recent)])


def test_vectors_are_dropped_out_in_training_alone() -> None:
    """Both what the blocks read and what `recent` adds; the blocks' own dropout has its own test."""
    model, items_BL = scrambled(dim=64, dropout=0.25, blocks=1, recent=1), torch.arange(7)[None]
    kept: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    model.norm.register_forward_hook(lambda _, given, made: kept.append(made))
    for training, low, high in ((False, 0.0, 0.001), (True, 0.18, 0.32)):
        said_BLD = model.train(training).contexts(items_BL)
        read_BLD, attention_BLD = kept[-2:]
        for vectors_BLD in (read_BLD, said_BLD - attention_BLD):
            assert low <= (vectors_BLD == 0).float().mean() <= high


def test_the_rate_falls_by_the_decay() -> None:
    model, trainer = SASRec(config(decay=0.5), DATA), TrainerConfig(learning_rate=0.8)
    assert [model.learning_rate(trainer, epoch) for epoch in (1, 2, 4)] == [0.8, 0.4, 0.1]


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit().weights()
    with pytest.raises(Killed):
        fit(folder=tmp_path, callbacks=(KillAfter(2),))
    gone_on = fit(folder=tmp_path).weights()
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)


def test_a_chain_is_learned() -> None:
    """Everyone goes around a circle of 9, from somewhere: what comes next is known, and popularity says nothing."""
    starts_U = np.arange(60) % 9
    items = (starts_U[:, None] + np.arange(6)) % 9
    data = TrainingData(9, Ragged.from_pairs(np.repeat(np.arange(60), 6), items.reshape(-1), 60))
    for fields in ({"recent": 0}, PAPER):
        score_UI = fit(data, dim=16, dropout=0.0, decay=1.0, loss="softmax", **fields).score(query_of(data))
        assert np.array_equal(score_UI.argmax(dim=1).numpy(), (starts_U + 6) % 9)


def test_heads_must_divide_the_vectors() -> None:
    with pytest.raises(ValidationError, match=r"model.dim of 6 is not divided by model.heads of 4"):
        config(heads=4)
