"""Update rules by name."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from .config import OptimizerName


class FTRL(Optimizer):
    """FTRL-Proximal: each weight has its own step size, and with `l1` many become exactly zero.

    Source: McMahan et al., KDD 2013, algorithm 1, where every weight starts at zero and `lr` never changes. Vectors
    whose product is the score would never leave zero, so here the closed form gives the first weights back until
    there is a gradient; and a change of `lr` changes the steps that follow, not the weights themselves."""

    def __init__(
        self, params: Iterable[Parameter], lr: float, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0
    ) -> None:
        if min(lr, beta) <= 0 or min(l1, l2) < 0:
            raise ValueError("lr and beta must be above 0, l1 and l2 not below")
        super().__init__(params, {"lr": lr, "beta": beta, "l1": l1, "l2": l2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, l1, l2 = self.state[weight], group["l1"], group["l2"]
        if not state:
            # `pull` is the sum of the paper's sigmas: how firmly a weight is tied to its past values.
            state["n"] = torch.zeros_like(weight)
            state["pull"] = torch.full_like(weight, group["beta"] / group["lr"])
            state["z"] = -(state["pull"] + l2) * weight - l1 * weight.sign()
        state["n"].addcmul_(gradient, gradient)
        pull = (group["beta"] + state["n"].sqrt()) / group["lr"]
        state["z"] += gradient - (pull - state["pull"]) * weight
        state["pull"] = pull
        shrunk = state["z"].sign() * (state["z"].abs() - l1).clamp(min=0)
        weight.copy_(-shrunk / (pull + l2))


OPTIMIZERS: dict[OptimizerName, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    # On a CPU fused steps take a sixth of the time, and give the same bits with any number of threads.
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "ftrl": FTRL,
}


def make_optimizer(name: OptimizerName, parameters: Iterable[Parameter], learning_rate: float) -> Optimizer:
    """A torch optimizer with torch's own defaults for the rest. Penalties belong to a model's loss, not here."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(sorted(OPTIMIZERS))}")
    return OPTIMIZERS[name](parameters, lr=learning_rate)
