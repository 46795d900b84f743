"""Dynamic routing and label-aware attention against numbers by hand and against slow loops from the papers' equations.

B users, L history length, K interests, D vector length
"""

from math import exp, inf, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nn.attention import label_aware
from models.nn.routing import interests_of, route, squash


def squashed(z_D: np.ndarray) -> np.ndarray:
    length = sqrt(float(z_D @ z_D))
    return z_D if length == 0 else length**2 / (1 + length**2) * z_D / length


def routed(behaviour_LD: np.ndarray, logit_KL: np.ndarray, iterations: int) -> np.ndarray:
    """[K, D] algorithm 1 of Li et al., CIKM 2019, for one user: equations 7, 6 and 5 in loops."""
    n_interests, n_items = logit_KL.shape
    logit_KL = logit_KL.copy()
    for _ in range(iterations):
        interest_KD = np.zeros((n_interests, behaviour_LD.shape[1]))
        for j in range(n_interests):
            for i in range(n_items):
                share = exp(logit_KL[j, i]) / sum(exp(logit_KL[k, i]) for k in range(n_interests))
                interest_KD[j] += share * behaviour_LD[i]
            interest_KD[j] = squashed(interest_KD[j])
        for j in range(n_interests):
            for i in range(n_items):
                logit_KL[j, i] += interest_KD[j] @ behaviour_LD[i]
    return interest_KD


def attended(interest_KD: np.ndarray, target_D: np.ndarray, power: float) -> np.ndarray:
    """[D] equation 6: the weights of a softmax, to the power, normalised again."""
    weight_K = np.array([exp(v_D @ target_D) for v_D in interest_KD])
    weight_K = (weight_K / weight_K.sum()) ** power
    mixed_D: np.ndarray = sum(weight * v_D for weight, v_D in zip(weight_K / weight_K.sum(), interest_KD, strict=True))
    return mixed_D


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_squash_by_hand() -> None:
    # |(3, 4)| = 5: 25 / 26 · (0.6, 0.8)
    expected = torch.tensor([[0.6 * 25 / 26, 0.8 * 25 / 26], [0.0, -0.5]])
    torch.testing.assert_close(squash(torch.tensor([[3.0, 4.0], [0.0, -1.0]])), expected)


def test_squash_leaves_zero_alone_and_gives_it_no_gradient() -> None:
    zero = torch.zeros(2, 3, requires_grad=True)
    squash(zero).sum().backward()
    assert zero.grad is not None
    assert not zero.grad.any()


def test_one_interest_is_the_squashed_sum() -> None:
    behaviour_BLD = torch.tensor([[[1.0, 0.0], [2.0, 4.0]]])
    # Every behaviour goes to the only interest: (3, 4), whatever the logits.
    made = route(behaviour_BLD, torch.tensor([[0.3, -2.0]]), torch.ones(1, 2))
    torch.testing.assert_close(made, torch.tensor([[[0.6 * 25 / 26, 0.8 * 25 / 26]]]))


def test_two_iterations_by_hand() -> None:
    # One item of one number, two interests. Shares 3/4 and 1/4; squash(z) = z² / (1 + z²) for z > 0: .36 and .0588;
    # the logits rise by that, so the second share of the first is a sigmoid of log 3 + .36 - 1/17.
    share = 1 / (1 + exp(-(np.log(3) + 0.36 - 1 / 17)))
    expected = [share**2 / (1 + share**2), (1 - share) ** 2 / (1 + (1 - share) ** 2)]
    logit_KL = torch.tensor([[np.log(3.0)], [0.0]])
    made = route(torch.ones(1, 1, 1, dtype=torch.float64), logit_KL, torch.ones(1, 1), iterations=2)
    assert made[0, :, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_is_algorithm_1(iterations: int) -> None:
    behaviour_BLD, logit_KL = some(4, 6, 5), some(3, 6, seed=1)
    made_BKD = route(behaviour_BLD, logit_KL, torch.ones(4, 6), iterations=iterations)
    for behaviour_LD, made_KD in zip(behaviour_BLD, made_BKD, strict=True):
        expected_KD = routed(behaviour_LD.numpy(), logit_KL.numpy(), iterations)
        torch.testing.assert_close(made_KD, torch.from_numpy(expected_KD))


def test_a_place_that_weighs_twice_is_two_equal_items() -> None:
    behaviour_BLD, logit_KL = some(1, 3, 4), some(2, 3, seed=1)
    twice = torch.tensor([0, 1, 1, 2])
    expected = route(behaviour_BLD[:, twice], logit_KL[:, twice], torch.ones(1, 4))
    torch.testing.assert_close(route(behaviour_BLD, logit_KL, torch.tensor([[1.0, 2.0, 1.0]])), expected)


def test_what_stands_in_padding_does_not_matter() -> None:
    behaviour_BLD, logit_KL = some(2, 5, 4), some(3, 5, seed=1)
    weight_BL = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]).repeat(2, 1)
    made = route(behaviour_BLD, logit_KL, weight_BL)
    torch.testing.assert_close(made, route(behaviour_BLD[:, 2:], logit_KL[:, 2:], torch.ones(2, 3)))
    behaviour_BLD[:, :2] = 7.0
    assert torch.equal(made, route(behaviour_BLD, logit_KL, weight_BL))


def test_an_empty_history_gives_zeros_and_finite_gradients() -> None:
    behaviour_BLD = some(1, 3, 4).requires_grad_()
    made = route(behaviour_BLD, some(2, 3, seed=1), torch.zeros(1, 3))
    assert not made.any()
    made.sum().backward()
    assert behaviour_BLD.grad is not None
    assert not behaviour_BLD.grad.any()


def test_only_the_last_sum_passes_a_gradient_on() -> None:
    """The gradient is that of squash(sum of shares · behaviour) with the shares as constants."""
    behaviour_LD, logit_KL = some(4, 3).requires_grad_(), some(2, 4, seed=1)
    away_KD = some(2, 3, seed=2)
    (route(behaviour_LD[None], logit_KL, torch.ones(1, 4))[0] * away_KD).sum().backward()

    still_LD, logit = behaviour_LD.detach(), logit_KL
    for _ in range(2):
        logit = logit + squash(logit.softmax(dim=0) @ still_LD) @ still_LD.T
    again_LD = still_LD.clone().requires_grad_()
    (squash(logit.softmax(dim=0) @ again_LD) * away_KD).sum().backward()
    torch.testing.assert_close(behaviour_LD.grad, again_LD.grad)


def test_unused_interests_are_zero_and_the_others_are_as_if_alone() -> None:
    behaviour_BLD, logit_KL = some(2, 5, 4), some(4, 5, seed=1)
    unused_BK = torch.tensor([[False, False, True, True], [False, True, True, True]])
    made_BKD = route(behaviour_BLD, logit_KL, torch.ones(2, 5), unused_BK)
    assert not made_BKD[unused_BK].any()
    for row, n in enumerate([2, 1]):
        alone_KD = route(behaviour_BLD[row : row + 1], logit_KL[:n], torch.ones(1, 5))[0]
        torch.testing.assert_close(made_BKD[row, :n], alone_KD)


@pytest.mark.parametrize(
    ("n_items", "n_interests"), [(0, 1), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (15, 4), (500, 4)]
)
def test_number_of_interests_by_hand(n_items: int, n_interests: int) -> None:
    assert interests_of(torch.tensor([n_items]), 4).tolist() == [n_interests]
    assert interests_of(torch.tensor([n_items]), 1).tolist() == [1]


def test_attention_by_hand() -> None:
    # v · e = log 3 and 0, so w = 3/4 and 1/4; to the power 2 and normalised 9/10 and 1/10.
    interest_BKD = torch.tensor([[[np.log(3.0), 1.0], [0.0, 5.0]]])
    target_BD = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    made = label_aware(interest_BKD, target_BD, 2.0)
    torch.testing.assert_close(made, torch.tensor([[0.9 * np.log(3.0), 0.9 + 0.5]]))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.0])
def test_attention_is_equation_6(power: float) -> None:
    interest_BKD, target_BD = some(3, 4, 5), some(3, 5, seed=1)
    for interest_KD, target_D, made_D in zip(
        interest_BKD, target_BD, label_aware(interest_BKD, target_BD, power), strict=True
    ):
        expected_D = attended(interest_KD.numpy(), target_D.numpy(), power)
        torch.testing.assert_close(made_D, torch.from_numpy(expected_D))


def test_an_infinite_power_takes_the_best_interest_and_so_does_nearly_a_large_one() -> None:
    interest_BKD, target_BD = some(6, 4, 5), some(6, 5, seed=1)
    hard_BD = label_aware(interest_BKD, target_BD, inf)
    best_B = (interest_BKD @ target_BD[:, :, None])[:, :, 0].argmax(dim=1)
    assert torch.equal(hard_BD, interest_BKD[torch.arange(6), best_B])
    assert len(set(best_B.tolist())) > 1
    # Products of hundreds to the power 100: the raw powers would overflow.
    torch.testing.assert_close(label_aware(300 * interest_BKD, target_BD, 100.0), 300 * hard_BD)


@pytest.mark.parametrize("power", [0.0, 1.0, inf])
def test_attention_leaves_unused_interests_out(power: float) -> None:
    interest_BKD, target_BD = some(2, 3, 4), some(2, 4, seed=1)
    unused_BK = torch.tensor([[False, False, True]] * 2)
    made_BD = label_aware(interest_BKD, target_BD, power, unused_BK)
    torch.testing.assert_close(made_BD, label_aware(interest_BKD[:, :2], target_BD, power))
