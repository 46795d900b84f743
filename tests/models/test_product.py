"""The product behind most scores: right, and the same for a user whoever else is asked for."""

import numpy as np
import pytest
import torch

from models.nn.product import all_products


@pytest.mark.parametrize("dim", [1, 16, 50, 65])
def test_is_the_product_and_the_bias(dim: int) -> None:
    torch.manual_seed(0)
    user_UD, item_ID, bias_I = torch.randn(37, dim), torch.randn(333, dim, requires_grad=True), torch.randn(333)
    expected = user_UD.double() @ item_ID.detach().double().T
    score_UI = all_products(user_UD, item_ID)
    assert not score_UI.requires_grad
    np.testing.assert_allclose(score_UI, expected, atol=1e-5 * dim)
    np.testing.assert_allclose(all_products(user_UD, item_ID, bias_I), expected + bias_I, atol=1e-5 * dim)
    np.testing.assert_allclose(all_products(user_UD.double(), item_ID.double(), bias_I.double()), expected + bias_I)
    assert all_products(user_UD[:0], item_ID).shape == (0, 333)


@pytest.mark.skipif(not torch._C._has_mkldnn, reason="only oneDNN promises it")
@pytest.mark.parametrize("dim", [16, 64, 65])
def test_a_score_depends_on_nothing_but_the_two_vectors(dim: int) -> None:
    torch.manual_seed(0)
    user_UD, item_ID = torch.randn(40, dim), torch.randn(5, dim).repeat(67, 1)
    score_UI = all_products(user_UD, item_ID)
    assert torch.equal(score_UI, score_UI[:, :5].repeat(1, 67)), "equal items would not tie"
    for size in (1, 2, 3, 17):
        assert torch.equal(torch.cat([all_products(rows, item_ID) for rows in user_UD.split(size)]), score_UI)
