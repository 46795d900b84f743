"""Behaviour-to-interest dynamic routing: a user's items are shared out among a few capsules, the user's interests.

B users, L history length, K interests, D vector length
"""

import torch
from torch import Tensor


def squash(vector: Tensor) -> Tensor:
    """|z|² / (1 + |z|²) · z / |z| along the last dimension: the same direction, shorter than 1; zero stays zero.

    Source: Sabour et al., NIPS 2017, equation 1."""
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)  # its gradient at zero is zero, not NaN
    squashed: Tensor = vector * (length / (1 + length.square()))
    return squashed


def interests_of(n_items_B: Tensor, most: int) -> Tensor:
    """[B] how many interests so many items speak for: int(max(1, min(most, log2(1 + n)))).

    Counted by powers of two: a logarithm of floats may fall short of a whole number. Source: Li et al., CIKM 2019,
    section 3.3, with one added, so that an empty history has a logarithm."""
    enough_K = 2 ** torch.arange(2, most + 1, device=n_items_B.device)
    return 1 + (1 + n_items_B[:, None] >= enough_K).sum(dim=1)


def route(
    behaviour_BLD: Tensor,
    first_logit_KL: Tensor,
    weight_BL: Tensor,
    unused_BK: Tensor | None = None,
    iterations: int = 3,
) -> Tensor:
    """[B, K, D] interests: squashed weighted sums of the behaviours, which are the items' vectors after the map S.

    Each iteration shares every behaviour out among the interests by a softmax over these, sums, squashes, and raises
    the logits by how well interest and behaviour agree. Only the last sum passes a gradient on. `weight_BL` is what
    a place weighs in the sums: 0 for padding, else 1 in the paper. Interests that are `unused` get nothing: they are
    zero. Source: Li et al., CIKM 2019, algorithm 1."""
    with torch.no_grad():
        logit_BKL = first_logit_KL.expand(len(behaviour_BLD), -1, -1)
        if unused_BK is not None:
            logit_BKL = logit_BKL.masked_fill(unused_BK[:, :, None], -torch.inf)
        for _ in range(iterations - 1):
            interest_BKD = _summed(logit_BKL, weight_BL, behaviour_BLD)
            logit_BKL = logit_BKL + interest_BKD @ behaviour_BLD.transpose(1, 2)
    return _summed(logit_BKL, weight_BL, behaviour_BLD)


def _summed(logit_BKL: Tensor, weight_BL: Tensor, behaviour_BLD: Tensor) -> Tensor:
    return squash((logit_BKL.softmax(dim=1) * weight_BL[:, None]) @ behaviour_BLD)
