"""What the training loop asks of a model."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..base import FitSession, Recommender, TrainingData
from .config import TrainerConfig
from .rows import Rows


@dataclass(frozen=True)
class Pass:
    """What one epoch of training did."""

    loss: float
    """Mean over the samples."""
    samples: int


class Trainable(Recommender, nn.Module):
    """What the loop asks of a model; `GradientModel` answers it."""

    @abstractmethod
    def initialise(self, seed: int) -> None: ...
    @abstractmethod
    def prepare(self, data: TrainingData, session: FitSession) -> Any: ...
    @abstractmethod
    def samples_per_epoch(self, data: TrainingData) -> int: ...
    @abstractmethod
    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float: ...
    @abstractmethod
    def epoch(self, prepared: Any, trainer: TrainerConfig, epoch: int, optimizer: Optimizer) -> Pass: ...
    @abstractmethod
    def adopt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    @abstractmethod
    def rows(self) -> Mapping[str, Rows]: ...
    @property
    @abstractmethod
    def device(self) -> torch.device: ...
