"""GMF, MLP and NeuMF: a step by hand, the first layer made from the tables, penalties, pretraining and its resumption.

U users, I items, D vector length, H width of a layer, B rows in a batch, N items of a row, R = B · N pairs
"""

from collections.abc import Callable, Mapping
from math import exp, log
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.base import Callback, Epoch, FitSession, Query, Ragged, Recommender, TrainingData
from models.fitting.config import SamplingConfig, StoppingConfig, TrainerConfig
from models.fitting.opponents import PairBatch
from models.ncf import kernel, parts
from models.ncf.config import GMFConfig, HeadWeights, MLPConfig, NeuMFConfig
from models.ncf.model import GMF, MAIN, MLP, NCF
from models.ncf.neumf import ALPHAS, NeuMF
from models.nn.gather import LANES
from tests.factories import query_of, random_log

DATA = random_log(12, 9, 60, seed=0)
USERS_B = torch.tensor([0, 3, 3, 11])
ITEMS_BN = torch.tensor([[0, 1, 2], [8, 2, 2], [4, 4, 0], [7, 0, 1]])
TOWER = (6, 5, 4)


def batch_of(users_B: Tensor, items_BN: Tensor) -> PairBatch:
    """The first item of each row is the positive, the others are its negatives."""
    none = torch.empty(0)
    return PairBatch(users_B, items_BN[:, 0], items_BN[:, 1:], torch.ones(len(users_B)), none, none.bool())


BATCH = batch_of(USERS_B, ITEMS_BN)


def scrambled(model: NCF, seed: int = 0) -> Any:
    """The model with every weight drawn anew, biases included, in float64."""
    model.double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * seed + number)
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7)
    return model


def assert_same_gradients(one: Tensor, other: Tensor, weights: list[Tensor]) -> None:
    ours, theirs = torch.autograd.grad(one, weights), torch.autograd.grad(other, weights)
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its)


def test_one_step_of_gmf_by_hand() -> None:
    model = GMF(GMFConfig(dim=2, l2=0.5, l1=0.25), TrainingData(2, Ragged.empty(1))).double()
    product: Any = model.product
    u, p, n = np.array([1.0, 2.0]), np.array([0.5, -0.5]), np.array([0.25, 0.75])
    h, bias_p, bias_n, scale, offset = np.array([1.0, -2.0]), 0.5, -0.25, 3.0, 0.125
    with torch.no_grad():
        product.user_UD.copy_(torch.tensor(u[None]))
        product.item_ID.copy_(torch.tensor(np.stack([p, n])))
        product.bias_I.copy_(torch.tensor([bias_p, bias_n]))
        product.output.weight.copy_(torch.tensor([[*h, scale]]))
        product.output.bias.fill_(offset)
    loss = model.loss(batch_of(torch.tensor([0]), torch.tensor([[0, 1]])))
    score_p = 1 * 0.5 * 1 + 2 * -0.5 * -2 + 3 * 0.5 + 0.125  # h · (u p) + scale · bias + offset = 4.125
    score_n = 1 * 0.25 * 1 + 2 * 0.75 * -2 + 3 * -0.25 + 0.125  # -3.375
    data_loss = (log(1 + exp(-score_p)) + log(1 + exp(score_n))) / 2
    # The user is used by both pairs, each item by one of the two.
    squares = 5.0 + (0.5 + 0.625) / 2 + (0.25 + 0.0625) / 2
    sizes = 3.0 + (1.0 + 1.0) / 2 + (0.5 + 0.25) / 2
    assert loss.item() == pytest.approx(data_loss + 0.5 * 0.5 * squares + 0.25 * sizes)
    torch.optim.SGD(model.parameters(), lr=0.1).zero_grad()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    to_p, to_n = -1 / (1 + exp(score_p)) / 2, 1 / (1 + exp(-score_n)) / 2
    d_user = to_p * h * p + to_n * h * n + 0.5 * u + 0.25 * np.sign(u)
    d_p = to_p * h * u + 0.5 * p / 2 + 0.25 * np.sign(p) / 2
    d_n = to_n * h * u + 0.5 * n / 2 + 0.25 * np.sign(n) / 2
    assert product.user_UD[0].tolist() == pytest.approx(u - 0.1 * d_user)
    assert product.item_ID[0].tolist() == pytest.approx(p - 0.1 * d_p)
    assert product.item_ID[1].tolist() == pytest.approx(n - 0.1 * d_n)
    d_bias_p = to_p * scale + 0.5 * bias_p / 2 + 0.25 / 2
    assert product.bias_I[0].item() == pytest.approx(bias_p - 0.1 * d_bias_p)
    d_output = to_p * u * p + to_n * u * n
    assert product.output.weight[0, :2].tolist() == pytest.approx(h - 0.1 * d_output)
    assert product.output.weight[0, 2].item() == pytest.approx(scale - 0.1 * (to_p * bias_p + to_n * bias_n))
    assert product.output.bias.item() == pytest.approx(offset - 0.1 * (to_p + to_n))


def naive_tower(model: Any, users_B: Tensor, items_BN: Tensor) -> Tensor:
    """[B, N] as the paper draws it: every pair's two vectors side by side, through one layer after the other."""
    tower = model.tower
    users_BN = users_B[:, None].expand_as(items_BN)
    out_RH = torch.cat([tower.user_UE[users_BN], tower.item_IE[items_BN]], dim=-1).flatten(0, 1)
    for layer in tower.layers:
        out_RH = layer.linear(out_RH)
        out_RH = (layer.norm(out_RH) if layer.norm is not None else out_RH).relu()
    logit_BN: Tensor = tower.output(out_RH).view(items_BN.shape)
    return logit_BN


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_first_layer_from_the_tables_is_that_of_the_vectors_side_by_side(batch_norm: bool) -> None:
    model = scrambled(MLP(MLPConfig(tower=TOWER, batch_norm=batch_norm, dropout=0), DATA)).train()
    ours, naive = model.outputs(USERS_B, ITEMS_BN).logits[MAIN], naive_tower(model, USERS_B, ITEMS_BN)
    torch.testing.assert_close(ours, naive)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    factor_BN = torch.arange(12.0, dtype=torch.float64).view(4, 3)
    assert_same_gradients((ours * factor_BN).sum(), (naive * factor_BN).sum(), weights)


@pytest.mark.parametrize("before", [0, 2 * LANES])
def test_the_kernels_give_what_torch_gives(before: int) -> None:
    generator, users_B, items_BN = torch.Generator().manual_seed(0), USERS_B + before, ITEMS_BN + before
    user_UD, item_ID = (
        torch.randn(before + size, 5, generator=generator, dtype=torch.float64).requires_grad_() for size in (12, 9)
    )
    factor_BN = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    product_BN = kernel.products(user_UD, item_ID, users_B, items_BN)
    naive_BN = (user_UD[users_B][:, None] * item_ID[items_BN]).sum(dim=-1)
    torch.testing.assert_close(product_BN, naive_BN)
    assert_same_gradients((product_BN * factor_BN).sum(), (naive_BN * factor_BN).sum(), [user_UD, item_ID])
    for relu in (False, True):
        sum_RH = kernel.row_sums(user_UD, item_ID, users_B, items_BN, relu)
        naive_RH = (user_UD[users_B][:, None] + item_ID[items_BN]).flatten(0, 1)
        naive_RH = naive_RH.relu() if relu else naive_RH
        torch.testing.assert_close(sum_RH, naive_RH)
        factor_R1 = factor_BN.flatten()[:, None]
        assert_same_gradients((sum_RH * factor_R1).sum(), (naive_RH * factor_R1).sum(), [user_UD, item_ID])


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    data, rng = random_log(300, 200, 10, seed=0), np.random.default_rng(0)
    users_B = torch.from_numpy(rng.integers(300, size=5_000))
    items_BN = torch.from_numpy(rng.integers(200, size=(5_000, 3)))
    model = NeuMF(NeuMFConfig(dim=8, tower=TOWER), data)
    model.initialise(0)
    sums = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        product_BN = kernel.products(model.product.user_UD, model.product.item_ID, users_B, items_BN)
        sum_RH = kernel.row_sums(model.tower.user_UE, model.tower.item_IE, users_B, items_BN, True)
        tables = model.embeddings()
        sums.append(torch.autograd.grad(product_BN.square().sum() + sum_RH.square().sum(), tables))
    numba.set_num_threads(before)
    assert all(torch.equal(one, many) for one, many in zip(*sums, strict=True))


def test_a_number_that_is_none_is_not_hidden_by_a_relu() -> None:
    user_UH, item_IH = torch.full((1, 2), torch.nan), torch.zeros(1, 2)
    assert kernel.row_sums(user_UH, item_IH, torch.tensor([0]), torch.tensor([[0]]), True).isnan().all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_pretrained_parts_begin_with_their_weighted_scores(alpha: float) -> None:
    config = NeuMFConfig(dim=3, tower=TOWER, batch_norm=True, pretrain=True)
    gmf, mlp = scrambled(GMF(config.part(GMFConfig), DATA)), scrambled(MLP(config.part(MLPConfig), DATA), seed=1)
    mlp.train().outputs(USERS_B, ITEMS_BN)  # so that the statistics of the batches are no longer the first
    model = NeuMF(config, DATA).double().eval()
    model.begin_with(gmf.eval(), mlp.eval(), alpha)
    model.initialise(0)
    theirs = [part.outputs(USERS_B, ITEMS_BN).logits[MAIN] for part in (gmf, mlp)]
    torch.testing.assert_close(
        model.outputs(USERS_B, ITEMS_BN).logits[MAIN], alpha * theirs[0] + (1 - alpha) * theirs[1]
    )


def test_dropout_is_for_training_alone() -> None:
    model = scrambled(MLP(MLPConfig(tower=(8, 64, 32), dropout=0.5), DATA))
    for layer in model.tower.layers:
        layer.linear.weight.data.abs_()
        layer.linear.bias.data.fill_(50.0)  # so that no relu is closed
    outputs: Callable[[], Tensor] = lambda: model.tower(USERS_B, ITEMS_BN)[0]  # noqa: E731
    model.eval()
    assert torch.equal(outputs(), outputs())
    torch.testing.assert_close(model.outputs(USERS_B, ITEMS_BN).logits[MAIN], naive_tower(model, USERS_B, ITEMS_BN))
    model.train()
    assert 0.3 < (outputs() == 0).double().mean() < 0.7
    assert not torch.equal(outputs(), outputs())


def test_batch_statistics_move_in_training_alone_and_are_saved() -> None:
    model = scrambled(MLP(MLPConfig(tower=TOWER, batch_norm=True), DATA))
    name = "tower.layers.0.norm.running_mean"
    before = model.weights()[name]
    model.eval()
    model.loss(BATCH)
    assert torch.equal(model.weights()[name], before)
    model.train()
    model.loss(BATCH)
    users_BN, tower = USERS_B[:, None].expand_as(ITEMS_BN), model.tower
    input_RH = torch.cat([tower.user_UE[users_BN], tower.item_IE[ITEMS_BN]], dim=-1).flatten(0, 1)
    expected_H = 0.1 * tower.layers[0].linear(input_RH).mean(dim=0)  # torch's momentum is .1
    torch.testing.assert_close(model.weights()[name], expected_H)


def test_heads_weigh_in_the_loss_and_do_not_score() -> None:
    def loss(**weights: float) -> float:
        config = NeuMFConfig(dim=3, tower=TOWER, l2=0.1, head_weights=HeadWeights(**weights))
        model = scrambled(NeuMF(config, DATA)).eval()
        value: float = model.loss(BATCH).item()
        scores.append(model.score(query_of(DATA)))
        return value

    scores: list[Tensor] = []
    main, twice = loss(), loss(main=2)
    penalty = 2 * main - twice
    gmf, mlp = (
        scrambled(GMF(GMFConfig(dim=3, l2=0), DATA)),
        scrambled(MLP(MLPConfig(tower=TOWER, l2=0, dropout=0), DATA)),
    )
    model = scrambled(NeuMF(NeuMFConfig(dim=3, tower=TOWER), DATA))
    gmf.product.load_state_dict(model.product.state_dict())
    mlp.tower.load_state_dict(model.tower.state_dict())
    heads = 0.5 * gmf.loss(BATCH).item() + 3 * mlp.loss(BATCH).item()
    assert penalty > 0.01
    assert loss(main=2, gmf=0.5, mlp=3) == pytest.approx(2 * (main - penalty) + penalty + heads)
    assert all(torch.equal(score_UI, scores[0]) for score_UI in scores)


def test_heads_share_one_pass_through_the_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*tables: Tensor, relu: bool) -> Tensor:
        calls.append(1)
        user_UH, item_IH, users_B, items_BN = tables
        return kernel.row_sums(user_UH, item_IH, users_B, items_BN, relu)

    monkeypatch.setattr(parts, "row_sums", counted)
    heads = HeadWeights(gmf=1, mlp=1)
    NeuMF(NeuMFConfig(dim=3, tower=TOWER, head_weights=heads), DATA).loss(BATCH)
    assert len(calls) == 1


def test_activity_penalties_by_hand() -> None:
    def loss(**fields: float) -> float:
        config = MLPConfig(tower=(2, 2, 1), l2=0, dropout=0, **fields)
        model = MLP(config, TrainingData(2, Ragged.empty(1))).double()
        tower: Any = model.tower
        with torch.no_grad():
            tower.user_UE.copy_(torch.tensor([[1.0]]))
            tower.item_IE.copy_(torch.tensor([[2.0], [-3.0]]))
            tower.layers[0].linear.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
            tower.layers[0].linear.bias.zero_()
            tower.layers[1].linear.weight.copy_(torch.tensor([[2.0, 1.0]]))
            tower.layers[1].linear.bias.fill_(0.5)
            tower.output.weight.zero_()
            tower.output.bias.zero_()
        value: float = model.loss(batch_of(torch.tensor([0]), torch.tensor([[0, 1]]))).item()
        return value

    # Positive: relu (3, -1) = (3, 0), then 6.5. Negative: relu (-2, 4) = (0, 4), then 4.5.
    plain = loss()
    assert loss(activity_l2=0.1) == pytest.approx(plain + 0.1 * (9 + 6.5**2 + 16 + 4.5**2) / 2)
    assert loss(activity_l1=0.1) == pytest.approx(plain + 0.1 * (3 + 6.5 + 4 + 4.5) / 2)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("block", [1, 40, 150, 10**6])
def test_scores_in_blocks_are_those_of_the_pairs(block: int, batch_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK", block)
    model = scrambled(NeuMF(NeuMFConfig(dim=3, tower=TOWER, batch_norm=batch_norm), DATA)).train()
    model.loss(BATCH)
    model.eval()
    users_U = torch.arange(12)[DATA.histories.lengths_U > 0]
    naive_UI = model.outputs(users_U, torch.arange(9).expand(len(users_U), 9)).logits[MAIN]
    score_UI = model.score(Query(users_U.numpy(), DATA.histories.take(users_U.numpy())))
    torch.testing.assert_close(score_UI, naive_UI)


def test_strangers_get_the_scores_of_the_mean_user() -> None:
    lengths_U = np.array([2, 0, 3])
    data = TrainingData(9, Ragged(np.concatenate([[0], np.cumsum(lengths_U)]), np.arange(5, dtype=np.int32)))
    model = scrambled(NeuMF(NeuMFConfig(dim=3, tower=TOWER), data)).eval()
    score_UI = model.score(Query(np.array([-1, 1, 0]), Ragged.empty(3)))
    assert torch.equal(score_UI[0], score_UI[1])
    with torch.no_grad():
        for table in (model.product.user_UD, model.tower.user_UE):
            table[1] = (table[0] + table[2]) / 2
    expected_UI = model.outputs(torch.tensor([1]), torch.arange(9)[None]).logits[MAIN]
    torch.testing.assert_close(score_UI[:1], expected_UI)


class Killed(BaseException):
    """Stands for a kill."""


class Watch(Callback):
    """Remembers what it was told, and kills after an epoch."""

    def __init__(self, kill_after: int = 0) -> None:
        self.kill_after = kill_after
        self.told: list[int] = []
        self.started: list[int] = []
        self.ended = 0

    def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
        self.started.append(epochs)

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.told.append(epoch.number)
        if epoch.number == self.kill_after:
            raise Killed

    def on_end(self, model: Recommender, history: object) -> None:
        self.ended += 1


PRETRAIN = NeuMFConfig(dim=4, tower=TOWER, dropout=0.2, batch_norm=True, pretrain=True)
LOG = random_log(40, 30, 300, seed=1)


def judge(model: Recommender) -> Mapping[str, float]:
    """Any number that the weights decide."""
    return {"ndcg_at_10": float(model.score(query_of(LOG))[0, 0])}


def pretrained(folder: Path | None, watch: Watch) -> tuple[NeuMF, FitSession]:
    trainer = TrainerConfig(epochs=3, patience=0, device="cpu", learning_rate=0.01)
    session = FitSession(trainer, validate=judge, callbacks=[watch], checkpoints=folder)
    return NeuMF.build(PRETRAIN, LOG).fit(LOG, session), session


def test_one_configuration_trains_the_parts_and_then_both_and_a_refit_repeats_it() -> None:
    watch = Watch()
    model, session = pretrained(None, watch)
    assert (watch.started, watch.told, watch.ended) == ([9], list(range(1, 10)), 1)
    assert [epoch.number for epoch in session.history] == list(range(1, 10))
    chosen = (model.config.gmf_epochs, model.config.mlp_epochs, model.config.neumf_epochs)
    best = [max(session.history[at : at + 3], key=lambda epoch: epoch.metrics["ndcg_at_10"]) for at in (0, 3, 6)]
    assert chosen == tuple(epoch.number - at for epoch, at in zip(best, (0, 3, 6), strict=True))
    assert session.best_epoch == best[2].number
    assert judge(model) == best[2].metrics
    refit = FitSession(session.trainer.model_copy(update={"epochs": session.best_epoch}))
    again = NeuMF.build(model.config, LOG).fit(LOG, refit)
    assert len(refit.history) == sum(epochs or 0 for epochs in chosen)
    assert again.config == model.config
    assert all(torch.equal(again.weights()[name], weight) for name, weight in model.weights().items())


def test_before_both_the_mlp_has_penalties_of_its_own() -> None:
    config = NeuMFConfig(dim=4, tower=TOWER, pretrain=True, l2=0.5, dropout=0.4, mlp_l2=0.25, mlp_dropout=0.2)
    assert config.part(GMFConfig) == GMFConfig(dim=4, l2=0.5)
    assert config.part(MLPConfig) == MLPConfig(tower=TOWER, l2=0.25, dropout=0.2, decay=config.decay)


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_the_validation_rows_choose_alpha_unless_it_is_given(mode: Any, best: int) -> None:
    def chosen(alpha: float | None, *figures: float) -> float | None:
        told = iter(figures)
        trainer = TrainerConfig(epochs=1, device="cpu", stopping=StoppingConfig(mode=mode))
        validate = (lambda _: {"ndcg_at_10": next(told)}) if figures else None
        model = NeuMF.build(PRETRAIN.model_copy(update={"alpha": alpha}), LOG)
        model.fit(LOG, FitSession(trainer, validate=validate))
        assert not list(told)
        return model.config.alpha

    each, trainings = (0.4, 0.8, 0.2, 0.6), (0.5, 0.5)
    assert chosen(None, *trainings, *each, 0.5) == ALPHAS[best]
    assert chosen(0.25, *trainings, 0.5) == 0.25
    assert chosen(None) == ALPHAS[0]


@pytest.mark.parametrize("kill_after", [1, 3, 5, 6, 8])
def test_killed_in_any_of_the_trainings_it_goes_on_to_the_same_bits(kill_after: int, tmp_path: Path) -> None:
    whole, whole_session = pretrained(None, Watch())
    with pytest.raises(Killed):
        pretrained(tmp_path, Watch(kill_after))
    watch = Watch()
    resumed, session = pretrained(tmp_path, watch)
    assert watch.told == list(range(kill_after + 1, 10))
    assert resumed.config == whole.config
    assert session.best_epoch == whole_session.best_epoch
    assert [(epoch.number, epoch.loss) for epoch in session.history] == [
        (epoch.number, epoch.loss) for epoch in whole_session.history
    ]
    assert all(torch.equal(resumed.weights()[name], weight) for name, weight in whole.weights().items())


def test_a_tower_tells_what_one_product_cannot() -> None:
    # Three communities, one number a user and an item: without biases, a product ranks in one of two orders.
    users, items = np.meshgrid(np.arange(60), np.arange(30), indexing="ij")
    liked = users % 3 == items % 3
    data = TrainingData(30, Ragged.from_pairs(users[liked], items[liked], 60))
    trainer = TrainerConfig(epochs=25, learning_rate=0.02, device="cpu")

    def share_right(model: Recommender) -> float:
        best_UK = model.score(query_of(data)).topk(10).indices.numpy()
        return float((best_UK % 3 == np.arange(60)[:, None] % 3).mean())

    gmf = GMF.build(GMFConfig(dim=1, use_bias=False, l2=0), data).fit(data, FitSession(trainer))
    mlp = MLP.build(MLPConfig(tower=(2, 32, 16), l2=0, dropout=0, init_std=1.0), data).fit(data, FitSession(trainer))
    assert share_right(gmf) < 0.75
    assert share_right(mlp) > 0.95


@pytest.mark.parametrize(
    ("loss", "sampling"),
    [("mse", {}), ("bpr", {"hardest_of": 3}), ("warp", {}), ("sampled_softmax", {"distribution": "popularity"})],
)
def test_other_losses_learn_too(loss: Any, sampling: dict[str, Any]) -> None:
    config = NeuMFConfig(dim=4, tower=TOWER, loss=loss, l2=0.001, head_weights=HeadWeights(gmf=0.5), batch_norm=True)
    session = FitSession(TrainerConfig(epochs=8, learning_rate=0.01, device="cpu"), sampling=SamplingConfig(**sampling))
    NeuMF.build(config, LOG).fit(LOG, session)
    assert session.history[-1].loss < 0.97 * session.history[0].loss


def test_gmf_goes_with_candidates_for_the_whole_batch() -> None:
    session = FitSession(TrainerConfig(epochs=2, device="cpu"), sampling=SamplingConfig(shared=True, negatives=12))
    model = GMF.build(GMFConfig(dim=4, loss="sampled_softmax"), LOG).fit(LOG, session)
    assert torch.isfinite(model.score(query_of(LOG))).all()
    users_B, items_C = torch.tensor([0, 5]), torch.tensor([3, 1, 7])
    own_BC = model.outputs(users_B, items_C.expand(2, 3)).logits[MAIN]
    torch.testing.assert_close(model.outputs(users_B, items_C).logits[MAIN], own_BC)


def test_the_rate_falls_by_decay_and_is_lower_for_pretrained_parts() -> None:
    trainer = TrainerConfig(learning_rate=0.5)
    model = NeuMF(NeuMFConfig(tower=TOWER, decay=0.8, pretrain=True, fine_tuning=0.25), DATA)
    assert [model.learning_rate(trainer, epoch) for epoch in (1, 2, 3)] == pytest.approx([0.5, 0.4, 0.32])
    model.begin_with(GMF(GMFConfig(), DATA), MLP(MLPConfig(tower=TOWER), DATA), 0.5)
    assert [model.learning_rate(trainer, epoch) for epoch in (1, 2)] == pytest.approx([0.125, 0.1])


def test_the_first_vectors_are_as_long_as_asked_and_the_first_score_is_their_product() -> None:
    data = random_log(300, 200, 900, seed=0)
    model = NeuMF(NeuMFConfig(dim=8, tower=(16, 4), init_std=0.5), data)
    model.initialise(0)
    assert [table.std().item() for table in model.embeddings()] == pytest.approx([0.5] * 4, rel=0.1)
    gmf = GMF(GMFConfig(dim=8), data)
    gmf.initialise(0)
    user, product = int(data.histories.users_R[0]), gmf.product
    score_UI = gmf.score(Query(np.array([user]), Ragged.empty(1)))
    torch.testing.assert_close(score_UI[0], (product.item_ID @ product.user_UD[user]).detach())


def test_all_three_trainings_draw_the_negatives_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, int]] = []

    def penalty(model: NCF, batch: PairBatch) -> Tensor:
        drawn.append((model.config.name, batch.negatives.shape[1]))
        return torch.zeros(())

    monkeypatch.setattr(NCF, "_penalty", penalty)
    session = FitSession(TrainerConfig(epochs=1, device="cpu"), sampling=SamplingConfig(negatives=7))
    NeuMF.build(NeuMFConfig(dim=4, tower=TOWER, pretrain=True), LOG).fit(LOG, session)
    assert set(drawn) == {("gmf", 7), ("mlp", 7), ("neumf", 7)}
    assert session.sampling.distribution == "uniform"


def test_the_towers_penalty_is_part_of_neumfs_loss() -> None:
    plain, penalised = (
        scrambled(NeuMF(NeuMFConfig(dim=3, tower=TOWER, activity_l2=weight, dropout=0), DATA)).loss(BATCH).item()
        for weight in (0.0, 0.1)
    )
    mlp = MLP(MLPConfig(tower=TOWER, activity_l2=0.1, dropout=0), DATA).double()
    mlp.tower.load_state_dict(scrambled(NeuMF(NeuMFConfig(dim=3, tower=TOWER), DATA)).tower.state_dict())
    assert penalised - plain == pytest.approx(mlp.outputs(USERS_B, ITEMS_BN).penalty.item())


def test_small_data_gets_smaller_batches_and_a_wish_is_kept() -> None:
    session = FitSession(TrainerConfig(epochs=1, device="cpu"))
    GMF.build(GMFConfig(dim=4), LOG).fit(LOG, session)
    assert session.trainer.batch_size == LOG.n_rows // GMFConfig.steps
    again = FitSession(GMFConfig().complete(TrainerConfig(epochs=1, device="cpu")))  # as a night completes it before
    GMF.build(GMFConfig(dim=4), LOG).fit(LOG, again)
    assert again.trainer == session.trainer
    config = GMFConfig()
    assert config.with_batches(TrainerConfig(), 10**7).batch_size == config.largest_batch
    assert config.with_batches(TrainerConfig(), 10 * config.steps).batch_size == 10
    assert config.with_batches(TrainerConfig(), 3).batch_size == 1
    assert config.with_batches(TrainerConfig(batch_size=77), 3).batch_size == 77


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss": "softmax"}, "softmax"),
        ({"tower": (7, 4)}, "even"),
        ({"tower": (8,)}, "two widths"),
        ({"alpha": 0.4}, "without pretrain"),
        ({"mlp_l2": 0.1}, "without pretrain"),
        ({"gmf_epochs": 4}, "without pretrain"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NeuMFConfig(**fields)
