"""Losses as pure functions of scores: one number for each comparison; who calls them weighs and takes the mean.

B rows in a batch, N negatives of a row, C candidates of a row, I items
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, softplus

EULER = 0.5772156649015329


# a positive against a negative: any two shapes that go together, say [B, 1] and [B, N]


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(positive - negative). Source: Rendle et al., UAI 2009."""
    return softplus(negative - positive)


def hinge(positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """How far the positive is from being `margin` above the negative. Source: Joachims, KDD 2002."""
    return (margin - positive + negative).clamp(min=0)


def exponential(positive: Tensor, negative: Tensor) -> Tensor:
    """exp(negative - positive). Infinite in float32 beyond a gap of 88: then the trainer stops the run.

    Source: RankBoost, Freund et al., JMLR 2003."""
    return torch.exp(negative - positive)


def warp(positive_B: Tensor, negative_BN: Tensor, n_items: int, margin: float = 1.0) -> Tensor:
    """[B] hinge against the first negative that comes within the margin, the heavier the worse the positive's rank.

    The negatives are in the order in which they were drawn, uniformly. If the k-th is the first to violate, the rank
    is taken for floor((n_items - 1) / k), and weighs 1 + 1/2 + ... + 1/rank. A row without a violation costs nothing.
    Source: Weston, Bengio and Usunier, IJCAI 2011."""
    gap_BN = margin - positive_B[:, None] + negative_BN
    violates_BN = gap_BN > 0
    first_B = violates_BN.int().argmax(dim=1)  # 0 where none violates: its gap is clamped away below
    rank_B = torch.div(n_items - 1, first_B + 1, rounding_mode="floor").clamp(min=1)
    weight_B = torch.digamma(rank_B.to(gap_BN.dtype) + 1) + EULER  # the harmonic number of the rank
    return weight_B * gap_BN.gather(1, first_B[:, None])[:, 0].clamp(min=0)


# a score against a label, of any shape


def log_loss(score: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(score) with labels in 0..1. Source: He et al., WWW 2017, equation 7."""
    return binary_cross_entropy_with_logits(score, label, reduction="none")


def mse(score: Tensor, label: Tensor) -> Tensor:
    """Squared distance. Source: Koren, Bell and Volinsky, Computer 2009."""
    return mse_loss(score, label, reduction="none")


def mae(score: Tensor, label: Tensor) -> Tensor:
    """Absolute distance. Source: Goodfellow, Bengio and Courville, Deep Learning 2016, section 6.2."""
    return l1_loss(score, label, reduction="none")


def gbce_weight(n_negatives: int, n_items: int, calibration: float) -> float:
    """What the row weighs beside each of its negatives in the generalised binary cross-entropy: the power beta.

    With alpha = n_negatives / (n_items - 1) it is alpha (t (1 - 1 / alpha) + 1 / alpha), for the calibration t.
    Source: Petrov and Macdonald, RecSys 2023, equations 8 and 9."""
    share = min(1.0, n_negatives / max(n_items - 1, 1))
    return 1 - calibration * (1 - share)


# one item against the others


def softmax(score_BI: Tensor, target_B: Tensor) -> Tensor:
    """[B] cross-entropy over all items; `target_B` is each row's own. Source: Hidasi et al., ICLR 2016."""
    return cross_entropy(score_BI, target_B, reduction="none")


def sampled_softmax(score_BC: Tensor, target_B: Tensor, log_q_BC: Tensor, masked_BC: Tensor | None = None) -> Tensor:
    """[B] cross-entropy over drawn candidates, of which `target_B` is each row's column of its own item.

    `log_q_BC` (or [C], the same for each row) is the log of how likely a draw is that candidate: without it, items
    that are drawn often would be punished for being drawn. A constant cancels out. Masked candidates, such as known
    positives, take no part; a row's own item cannot be masked.
    Source: Bengio and Senécal, IEEE TNN 2008; for candidates from the batch Yi et al., RecSys 2019."""
    logit_BC = score_BC - log_q_BC
    if masked_BC is not None:
        own_BC = torch.zeros_like(masked_BC).scatter(1, target_B[:, None], True)
        logit_BC = logit_BC.masked_fill(masked_BC & ~own_BC, -torch.inf)
    return cross_entropy(logit_BC, target_B, reduction="none")
