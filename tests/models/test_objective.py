"""Which loss goes with which negatives, and the loss of a batch by hand.

B rows in a batch, N negatives of a row, C candidates
"""

from dataclasses import replace
from itertools import product
from math import exp, log, log1p
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.base import FitSession
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.fitting.config import SamplingConfig, TrainerConfig
from models.fitting.objective import (
    RULES,
    LossName,
    PairModelConfig,
    choose_hardest,
    make_pairs,
    pair_loss,
    vector_loss,
)
from models.ranking.metrics import hit_rate_at_k, hits
from models.ranking.top_k import recommend
from models.registry import build, make_config
from tests.factories import batch_of, query_of, two_communities

TABLE_UI = torch.tensor([[1.0, 2.0, 0.5, -1.0, 0.0], [0.0, 1.0, 3.0, -2.0, 1.5]], dtype=torch.float64)


class Layered(PairModelConfig):
    """Stands for models whose score is no product of vectors."""

    name: str = "layered"
    factorised = False


def score(users_B: Tensor, items: Tensor) -> Tensor:
    return TABLE_UI[users_B][:, items] if items.ndim == 1 else TABLE_UI[users_B].gather(1, items)


def loss_of(batch: Any, **config: Any) -> float:
    return pair_loss(PairModelConfig(name="any", **config), batch, score, n_items=5).item()


def complete(loss: LossName = "bpr", layered: bool = False, **sampling: object) -> SamplingConfig:
    config = Layered(loss=loss) if layered else PairModelConfig(name="any", loss=loss)
    return config.complete_sampling(SamplingConfig.model_validate(sampling))


# the loss of a batch


def weighted(*weights: float, **values: Any) -> Any:
    batch = batch_of(**values, dtype=torch.float64)
    return replace(batch, weight_B=torch.tensor(weights, dtype=torch.float64))


TWO_ROWS: dict[str, Any] = {"users": [0, 1], "positives": [1, 4], "negatives": [[0, 3], [2, 0]]}


def test_a_positive_against_each_of_its_negatives_by_hand() -> None:
    # gaps: 2 - 1, 2 + 1; 1.5 - 3, 1.5 - 0
    first, second = (log1p(exp(-1)) + log1p(exp(-3))) / 2, (log1p(exp(1.5)) + log1p(exp(-1.5))) / 2
    assert loss_of(weighted(0.5, 1.5, **TWO_ROWS)) == pytest.approx((0.5 * first + 1.5 * second) / 2)
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="hinge") == pytest.approx(((0 + 0) / 2 + (2.5 + 0) / 2) / 2)
    expected = ((exp(-1) + exp(-3)) / 2 + (exp(1.5) + exp(-1.5)) / 2) / 2
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="exponential") == pytest.approx(expected)
    # the first row: none violates; the second: the first draw does, by 2.5, so its rank is taken for 4 of 5
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="warp") == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) * 2.5 / 2)


def test_labels_by_hand() -> None:
    # scores 2 | 1, -1 and 1.5 | 3, 0: the first is the row, the others are its negatives
    first, second = [(2 - 1) ** 2, 1, 1], [(1.5 - 1) ** 2, 9, 0]
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="mse") == pytest.approx((sum(first) + sum(second)) / 6)
    expected = (3 * first[0] + 2 + 3 * second[0] + 9) / 6
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="mse", positive_weight=3) == pytest.approx(expected)
    assert loss_of(weighted(2, 0, **TWO_ROWS), loss="mae") == pytest.approx(2 * (1 + 1 + 1) / 6)
    entropy = log1p(exp(-2)) + log1p(exp(1)) + log1p(exp(-1))
    assert loss_of(weighted(2, 0, **TWO_ROWS), loss="log_loss") == pytest.approx(2 * entropy / 6)


def test_calibrated_labels_by_hand() -> None:
    # two negatives of five items: alpha = 1/2, so a row weighs 1 - t/2 beside each of them
    def entropy(positive: float, *negatives: float) -> tuple[float, float]:
        return log1p(exp(-positive)), sum(log1p(exp(score)) for score in negatives)

    (row_0, others_0), (row_1, others_1) = entropy(2, 1, -1), entropy(1.5, 3, 0)
    for calibration, weight in ((0.75, 0.625), (0.0, 1.0), (1.0, 0.5)):
        expected = (0.5 * (weight * row_0 + others_0) + 1.5 * (weight * row_1 + others_1)) / 6
        made = loss_of(weighted(0.5, 1.5, **TWO_ROWS), loss="gbce", calibration=calibration)
        assert made == pytest.approx(expected)
    plain = loss_of(weighted(1, 1, **TWO_ROWS), loss="log_loss")
    assert loss_of(weighted(1, 1, **TWO_ROWS), loss="gbce", calibration=0) == pytest.approx(plain)


VECTOR_CASES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"loss": "bpr"}, [[0, 3], [2, 0]], None),
    ({"loss": "gbce"}, [[0, 3], [2, 0]], None),
    ({"loss": "warp"}, [[0, 3], [2, 0]], None),
    ({"loss": "softmax", "temperature": 0.5}, [], None),
    ({"loss": "sampled_softmax", "temperature": 0.5}, [[0, 3], [2, 0]], None),
    ({"loss": "sampled_softmax", "temperature": 0.5}, [0, 3, 2], [[True, False, False], [False, False, True]]),
    ({"loss": "sampled_softmax", "temperature": 0.5}, [], [[False, True], [False, False]]),
    # as many candidates as items, in another order: not the shortcut for all of them
    ({"loss": "sampled_softmax"}, [4, 0, 3, 2, 2], [[False] * 5, [False, True, False, True, True]]),
]


@pytest.mark.parametrize(("config", "negatives", "masked"), VECTOR_CASES)
def test_a_row_that_brings_a_vector_is_scored_by_its_product_with_the_items(
    config: dict[str, Any], negatives: Any, masked: Any
) -> None:
    generator = torch.Generator().manual_seed(0)
    row_BD, item_ID = (torch.randn(n, 3, generator=generator) for n in (2, 5))
    batch = replace(batch_of([0, 1], [1, 4], negatives), weight_B=torch.tensor([0.5, 1.5]))
    if not negatives:
        batch = replace(batch, negatives=torch.empty(0, dtype=torch.int64), log_q=torch.tensor([-0.3, -2.0]))
    else:
        batch = replace(batch, log_q=-torch.rand(batch.log_q.shape, generator=generator))
    if masked is not None:
        batch = replace(batch, masked_BC=torch.tensor(masked))

    def product(users_B: Tensor, items: Tensor) -> Tensor:
        rows_BI = tables[0][users_B] @ tables[1].T
        return rows_BI[:, items] if items.ndim == 1 else rows_BI.gather(1, items)

    found = []
    for vectors in (True, False):
        tables = [row_BD.clone().requires_grad_(), item_ID.clone().requires_grad_()]
        made = PairModelConfig(name="any", **config)
        loss = vector_loss(made, batch, *tables) if vectors else pair_loss(made, batch, product, 5)
        loss.backward()
        found.append([loss, *(table.grad for table in tables)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_hardest_draw_is_chosen_by_the_rows_vector() -> None:
    row_BD, item_ID = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 1.0], [2.0, 5.0], [1.0, 9.0]])
    hard = batch_of([0, 0], [1, 1], [[[0, 2]], [[0, 2]]])  # of one user, but another vector
    chosen = batch_of([0, 0], [1, 1], [[0], [2]])
    config = PairModelConfig(name="any", loss="bpr")
    assert vector_loss(config, hard, row_BD, item_ID) == vector_loss(config, chosen, row_BD, item_ID)


def test_softmaxes_by_hand() -> None:
    total = sum(exp(value / 0.5) for value in TABLE_UI[0].tolist())
    one = weighted(1, users=[0], positives=[1], negatives=[[0, 3]])
    assert loss_of(one, loss="softmax", temperature=0.5) == pytest.approx(-log(exp(2 / 0.5) / total))
    # own draws: the row's item had probability .5 to be drawn, the others .25 and .125
    drawn = replace(one, log_q=torch.tensor([[0.5, 0.25, 0.125]], dtype=torch.float64).log())
    expected = -log(exp(2) / 0.5 / (exp(2) / 0.5 + exp(1) / 0.25 + exp(-1) / 0.125))
    assert loss_of(drawn, loss="sampled_softmax") == pytest.approx(expected)


def test_candidates_for_the_whole_batch_give_the_same_as_each_rows_own() -> None:
    shared = weighted(1, 2, users=[0, 1], positives=[1, 4], negatives=[0, 2, 3])
    log_q_I = torch.tensor([0.1, 0.3, 0.2, 0.3, 0.1], dtype=torch.float64).log()
    shared = replace(shared, log_q=log_q_I[[1, 4, 0, 2, 3]])
    own = weighted(1, 2, users=[0, 1], positives=[1, 4], negatives=[[0, 2, 3], [0, 2, 3]])
    own = replace(own, log_q=log_q_I[torch.tensor([[1, 0, 2, 3], [4, 0, 2, 3]])])
    config = {"loss": "sampled_softmax", "temperature": 0.7}
    assert loss_of(shared, **config) == pytest.approx(loss_of(own, **config))
    # what the row's user has seen takes no part
    masked = replace(shared, masked_BC=torch.tensor([[False, True, False], [False, False, False]]))
    without_2 = weighted(1, 0, users=[0, 1], positives=[1, 4], negatives=[[0, 3], [0, 3]])
    without_2 = replace(without_2, log_q=log_q_I[torch.tensor([[1, 0, 3], [4, 0, 3]])])
    only_first = replace(masked, weight_B=torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert loss_of(only_first, **config) == pytest.approx(loss_of(without_2, **config))


def test_a_row_whose_candidates_are_all_seen_costs_nothing_and_has_a_gradient_of_zero() -> None:
    batch = replace(weighted(1, users=[0], positives=[1], negatives=[0, 2]), masked_BC=torch.ones(1, 2).bool())
    table_UI = TABLE_UI.clone().requires_grad_()
    config = PairModelConfig(name="any", loss="sampled_softmax")

    def own_score(users_B: Tensor, items: Tensor) -> Tensor:
        return table_UI[users_B][:, items] if items.ndim == 1 else table_UI[users_B].gather(1, items)

    loss = pair_loss(config, batch, own_score, 5)
    loss.backward()
    assert loss.item() == 0
    assert table_UI.grad is not None
    assert torch.equal(table_UI.grad, torch.zeros_like(table_UI))


def test_the_batchs_other_rows_by_hand() -> None:
    batch = weighted(1, 1, users=[0, 1], positives=[1, 2], negatives=[])
    log_q_B = torch.tensor([0.4, 0.1], dtype=torch.float64).log()
    masked_BC = torch.tensor([[True, False], [False, True]])  # each has seen its own item, which stays
    batch = replace(batch, negatives=torch.empty(0, dtype=torch.int64), log_q=log_q_B, masked_BC=masked_BC)
    first = -log(exp(2) / 0.4 / (exp(2) / 0.4 + exp(0.5) / 0.1))
    second = -log(exp(3) / 0.1 / (exp(1) / 0.4 + exp(3) / 0.1))
    assert loss_of(batch, loss="sampled_softmax") == pytest.approx((first + second) / 2)
    first = -log(exp(4) / 0.4 / (exp(4) / 0.4 + exp(1) / 0.1))
    second = -log(exp(6) / 0.1 / (exp(2) / 0.4 + exp(6) / 0.1))
    assert loss_of(batch, loss="sampled_softmax", temperature=0.5) == pytest.approx((first + second) / 2)


def test_a_sum_of_the_models_own_is_given_the_offsets_and_the_mask() -> None:
    def log_sum(users_B: Tensor, items_C: Tensor, offset_C: Tensor, masked_BC: Tensor | None) -> Tensor:
        logit_BC = score(users_B, items_C) / 0.7 + offset_C
        assert masked_BC is not None
        return logit_BC.masked_fill(masked_BC, -torch.inf).logsumexp(dim=1)

    batch = weighted(1, 2, users=[0, 1], positives=[1, 4], negatives=[0, 2, 3])
    log_q = torch.tensor([0.3, 0.1, 0.1, 0.2, 0.3], dtype=torch.float64).log()
    batch = replace(batch, log_q=log_q, masked_BC=torch.tensor([[False, True, False], [False, False, True]]))
    config = PairModelConfig(name="any", loss="sampled_softmax", temperature=0.7)
    with_it, without = pair_loss(config, batch, score, 5, log_sum), pair_loss(config, batch, score, 5)
    assert with_it.item() == pytest.approx(without.item())


def test_the_hardest_of_several_draws_is_the_negative() -> None:
    hard = weighted(1, users=[1], positives=[4], negatives=[[[0, 2], [3, 1]]])
    chosen = weighted(1, users=[1], positives=[4], negatives=[[2, 1]])
    assert torch.equal(choose_hardest(hard, score).negatives, chosen.negatives)
    assert choose_hardest(chosen, score) is chosen


@pytest.mark.parametrize("name", ["bpr_mf", "gmf", "mlp", "neumf", "lightgcn"])
def test_draws_that_were_not_chosen_leave_no_trace(name: str) -> None:
    dropout = {"dropout": 0.5, "batch_norm": True} if name in ("mlp", "neumf") else {}
    model: Any = build(name, make_config(name, **dropout, loss="bpr", l2=0.5), DATA)
    model.initialise(0)
    if name == "lightgcn":
        model.prepare(DATA, FitSession(sampling=SamplingConfig(distribution="uniform", negatives=1)))
    one = batch_of([0, 1, 2], [0, 1, 2], [[1], [0], [1]])
    hard = replace(one, negatives=torch.tensor([[[1, 1]], [[0, 0]], [[1, 1]]]))
    for training in (False, True):
        model.train(training)
        states = []
        for batch in (one, hard):
            torch.manual_seed(0)
            before = {key: value.clone() for key, value in model.state_dict().items()}
            loss = model.loss(batch).item()
            states.append((loss, {key: value.clone() for key, value in model.state_dict().items()}))
            model.load_state_dict(before)
        torch.testing.assert_close(states[0], states[1])


# what goes together

UNIFORM_ONE = {"distribution": "uniform", "negatives": 1, "hardest_of": 1, "shared": False, "exponent": None}


def test_what_is_unset_takes_what_suits_the_loss() -> None:
    assert complete().model_dump() == {**UNIFORM_ONE, "stored": False, "weights": "equal"}
    assert complete("log_loss").negatives == 4
    assert complete(distribution="popularity").exponent == 0.75
    assert complete(distribution="popularity", exponent=0).exponent == 0
    in_batch = complete("sampled_softmax", distribution="in_batch")
    assert (in_batch.negatives, in_batch.hardest_of, in_batch.shared) == (None, None, None)
    assert complete("softmax") == SamplingConfig()
    assert complete("softmax", weights="user") == SamplingConfig(weights="user")


def test_what_a_model_recommends_is_for_its_own_loss_and_kind_of_negatives() -> None:
    class Tuned(PairModelConfig):
        name: str = "tuned"
        loss: LossName = "sampled_softmax"
        sampling = {"negatives": 512, "shared": True}  # noqa: RUF012

    assert Tuned().complete_sampling(SamplingConfig()).negatives == 512
    assert Tuned().complete_sampling(SamplingConfig(negatives=9)).shared is True
    assert Tuned().complete_sampling(SamplingConfig(shared=False)).negatives == 64
    popular = Tuned().complete_sampling(SamplingConfig(distribution="popularity"))
    assert (popular.negatives, popular.shared, popular.exponent) == (512, True, 0.75)
    in_batch = Tuned().complete_sampling(SamplingConfig(distribution="in_batch"))
    assert (in_batch.negatives, in_batch.shared) == (None, None)
    assert Tuned(loss="bpr").complete_sampling(SamplingConfig()).negatives == 1


@pytest.mark.parametrize("sampling", [{}, {"distribution": "popularity"}, {"negatives": 3}, {"weights": "item"}])
def test_completing_twice_changes_nothing(sampling: dict[str, Any]) -> None:
    once = complete("sampled_softmax", **sampling)
    assert PairModelConfig(name="any", loss="sampled_softmax").complete_sampling(once) == once


NONSENSE = [
    ("bpr", {"distribution": "in_batch"}, "unseen|not seen"),
    ("log_loss", {"distribution": "in_batch"}, "not seen"),
    ("warp", {"distribution": "popularity"}, "uniform draws"),
    ("warp", {"hardest_of": 2}, "hardest_of"),
    ("sampled_softmax", {"hardest_of": 2}, "hardest_of"),
    ("softmax", {"negatives": 3}, "sample.negatives and the loss softmax: it compares a row with every item"),
    ("softmax", {"distribution": "uniform"}, "every item"),
    ("bpr", {"exponent": 0.5}, "exponent has no meaning"),
    ("bpr", {"shared": True}, "sampled_softmax"),
    ("sampled_softmax", {"distribution": "in_batch", "negatives": 3}, "trainer.batch_size"),
]


@pytest.mark.parametrize(("loss", "sampling", "reason"), NONSENSE)
def test_nonsense_is_refused_with_a_reason(loss: LossName, sampling: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        complete(loss, **sampling)


class Windowed(PairModelConfig):
    """Stands for models that learn from rows that a night stores."""

    name: str = "windowed"
    reads_windows = True


def test_negatives_are_stored_only_for_models_that_read_them() -> None:
    with pytest.raises(ValueError, match=r"sample\.stored and any: it does not learn from stored rows"):
        complete(stored=True)
    made = Windowed().complete_sampling(SamplingConfig(stored=True, negatives=3))
    assert (made.stored, made.negatives, made.distribution, made.shared) == (True, 3, "uniform", False)
    assert Windowed().complete_sampling(made) == made


@pytest.mark.parametrize(
    ("loss", "sampling", "reason"),
    [
        ("sampled_softmax", {"distribution": "in_batch"}, "neither in_batch"),
        ("sampled_softmax", {"shared": True}, "neither in_batch, sample.shared"),
        ("bpr", {"hardest_of": 2}, "nor sample.hardest_of"),
        ("softmax", {}, "sample.stored and the loss softmax: it compares a row with every item"),
    ],
)
def test_only_each_rows_own_negatives_can_be_stored(loss: LossName, sampling: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Windowed(loss=loss).complete_sampling(SamplingConfig.model_validate({"stored": True, **sampling}))


@pytest.mark.parametrize("sampling", [{"shared": True}, {"distribution": "in_batch"}])
def test_layers_are_not_run_for_every_candidate_of_every_row(sampling: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="layered: every row would go"):
        complete("sampled_softmax", layered=True, **sampling)
    with pytest.raises(ValidationError, match="softmax and layered"):
        Layered(loss="softmax")


@pytest.mark.parametrize("fields", [{"positive_weight": 2.0}, {"temperature": 0.5}, {"calibration": 0.5}])
def test_a_field_that_the_loss_does_not_read_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="has no meaning for the loss bpr"):
        PairModelConfig(name="any", loss="bpr", **fields)


def test_calibration_takes_the_place_of_the_rows_weight() -> None:
    with pytest.raises(ValidationError, match="positive_weight has no meaning for the loss gbce: it is what calibrat"):
        PairModelConfig(name="any", loss="gbce", positive_weight=2.0)
    with pytest.raises(ValidationError):
        PairModelConfig(name="any", loss="gbce", calibration=1.1)


# every loss with every distribution that it goes with, and all pairs of the other settings

DATA, HIDDEN = two_communities()
COMBINATIONS = [
    (loss, distribution)
    for loss, distribution in product(get_args(LossName), ("uniform", "popularity", "log_uniform", "in_batch", None))
    if distribution in RULES[loss].distributions or (distribution is None and not RULES[loss].distributions)
]


@pytest.mark.parametrize(("loss", "distribution"), COMBINATIONS)
def test_every_combination_learns(loss: LossName, distribution: str | None) -> None:
    session = FitSession(
        TrainerConfig(optimizer="adam", batch_size=256, epochs=20, device="cpu"),
        # of gbce's own 256 negatives a tenth is enough here
        sampling=SamplingConfig(distribution=distribution, negatives=25 if loss == "gbce" else None),
    )
    model = BPRMF.build(BPRMFConfig(loss=loss, dim=16, l2=0.001), DATA).fit(DATA, session)
    items_UK, _ = recommend(model, query_of(DATA), DATA.histories, k=1)
    assert hit_rate_at_k(hits(items_UK, HIDDEN), HIDDEN.lengths_U, k=1).mean() > 0.9


# Each pair of values occurs: an orthogonal array of three settings with three values.
PAIRWISE = [
    ("bpr", {"weights": "equal", "negatives": 1, "hardest_of": 3}),
    ("hinge", {"weights": "user", "negatives": 3, "hardest_of": 3}),
    ("mse", {"weights": "item", "negatives": 2, "hardest_of": 3}),
    ("bpr", {"weights": "user", "negatives": 2, "hardest_of": 1}),
    ("hinge", {"weights": "item", "negatives": 1, "hardest_of": 1}),
    ("mse", {"weights": "equal", "negatives": 3, "hardest_of": 1}),
    ("bpr", {"weights": "item", "negatives": 3, "hardest_of": 2}),
    ("hinge", {"weights": "equal", "negatives": 2, "hardest_of": 2}),
    ("mse", {"weights": "user", "negatives": 1, "hardest_of": 2}),
    ("sampled_softmax", {"weights": "user", "negatives": 20, "shared": True}),
    ("sampled_softmax", {"weights": "item", "distribution": "popularity", "exponent": 1.0, "shared": True}),
]


@pytest.mark.parametrize(("loss", "sampling"), PAIRWISE)
def test_settings_pairwise(loss: LossName, sampling: dict[str, Any]) -> None:
    config = BPRMFConfig(loss=loss, dim=8)
    session = FitSession(TrainerConfig(epochs=8, device="cpu"), sampling=SamplingConfig.model_validate(sampling))
    BPRMF.build(config, DATA).fit(DATA, session)
    assert session.trainer.optimizer == "adam"  # the kernel knows only the paper's own
    assert session.history[-1].loss < 0.95 * session.history[0].loss
    (batch, *_) = make_pairs(DATA, config, session.sampling).batches(64, 0, 1)
    assert len(batch) == 64
