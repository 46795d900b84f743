"""The shared softmax's sum against torch in float64."""

import pytest
import torch

from models.nn.log_sum import log_sum_exp


def random_case(scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    left_BD, right_CD = torch.randn(700, 16, generator=generator) * scale, torch.randn(900, 16, generator=generator)
    return left_BD, right_CD, torch.randn(900, generator=generator), torch.rand(700, 900, generator=generator) < 0.3


@pytest.mark.parametrize("scale", [0.1, 30.0])  # exponents within 1, and beyond what float32 can hold
def test_sums_and_gradients_are_torchs(scale: float) -> None:
    left_BD, right_CD, offset_C, masked_BC = random_case(scale)
    weight_B = torch.linspace(-1, 1, 700)
    given = [left_BD.requires_grad_(), right_CD.requires_grad_()]
    made_B = log_sum_exp(left_BD, right_CD, offset_C, masked_BC)
    (made_B * weight_B).sum().backward()
    exact = [table.detach().double().requires_grad_() for table in given]
    logit_BC = (exact[0] @ exact[1].T + offset_C).masked_fill(masked_BC, -torch.inf)
    expected_B = logit_BC.logsumexp(dim=1)
    (expected_B * weight_B).sum().backward()
    torch.testing.assert_close(made_B.double(), expected_B, rtol=1e-5, atol=1e-5)
    for one, other in zip(given, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-3, atol=1e-4 * other.grad.abs().max().item())


def test_a_row_without_candidates_is_minus_infinity_and_has_no_gradient() -> None:
    left_BD, right_CD, offset_C, masked_BC = random_case(1.0)
    masked_BC[3] = True
    made_B = log_sum_exp(left_BD.requires_grad_(), right_CD, offset_C, masked_BC)
    assert made_B[3] == -torch.inf
    torch.logaddexp(torch.zeros(700), made_B).sum().backward()  # as beside the row's own item
    assert left_BD.grad is not None
    assert torch.isfinite(left_BD.grad).all()
    assert not left_BD.grad[3].any()
    assert left_BD.grad[4].any()


def test_without_a_mask_every_candidate_counts() -> None:
    left_BD, right_CD, offset_C, _ = random_case(1.0)
    gradients = []
    for masked_BC in (None, torch.zeros(700, 900, dtype=torch.bool)):
        left, right = left_BD.clone().requires_grad_(), right_CD.clone().requires_grad_()
        made_B = log_sum_exp(left, right, offset_C, masked_BC)
        made_B.sum().backward()
        assert left.grad is not None
        assert right.grad is not None
        gradients.append([made_B.detach(), left.grad, right.grad])
    for without, with_it in zip(*gradients, strict=True):
        assert torch.equal(without, with_it)
    expected_B = (left_BD.double() @ right_CD.double().T + offset_C).logsumexp(dim=1)
    torch.testing.assert_close(gradients[0][0].double(), expected_B, rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_stays_so() -> None:
    left_BD, right_CD, offset_C, masked_BC = random_case(1.0)
    left_BD[5, 0] = torch.nan
    made_B = log_sum_exp(left_BD, right_CD, offset_C, masked_BC)
    assert made_B[5].isnan()
    assert torch.isfinite(made_B[6:]).all()
