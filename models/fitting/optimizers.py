"""Update rules by name."""

from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
}


def make_optimizer(name: str, parameters: Iterable[Parameter], learning_rate: float) -> Optimizer:
    """A torch optimizer with torch's own defaults for the rest. Penalties belong to a model's loss, not here."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(sorted(OPTIMIZERS))}")
    return OPTIMIZERS[name](parameters, lr=learning_rate)  # type: ignore[call-arg]
