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

IntArray = npt.NDArray[np.int64] | npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64] | npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """A list of items for each user, in one array: user u's are `items_R[offsets_U1[u]:offsets_U1[u + 1]]`."""

    offsets_U1: npt.NDArray[np.int64]
    items_R: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets_U1) - 1

    @property
    def lengths_U(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets_U1)

    @property
    def users_R(self) -> npt.NDArray[np.int32]:
        """The user of each row."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.lengths_U)

    @classmethod
    def from_pairs(cls, users_R: IntArray, items_R: IntArray, n_users: int) -> Self:
        """Groups rows by user and keeps their order within a user: sort by time first."""
        order_R = np.argsort(users_R, kind="stable")
        offsets_U1 = np.concatenate([[0], np.cumsum(np.bincount(users_R, minlength=n_users))]).astype(np.int64)
        return cls(offsets_U1, np.ascontiguousarray(items_R[order_R], dtype=np.int32))

    @classmethod
    def empty(cls, n_users: int) -> Self:
        return cls(np.zeros(n_users + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def row(self, user: int) -> npt.NDArray[np.int32]:
        return self.items_R[self.offsets_U1[user] : self.offsets_U1[user + 1]]

    def take(self, users_U: IntArray) -> Self:
        """The lists of these users, in this order; an unknown user (-1) has an empty one."""
        users_U = np.asarray(users_U, dtype=np.int64)
        known_U = users_U >= 0
        safe_U = np.where(known_U, users_U, 0)
        starts_U = self.offsets_U1[safe_U]
        lengths_U = np.where(known_U, self.offsets_U1[safe_U + 1] - starts_U, 0)
        offsets_U1 = np.concatenate([[0], np.cumsum(lengths_U)]).astype(np.int64)
        index_R = np.arange(offsets_U1[-1]) + np.repeat(starts_U - offsets_U1[:-1], lengths_U)
        return type(self)(offsets_U1, self.items_R[index_R])

    def latest(self, n: int) -> Self:
        """Each list cut to its last n items."""
        kept_U = np.minimum(self.lengths_U, n)
        from_end_R = np.repeat(self.offsets_U1[1:], self.lengths_U) - np.arange(len(self.items_R))
        offsets_U1 = np.concatenate([[0], np.cumsum(kept_U)]).astype(np.int64)
        return type(self)(offsets_U1, self.items_R[from_end_R <= n])

    def as_sets(self) -> Self:
        """The same lists, each ascending and without repeats: what masks and look-ups need."""
        users_R = self.users_R
        order_R = np.lexsort((self.items_R, users_R))
        users_R, items_R = users_R[order_R], self.items_R[order_R]
        new_R = np.ones(len(items_R), dtype=bool)
        new_R[1:] = (users_R[1:] != users_R[:-1]) | (items_R[1:] != items_R[:-1])
        return type(self).from_pairs(users_R[new_R], items_R[new_R], len(self))


@dataclass(frozen=True)
class TrainingData:
    """The rows that a model may fit, as indices. Users are 0..n_users-1, items 0..n_items-1 in catalogue order."""

    n_items: int
    histories: Ragged
    """Each user's fitted items, oldest first. Users known only from elsewhere have empty histories."""
    user_features: Mapping[str, IntArray] = field(default_factory=dict)
    """Feature name to one code per user, [U]; 0 is unknown."""
    item_features: Mapping[str, IntArray] = field(default_factory=dict)
    """Feature name to one code per item, [I]; 0 is unknown."""
    weights_R: FloatArray | None = None
    """What each row of `histories` weighs in the loss of gradient models, above 0; None: all the same."""

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

    def __len__(self) -> int:
        return len(self.users_U)


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
    history: list[Epoch] = field(default_factory=list)
    """Filled by `fit`: one entry an epoch. Closed-form models leave it empty."""
    best_epoch: int = 0
    """Filled by `fit`: the epoch whose weights were kept, from 1; 0 for closed-form models."""


class Recommender(ABC):
    """A model. Others know only these members and its `Config`."""

    Config: ClassVar[type[ModelConfig]]
    personalised: ClassVar[bool] = True
    """False for a model that shows everyone the same: the tests of taste skip it."""

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


class WrongStart(ValueError):
    """`trainer.initial_weights` or `initial_epoch` does not suit this fit. The message names the fix."""


class DoesNotFit(RuntimeError):
    """The model would need more memory than there is. The message says what to use instead."""
