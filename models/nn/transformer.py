"""A transformer's block that looks back only: each place attends to the places before it, then passes a dense layer.

B sequences, L places, D vector length, H heads, K = D / H length of a head's vectors, R reach of the nearness
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .dropout import dropout
from .gather import gather

Norm = Literal["pre", "post"]


class CausalAttention(nn.Module):
    """Each place gets a mean over itself and the places before it, weighted by a softmax of products.

    What stands behind a place does not change it, so sequences are padded on the right. With a `reach` each head adds
    to a product what it learned for that distance; a sequence may then be no longer than that.
    Source: Vaswani et al., NIPS 2017, section 3.2; one number for each distance: Raffel et al., JMLR 2020, section 2.1.
    """

    def __init__(self, dim: int, heads: int, reach: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(dim, 3 * dim)
        """To queries, keys and values, in this order, each one head after the other."""
        self.output = nn.Linear(dim, dim)
        self.nearness_RH = nn.Parameter(torch.zeros(reach, heads)) if reach else None

    def reset_parameters(self) -> None:
        if self.nearness_RH is not None:
            nn.init.zeros_(self.nearness_RH)

    def forward(self, input_BLD: Tensor) -> Tensor:
        n, length, dim = input_BLD.shape
        projected = self.project(input_BLD).view(n, length, 3, self.heads, dim // self.heads)
        query_BHLK, key_BHLK, value_BHLK = projected.permute(2, 0, 3, 1, 4)
        bias_HLL = None if self.nearness_RH is None else look_back(self.nearness_RH, length)
        mean_BHLK = scaled_dot_product_attention(
            query_BHLK, key_BHLK, value_BHLK, attn_mask=bias_HLL, is_causal=bias_HLL is None
        )
        made_BLD: Tensor = self.output(mean_BHLK.transpose(1, 2).reshape(n, length, dim))
        return made_BLD


def look_back(nearness_RH: Tensor, length: int) -> Tensor:
    """[H, L, L] for each place what it adds to its products with the others: minus infinity for those behind it."""
    place_L = torch.arange(length, device=nearness_RH.device)
    back_LL = place_L[:, None] - place_L
    bias_LLH = gather(nearness_RH, back_LL.clamp(min=0))
    return bias_LLH.masked_fill((back_LL < 0)[..., None], -torch.inf).permute(2, 0, 1)


class Block(nn.Module):
    """Attention, then two dense layers with a relu between them; both add to what they are given.

    `pre` normalises what they are given, as SASRec does, `post` the sum, as Vaswani et al. do. What they add is dropped
    out, the weights of the attention are not: that would take torch's slow path.
    Source: Kang & McAuley, ICDM 2018, section III.B."""

    def __init__(self, dim: int, heads: int, width: int, dropout: float, norm: Norm, reach: int | None) -> None:
        super().__init__()
        self.attention = CausalAttention(dim, heads, reach)
        self.widen, self.narrow = nn.Linear(dim, width), nn.Linear(width, dim)
        self.first_norm, self.second_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.norm, self.dropout = norm, dropout

    def forward(self, state_BLD: Tensor) -> Tensor:
        state_BLD = self._add(state_BLD, self.attention, self.first_norm)
        return self._add(state_BLD, self._dense, self.second_norm)

    def _add(self, state_BLD: Tensor, layer: Callable[[Tensor], Tensor], norm: nn.LayerNorm) -> Tensor:
        added_BLD = layer(norm(state_BLD) if self.norm == "pre" else state_BLD)
        sum_BLD = state_BLD + dropout(added_BLD, self.dropout, self.training)
        return norm(sum_BLD) if self.norm == "post" else sum_BLD

    def _dense(self, state_BLD: Tensor) -> Tensor:
        made_BLD: Tensor = self.narrow(self.widen(state_BLD).relu())
        return made_BLD
