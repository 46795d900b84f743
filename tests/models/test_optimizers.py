"""Each update rule against its formula in plain NumPy, over steps whose gradients and rate change."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import Parameter

from models.fitting.config import OptimizerName
from models.fitting.optimizers import FTRL, OPTIMIZERS, make_optimizer

Array = npt.NDArray[np.float64]
Rule = Callable[[Array, list[Array], list[float]], Array]

FIRST = np.array([1.0, -2.0, 0.5])
GRADIENTS = [np.array([0.5, -1.0, 0.0]), np.array([-0.25, -2.0, 3.0]), np.array([1.0, 0.5, -1.0])]
RATES = [0.1, 0.1, 0.02]


def sgd(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    for g, rate in zip(gradients, rates, strict=True):
        w = w - rate * g
    return w


def momentum(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    v = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        v = 0.9 * v + g
        w = w - rate * v
    return w


def nesterov(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    v = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        v = 0.9 * v + g
        w = w - rate * (g + 0.9 * v)
    return w


def adagrad(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    n = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        n = n + g**2
        w = w - rate * g / (np.sqrt(n) + 1e-10)
    return w


def adadelta(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    n, d = np.zeros_like(w), np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        n = 0.9 * n + 0.1 * g**2
        step = np.sqrt(d + 1e-6) / np.sqrt(n + 1e-6) * g
        d = 0.9 * d + 0.1 * step**2
        w = w - rate * step
    return w


def rmsprop(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    n = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        n = 0.99 * n + 0.01 * g**2
        w = w - rate * g / (np.sqrt(n) + 1e-8)
    return w


def adam(w: Array, gradients: list[Array], rates: list[float], decay: float = 0.0) -> Array:
    m, n = np.zeros_like(w), np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m, n = 0.9 * m + 0.1 * g, 0.999 * n + 0.001 * g**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(n / (1 - 0.999**t)) + 1e-8)
        w = w - rate * decay * w - rate * step
    return w


def adamw(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    return adam(w, gradients, rates, decay=0.01)  # torch's default: the one penalty that is part of a rule


def ftrl(w: Array, gradients: list[Array], rates: list[float]) -> Array:
    n = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):  # without penalties FTRL is descent with a rate per weight
        n = n + g**2
        w = w - rate / (1 + np.sqrt(n)) * g
    return w


RULES: dict[OptimizerName, Rule] = {
    "sgd": sgd, "momentum": momentum, "nesterov": nesterov, "adagrad": adagrad, "adadelta": adadelta,
    "rmsprop": rmsprop, "adam": adam, "adamw": adamw, "ftrl": ftrl,
}  # fmt: skip


def run(optimizer: torch.optim.Optimizer, weight: Parameter, gradients: list[Array], rates: list[float]) -> Array:
    for g, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.from_numpy(g.copy())
        optimizer.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_steps_agree_with_the_formula(name: OptimizerName, n_steps: int) -> None:
    weight = Parameter(torch.from_numpy(FIRST.copy()))
    ours = run(make_optimizer(name, [weight], RATES[0]), weight, GRADIENTS[:n_steps], RATES[:n_steps])
    np.testing.assert_allclose(ours, RULES[name](FIRST, GRADIENTS[:n_steps], RATES[:n_steps]), rtol=1e-12, atol=1e-12)


def test_every_name_has_a_rule_and_no_other_is_known() -> None:
    assert set(OPTIMIZERS) == set(RULES) == set(get_args(OptimizerName))
    with pytest.raises(ValueError, match="unknown optimizer 'sdg'"):
        make_optimizer("sdg", [Parameter(torch.zeros(1))], 0.1)  # type: ignore[arg-type]


def test_ftrl_is_algorithm_1_of_the_paper() -> None:
    # Weights start at zero, as there, with both penalties. Weight 2 never sees enough to leave zero.
    alpha, beta, l1, l2 = 0.5, 1.0, 0.6, 0.3
    gradients = [np.array([1.0, -2.0, 0.1]), np.array([0.7, 0.4, -0.2]), np.array([-6.0, -1.0, 0.3])]
    z, n, w = np.zeros(3), np.zeros(3), np.zeros(3)
    for g in gradients:
        w = np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2))
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z, n = z + g - sigma * w, n + g**2
    w = np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2))
    weight = Parameter(torch.zeros(3, dtype=torch.float64))
    ours = run(FTRL([weight], lr=alpha, beta=beta, l1=l1, l2=l2), weight, gradients, [alpha] * 3)
    np.testing.assert_allclose(ours, w, rtol=1e-12)
    assert ours[2] == 0
    assert (ours[:2] != 0).all()


def test_ftrl_keeps_the_first_weights_where_there_is_no_gradient() -> None:
    weight = Parameter(torch.from_numpy(FIRST.copy()))
    optimizer = FTRL([weight], lr=0.1, l1=0.2, l2=0.4)
    np.testing.assert_allclose(run(optimizer, weight, [np.zeros(3)] * 2, [0.1, 0.1]), FIRST, rtol=1e-12)
    with pytest.raises(ValueError, match="above 0"):
        FTRL([weight], lr=0.0)
