"""The block against loops written from the equations: attention that looks back, nearness, where it normalises.

B sequences, L places, D vector length, H heads, K length of a head's vectors, R reach
"""

from math import inf, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.nn.transformer import Block, CausalAttention, Norm, look_back


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scrambled(module: nn.Module) -> Any:
    """The module with every weight drawn anew, biases and norms included, in float64."""
    module.double()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=number) * 0.7)
    return module.eval()


def slow_attention(layer: CausalAttention, input_LD: Tensor) -> Tensor:
    """[L, D] one sequence, head by head and place by place (Vaswani et al., equation 1)."""
    length, dim = input_LD.shape
    weights, biases = layer.project.weight.split(dim), layer.project.bias.split(dim)
    query_LD, key_LD, value_LD = (input_LD @ w.T + b for w, b in zip(weights, biases, strict=True))
    n = dim // layer.heads
    rows = []
    for i in range(length):
        heads = []
        for h in range(layer.heads):
            own = slice(h * n, (h + 1) * n)
            logits = [query_LD[i, own] @ key_LD[j, own] / sqrt(n) for j in range(i + 1)]
            if layer.nearness_RH is not None:
                logits = [logit + layer.nearness_RH[i - j, h] for j, logit in enumerate(logits)]
            share = torch.stack(logits).exp()
            share = share / share.sum()
            heads.append(torch.stack([share[j] * value_LD[j, own] for j in range(i + 1)]).sum(dim=0))
        rows.append(torch.cat(heads) @ layer.output.weight.T + layer.output.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("reach", [None, 5, 7])
def test_attention_is_the_slow_loop(heads: int, reach: int | None) -> None:
    layer = scrambled(CausalAttention(6, heads, reach))
    input_BLD, factor_BLD = drawn(2, 5, 6, seed=50), drawn(2, 5, 6, seed=51)
    ours_BLD = layer(input_BLD)
    slow_BLD = torch.stack([slow_attention(layer, input_LD) for input_LD in input_BLD])
    torch.testing.assert_close(ours_BLD, slow_BLD)
    weights = list(layer.parameters())
    mine = torch.autograd.grad((ours_BLD * factor_BLD).sum(), weights)
    its = torch.autograd.grad((slow_BLD * factor_BLD).sum(), weights)
    for own, other in zip(mine, its, strict=True):
        torch.testing.assert_close(own, other)


def test_nearness_goes_by_the_distance_back() -> None:
    nearness_RH = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    first_LL = [[1.0, -inf, -inf], [2.0, 1.0, -inf], [3.0, 2.0, 1.0]]
    second_LL = [[10.0, -inf, -inf], [20.0, 10.0, -inf], [30.0, 20.0, 10.0]]
    assert look_back(nearness_RH, 3).tolist() == [first_LL, second_LL]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("reach", [None, 5])
def test_a_block_is_what_the_papers_draw(norm: Norm, reach: int | None) -> None:
    block, input_BLD = scrambled(Block(6, 2, 9, 0.5, norm, reach)), drawn(2, 5, 6, seed=50)

    def normal(x_BLD: Tensor, layer: nn.LayerNorm) -> Tensor:
        centred = x_BLD - x_BLD.mean(dim=-1, keepdim=True)
        return centred / (centred.square().mean(dim=-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    def dense(x_BLD: Tensor) -> Tensor:
        wide = (x_BLD @ block.widen.weight.T + block.widen.bias).clamp(min=0)
        made: Tensor = wide @ block.narrow.weight.T + block.narrow.bias
        return made

    first, second = block.first_norm, block.second_norm
    if norm == "pre":  # x + f(norm(x))
        half = input_BLD + block.attention(normal(input_BLD, first))
        whole = half + dense(normal(half, second))
    else:  # norm(x + f(x))
        half = normal(input_BLD + block.attention(input_BLD), first)
        whole = normal(half + dense(half), second)
    torch.testing.assert_close(block(input_BLD), whole)


@pytest.mark.parametrize("reach", [None, 6])
def test_what_stands_behind_changes_nothing_before_it(reach: int | None) -> None:
    block, input_BLD = scrambled(Block(6, 2, 9, 0.5, "pre", reach)), drawn(2, 6, 6, seed=50)
    other_BLD = input_BLD.clone()
    other_BLD[:, 4, 0] += 1  # of all numbers alike, a norm would take it away
    before, after = block(input_BLD), block(other_BLD)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).any()
    torch.testing.assert_close(block(input_BLD[:, :4]), before[:, :4])


@pytest.mark.parametrize("silent", ["attention", "dense"])
def test_what_is_added_is_dropped_out_in_training_alone(silent: str) -> None:
    block, input_BLD = scrambled(Block(64, 2, 32, 0.25, "pre", None)).train(), drawn(8, 10, 64)
    last = block.attention.output if silent == "attention" else block.narrow
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    added_BLD = block(input_BLD) - input_BLD
    assert 0.2 < (added_BLD == 0).double().mean() < 0.3
    whole_BLD = block.eval()(input_BLD) - input_BLD
    kept_BLD = added_BLD != 0
    torch.testing.assert_close(added_BLD[kept_BLD], whole_BLD[kept_BLD] / 0.75)
