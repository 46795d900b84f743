"""Dropout: how many numbers go, what the others become, and that the gradient goes the same way.

R rows, H width of a layer
"""

import numba
import pytest
import torch

from models.nn.dropout import LANE, dropout


def drop(probability: float, seed: int = 0, shape: tuple[int, ...] = (300, 401)) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(shape), probability)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_as_many_go_as_asked_and_the_mean_stays(probability: float) -> None:
    dropped_RH = drop(probability)
    assert (dropped_RH == 0).float().mean().item() == pytest.approx(probability, abs=0.005)
    assert dropped_RH.unique().tolist() == pytest.approx([0, 1 / (1 - probability)], rel=1e-4)


def test_numbers_go_independently_of_their_neighbours_and_of_their_place() -> None:
    gone = (drop(0.5, shape=(4 * LANE,)) == 0).double()
    centred = gone - 0.5
    for apart in (1, 2, 3, 4, 8, LANE):
        assert (centred[apart:] * centred[:-apart]).mean().item() == pytest.approx(0, abs=0.01)
    for place in range(4):
        assert gone[place::4].mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_gradient_goes_through_what_is_left_alone() -> None:
    layer_RH = torch.randn(7, 30, dtype=torch.float64).requires_grad_()
    dropped_RH = dropout(layer_RH, 0.3)
    dropped_RH.sum().backward()
    assert layer_RH.grad is not None
    torch.testing.assert_close(layer_RH.grad * layer_RH.detach(), dropped_RH.detach())
    assert (layer_RH.grad == 0).any()


def test_the_stream_is_torchs_and_any_number_of_threads_gives_the_same() -> None:
    first = drop(0.4)
    assert torch.equal(first, drop(0.4))
    assert not torch.equal(first, drop(0.4, seed=1))
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert torch.equal(first, drop(0.4))
    finally:
        numba.set_num_threads(before)


def test_outside_of_training_and_for_probability_0_nothing_happens() -> None:
    layer_RH = torch.randn(3, 4)
    assert dropout(layer_RH, 0.9, training=False) is layer_RH
    assert dropout(layer_RH, 0.0) is layer_RH
