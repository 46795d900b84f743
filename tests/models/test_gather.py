"""Rows by index and their gradient, against torch's own.

N rows, B indices
"""

import numba
import numpy as np
import pytest
import torch

from models.nn.gather import LANES, deal, gather, sum_rows


@pytest.mark.parametrize("n", [9, 3 * LANES])
@pytest.mark.parametrize("shape", [(40,), (10, 4), (3, 2, 5), (0,)])
@pytest.mark.parametrize("width", [(), (7,)])
def test_rows_and_gradient_are_those_of_indexing(n: int, shape: tuple[int, ...], width: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    table = torch.randn((n, *width), generator=rng, dtype=torch.float64)
    index = torch.randint(0, n - 1, shape, generator=rng)  # the last row is never asked for
    ours, torchs = table.clone().requires_grad_(), table.clone().requires_grad_()
    weight = torch.randn((*shape, *width), generator=rng, dtype=torch.float64)
    rows = gather(ours, index)
    assert torch.equal(rows, table[index])
    (rows * weight).sum().backward()
    (torchs[index] * weight).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, torchs.grad)


def test_a_table_of_numbers_works_on_other_devices_too() -> None:
    index = torch.zeros(3, 2, dtype=torch.int64, device="meta")
    assert gather(torch.empty(5, device="meta"), index).shape == (3, 2)
    assert gather(torch.empty(5, 4, device="meta"), index).shape == (3, 2, 4)


def test_the_number_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    index_B, rows_BD = rng.integers(50, size=5_000), rng.standard_normal((5_000, 16), dtype=np.float32)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one_ND = sum_rows(index_B, rows_BD, 60)
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(one_ND, sum_rows(index_B, rows_BD, 60))
    assert (one_ND[50:] == 0).all()


def test_positions_are_dealt_by_value_in_their_order() -> None:
    starts_N1, order_B = deal(np.array([2, 0, 2, 3, 2]), 5)
    assert starts_N1.tolist() == [0, 1, 1, 4, 5, 5]
    assert order_B.tolist() == [1, 0, 2, 4, 3]
