"""Each loss: one value worked out by hand, its gradient against finite differences, and large scores.

B rows in a batch, N negatives of a row, C candidates of a row
"""

from collections.abc import Callable
from math import exp, log, log1p

import pytest
import torch
from torch import Tensor

from models.nn import losses

Loss = Callable[..., Tensor]

LABEL_B = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
TARGET_B = torch.tensor([2, 0, 1, 4])
MASKED_BC = torch.tensor([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0]], dtype=torch.bool)
LOG_Q_C = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64).log()

CASES: dict[str, tuple[Loss, list[tuple[int, ...]]]] = {
    "bpr": (losses.bpr, [(4,), (4,)]),
    "hinge": (losses.hinge, [(4,), (4,)]),
    "exponential": (losses.exponential, [(4,), (4,)]),
    "warp": (lambda positive_B, negative_BN: losses.warp(positive_B, negative_BN, 50), [(4,), (4, 3)]),
    "log_loss": (lambda score_B: losses.log_loss(score_B, LABEL_B), [(4,)]),
    "mse": (lambda score_B: losses.mse(score_B, LABEL_B), [(4,)]),
    "mae": (lambda score_B: losses.mae(score_B, LABEL_B), [(4,)]),
    "softmax": (lambda score_BI: losses.softmax(score_BI, TARGET_B), [(4, 5)]),
    "sampled_softmax": (
        lambda score_BC: losses.sampled_softmax(score_BC, TARGET_B, LOG_Q_C, MASKED_BC),
        [(4, 5)],
    ),
}


def t(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_gradient_agrees_with_finite_differences(name: str, seed: int) -> None:
    loss, shapes = CASES[name]
    rng = torch.Generator().manual_seed(seed)
    scores = [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]
    loss(*scores).sum().backward()
    for score in scores:
        assert score.grad is not None
        flat, gradient = score.data.view(-1), score.grad.view(-1)
        assert gradient.abs().sum() > 0
        for at in range(len(flat)):
            value = flat[at].item()
            flat[at] = value + 1e-6
            above = loss(*scores).sum().item()
            flat[at] = value - 1e-6
            below = loss(*scores).sum().item()
            flat[at] = value
            assert gradient[at].item() == pytest.approx((above - below) / 2e-6, abs=1e-8)


def test_values_by_hand() -> None:
    # the positives lead by 2, then trail by 1
    positive_B, negative_B = t(3, 0), t(1, 1)
    assert losses.bpr(positive_B, negative_B).tolist() == pytest.approx([log1p(exp(-2)), log1p(exp(1))])
    assert losses.hinge(positive_B, negative_B).tolist() == pytest.approx([0, 2])
    assert losses.hinge(positive_B, negative_B, margin=2.5).tolist() == pytest.approx([0.5, 3.5])
    assert losses.exponential(positive_B, negative_B).tolist() == pytest.approx([exp(-2), exp(1)])
    score_B, label_B = t(2, -1), t(1, 1)
    assert losses.log_loss(score_B, label_B).tolist() == pytest.approx([log1p(exp(-2)), log1p(exp(1))])
    assert losses.mse(score_B, label_B).tolist() == pytest.approx([1, 4])
    assert losses.mae(score_B, label_B).tolist() == pytest.approx([1, 2])
    score_BI = t([log(1), log(2), log(5)], [log(3), log(4), log(1)])
    assert losses.softmax(score_BI, torch.tensor([2, 0])).tolist() == pytest.approx([-log(5 / 8), -log(3 / 8)])


def test_the_weight_that_counters_few_negatives_by_hand() -> None:
    # 20 of 100 others: alpha = .2. By the paper alpha (t (1 - 1 / alpha) + 1 / alpha): .2 (.75 · -4 + 5) = .4
    assert losses.gbce_weight(20, 101, 0.75) == pytest.approx(0.4)
    assert losses.gbce_weight(20, 101, 0) == 1
    assert losses.gbce_weight(20, 101, 1) == pytest.approx(0.2)
    assert losses.gbce_weight(100, 101, 0.75) == 1  # nothing was left out
    assert losses.gbce_weight(300, 101, 1) == 1  # nor with repeats
    assert losses.gbce_weight(1, 1, 1) == 1


def test_warp_by_hand() -> None:
    positive_B = t(2, 2, 2)
    # Row 0: the first negative is far enough away, the second is not: rank floor(10 / 2) = 5.
    # Row 1: the first violates at once, rank 10. Row 2: none does.
    negative_BN = t([0.5, 1.5, 9.0], [1.25, 9.0, 9.0], [0.0, 0.5, 0.9])
    fifth, tenth = sum(1 / k for k in range(1, 6)), sum(1 / k for k in range(1, 11))
    expected = [fifth * 0.5, tenth * 0.25, 0]
    assert losses.warp(positive_B, negative_BN, n_items=11).tolist() == pytest.approx(expected)


def test_warp_with_more_draws_than_items_takes_the_best_rank() -> None:
    assert losses.warp(t(0), t([-9, -9, 0.5]), n_items=3).item() == pytest.approx(1.5)


def test_sampled_softmax_by_hand() -> None:
    # exp(score) / q is 8, 4 and 20 of row 0; the candidate of row 1 that is masked drops out
    score_BC, log_q_C = t([log(4), log(1), log(5)], [log(2), log(3), log(7)]), t(log(0.5), log(0.25), log(0.25))
    masked_BC = torch.tensor([[False, False, False], [False, False, True]])
    loss = losses.sampled_softmax(score_BC, torch.tensor([0, 1]), log_q_C, masked_BC)
    assert loss.tolist() == pytest.approx([-log(8 / 32), -log(12 / 16)])


def test_the_log_q_correction_makes_repeated_candidates_a_full_softmax() -> None:
    # Item 0 is drawn six times as often as item 2: corrected, the gradient is that of all items once.
    times_I = torch.tensor([6, 3, 1])
    drawn_C = torch.repeat_interleave(torch.arange(3), times_I)
    log_q_C = (times_I / times_I.sum()).double().log()[drawn_C]
    sampled_BI, full_BI = (t([0.3, -0.2, 1.1]).requires_grad_() for _ in range(2))
    losses.sampled_softmax(sampled_BI[:, drawn_C], torch.tensor([9]), log_q_C).backward()
    losses.softmax(full_BI, torch.tensor([2])).backward()
    assert sampled_BI.grad is not None
    torch.testing.assert_close(sampled_BI.grad, full_BI.grad)


def test_a_rows_own_item_cannot_be_masked() -> None:
    score_BC, log_q_C = t([1, 2]), t(0, 0)
    everything = torch.ones(1, 2, dtype=torch.bool)
    assert losses.sampled_softmax(score_BC, torch.tensor([0]), log_q_C, everything).item() == 0


@pytest.mark.parametrize("name", [name for name in CASES if name != "exponential"])
def test_large_scores_stay_finite(name: str) -> None:
    loss, shapes = CASES[name]
    for scale in (1e4, -1e4):
        scores = [(torch.arange(torch.Size(shape).numel()) * scale).view(shape).double() for shape in shapes]
        scores = [score.requires_grad_() for score in scores]
        value = loss(*scores)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert all(score.grad is not None and torch.isfinite(score.grad).all() for score in scores)
