"""The contract between models and everything else: what a model is given, and the promises it keeps.

U users in the query, I items in the catalogue, R rows (user-item pairs), L history length
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .config import ModelConfig
from .fitting.config import SamplingConfig, TrainerConfig
from .ragged import IntArray as IntArray
from .ragged import Ragged as Ragged
from .windows import Windows as Windows

FloatArray = npt.NDArray[np.float64] | npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Feature:
    """A categorical column of users or items."""

    codes_N: IntArray
    """One code for each user or item; 0 is unknown."""
    size: int
    """Codes are below this, also those that no user or item here has."""


@dataclass(frozen=True)
class TrainingData:
    """The rows that a model may fit, as indices. Users are 0..n_users-1, items 0..n_items-1 in catalogue order."""

    n_items: int
    histories: Ragged
    """Each user's fitted items, oldest first. Users known only from elsewhere have empty histories."""
    user_features: Mapping[str, Feature] = field(default_factory=dict)
    """By name, one code per user."""
    item_features: Mapping[str, Feature] = field(default_factory=dict)
    """By name, one code per item."""
    weights_R: FloatArray | None = None
    """What each row of `histories` weighs in the loss of gradient models, above 0; None: all the same."""
    windows: Windows | None = None
    """The rows of `histories`, in their order, each with the items before it, as they were stored; None: models that
    need them make them from the histories."""

    @property
    def n_users(self) -> int:
        return len(self.histories)

    @property
    def n_rows(self) -> int:
        return len(self.histories.items_R)


@dataclass(frozen=True)
class Query:
    """Whom to score for. A model takes what it needs and ignores the rest."""

    users_U: npt.NDArray[np.int64]
    """User indices; -1 is a user whom the model was not fitted on."""
    histories: Ragged
    """What each of these users is known to have consumed by now, oldest first, [U] lists."""
    features: Mapping[str, IntArray] = field(default_factory=dict)
    """By name, one code for each of these users; 0 is unknown, and so is every code of a name that is missing."""

    def __len__(self) -> int:
        return len(self.users_U)

    def take(self, rows: IntArray) -> "Query":
        """The query of these of its users, by place."""
        features = {name: codes_U[rows] for name, codes_U in self.features.items()}
        return Query(self.users_U[rows], self.histories.take(rows), features)


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data came to."""

    number: int
    """From 1."""
    loss: float
    samples: int
    seconds: float
    """Of training alone, without the validation."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Validation metrics, `ndcg_at_10` among them; empty where there is no validation."""


class Callback:
    """Three hooks into training. Trackers and progress bars are callbacks; the loop knows none of them."""

    def on_start(self, model: "Recommender", epochs: int, samples_per_epoch: int) -> None: ...
    def on_epoch_end(self, model: "Recommender", epoch: Epoch) -> None: ...
    def on_end(self, model: "Recommender", history: Sequence[Epoch]) -> None: ...


@dataclass(frozen=True)
class WarmStart:
    """What an earlier fit of the same configuration has learned, for one that begins there."""

    weights: Mapping[str, Tensor]
    """All of that model's weights, by its own indices."""
    places: Mapping[str, npt.NDArray[np.int64]]
    """For users, items and each user feature's values, by index here the index there; -1 for what has come since."""


@dataclass
class FitSession:
    """What one call of `fit` may use besides the data, and where it leaves its record."""

    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """What the user set. `fit` replaces it by the complete one, in which every field has the value that was used."""
    validate: "Callable[[Recommender], Mapping[str, float]] | None" = None
    """Scores the model on the validation rows; None when there is nothing to choose by (a refit)."""
    callbacks: Sequence[Callback] = ()
    checkpoints: Path | None = None
    """Folder for recovery points, from which a killed fit goes on; None writes none."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """What rows are compared with; completed by `fit` likewise."""
    keep: Path | None = None
    """Folder for the files that `trainer.checkpoint` asks for; they stay."""
    start: WarmStart | None = None
    """What to begin with; None, and for models whose configuration does not start warm: from nothing."""
    history: list[Epoch] = field(default_factory=list)
    """Filled by `fit`: one entry an epoch. Closed-form models leave it empty."""
    best_epoch: int = 0
    """Filled by `fit`: the epoch whose weights were kept, from 1; 0 for closed-form models."""


class Recommender(ABC):
    """A model. Others know only these members and its `Config`."""

    Config: ClassVar[type[ModelConfig]]
    personalised: ClassVar[bool] = True
    """False for a model that shows everyone the same: the tests of taste skip it."""

    @property
    def folds_in(self) -> bool:
        """Whether a user who was not fitted is scored by the history: else the guess is the same for all of them."""
        return False

    @property
    def features_used(self) -> tuple[str, ...]:
        """The user features by which it scores a user without a history."""
        return ()

    config: ModelConfig

    @classmethod
    @abstractmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        """An untrained model of the right size. Must not look at the rows beyond their counts."""

    @abstractmethod
    def fit(self, data: TrainingData, session: FitSession) -> Self:
        """Trains on the rows of `data` only and returns itself. Raises TrainingDiverged or DoesNotFit.

        What the configuration leaves to the fit is chosen by `session.validate` where there is one; afterwards
        `config` holds what was chosen, so that a refit without validation rows can be told.
        """

    @abstractmethod
    def score(self, query: Query) -> Tensor:
        """[U, I] float32, higher is better, finite; never masks or ranks. Unknown users get the model's best guess."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """All that was learned, by name: what is saved. `load_weights` takes it back exactly."""

    @abstractmethod
    def load_weights(self, weights: Mapping[str, Tensor]) -> Self: ...

    @property
    def n_parameters(self) -> int:
        """Trainable numbers; 0 for a model without any."""
        return 0


class TrainingDiverged(RuntimeError):
    """The loss or a weight is not a finite number."""


class NothingToLearn(RuntimeError):
    """There are rows, but none that this model can learn from."""


class NoSuchFeature(ValueError):
    """`model.features` names a column that the data has not. The message names those that there are."""


class WrongStart(ValueError):
    """`trainer.initial_weights` or `initial_epoch` does not suit this fit. The message names the fix."""


class DoesNotFit(RuntimeError):
    """The model would need more memory than there is. The message says what to use instead."""
