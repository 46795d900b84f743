"""iALS: vectors whose product is one for what a user took and near zero for the rest, fitted by least squares.

U users in the query or the fit, I items, D vector length, R rows (user-item pairs), F users to fold in
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..base import Epoch, FitSession, Query, Ragged, Recommender, TrainingData, TrainingDiverged
from ..choosing import METRIC
from ..config import ModelConfig
from ..fitting.samplers import stream
from ..nn.product import all_products
from ..search import Real, Space, Whole
from . import kernel

Floats = npt.NDArray[np.float32]

# On MovieLens 100K (each user's last row but one) and on MovieLens 1M (one random row a user), by NDCG@10 of the full
# ranking, the best pairs are (1, .004) with .085 and (1, .002 to .004) with .131; unobserved .1 gives .078 and .118,
# l2 .03 gives .046 and .083. Beside the best pair, ten steps of conjugate gradients, l2_exponent .5 and init_std 1
# change no more than noise does (.002); dim 128 gives .082 and .133.
UNOBSERVED = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Weights that the validation rows choose from."""
L2 = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
"""Penalties that the validation rows choose from."""
START = (1.0, 0.004)
"""Weight and penalty where the search begins; they are used where there are no validation rows."""
MOST_POINTS = 12
"""Pairs of weight and penalty that are tried at most."""
ITERATIONS = 8
"""Iterations at each pair that is tried, and where there are no validation rows."""
MOST_ITERATIONS = 24
CHECK_EVERY = 2
"""The best pair goes on as long as every second iteration is better than the one two before."""
FOLD_IN_STEPS = 30
"""Of conjugate gradients from zero, at most: few rows need half as many."""


class IALSConfig(ModelConfig):
    """Implicit alternating least squares (Hu et al., ICDM 2008), set up as Rendle et al. (RecSys 2022) found best."""

    name: Literal["ials"] = "ials"
    dim: PositiveInt = 64
    """Length of the user and item vectors."""
    unobserved: PositiveFloat | None = None
    """Weight of each pair of user and item, seen or not, whose product should be zero (their α0); a seen row has
    weight one. Unset: chosen by the validation rows."""
    l2: NonNegativeFloat | None = None
    """Weight of the squared norm of the vectors (their λ). Unset: chosen by the validation rows."""
    l2_exponent: NonNegativeFloat = 1.0
    """A vector's l2 is multiplied by (its rows + unobserved · the other side's size) to this power (their ν): with 1
    all are held back alike, with 0 those with few rows more."""
    iterations: PositiveInt | None = None
    """Times that users and items are solved in turn. Unset: chosen by the validation rows."""
    init_std: PositiveFloat = 0.1
    """The first vectors' standard deviation times the root of `dim`: their products then do not depend on it."""
    cg_steps: PositiveInt = 3
    """Steps of conjugate gradients at each turn, from where the vector stood."""

    # Wider than what the validation rows choose from where these are unset; iterations they choose in each trial.
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=16, high=256, log=True),
        "model.unobserved": Real(low=0.003, high=1, log=True),
        "model.l2": Real(low=0.0005, high=0.1, log=True),
        "model.l2_exponent": Real(low=0, high=1),
    }


@dataclass(frozen=True)
class _Rows:
    """The rows by user and by item."""

    by_user: Ragged
    by_item: Ragged

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        histories = data.histories
        return cls(histories, Ragged.from_pairs(histories.items_R, histories.users_R, data.n_items))


@dataclass(frozen=True)
class _Numbers:
    """A configuration without anything left open."""

    unobserved: float
    l2: float
    config: IALSConfig

    def penalty_N(self, partners: Ragged, n_others: int) -> Floats:
        """[N] each row's weight of its squared norm."""
        mass_N = partners.lengths_U + self.unobserved * n_others
        return (self.l2 * mass_N**self.config.l2_exponent).astype(np.float32)


class _Run:
    """One fit with given numbers, an iteration at a time."""

    def __init__(self, numbers: _Numbers, rows: _Rows, seed: int) -> None:
        self.numbers = numbers
        self.iterations = 0
        self._rows = rows
        std = np.float32(numbers.config.init_std / math.sqrt(numbers.config.dim))
        n_users, n_items = len(rows.by_user), len(rows.by_item)
        self.user_UD, self.item_ID = (
            stream(seed, "ials", "initialise", name).standard_normal((n, numbers.config.dim), dtype=np.float32) * std
            for name, n in (("user", n_users), ("item", n_items))
        )
        self._user_penalty_U = numbers.penalty_N(rows.by_user, n_items)
        self._item_penalty_I = numbers.penalty_N(rows.by_item, n_users)

    def iterate(self) -> float:
        """Solves the users, then the items. Returns the loss between the two, penalties included."""
        unobserved, steps = self.numbers.unobserved, self.numbers.config.cg_steps
        gram_DD = kernel.gram(self.item_ID)
        kernel.half_step(
            self.user_UD, self.item_ID, gram_DD, self._rows.by_user, self._user_penalty_U, unobserved, steps
        )
        user_norm = float(self._user_penalty_U @ np.einsum("ud,ud->u", self.user_UD, self.user_UD))
        gram_DD = kernel.gram(self.user_UD)
        loss = kernel.half_step(
            self.item_ID, self.user_UD, gram_DD, self._rows.by_item, self._item_penalty_I, unobserved, steps
        )
        self.iterations += 1
        return loss + user_norm


class IALS(Recommender):
    """Score is the dot product of the two vectors.

    After the last iteration every user's vector is solved anew from zero: a user whom the model does not know gets,
    from the same history, the same vector. A user without any history gets the mean of the fitted users' vectors; an
    item without rows scores zero."""

    Config = IALSConfig

    def __init__(self, config: IALSConfig, data: TrainingData) -> None:
        self.config: IALSConfig = config
        self.user_UD = torch.zeros(data.n_users, config.dim)
        self.item_ID = torch.zeros(data.n_items, config.dim)
        self.fitted_U = torch.zeros(data.n_users, dtype=torch.bool)
        self._gram_DD: Floats | None = None

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        """Where the configuration leaves something open and there are validation rows, climbs over UNOBSERVED × L2
        from START: all neighbours of the best pair are tried until none is better, ITERATIONS each. The best pair
        then goes on while that helps. `session.history` has the iterations of all tries, numbered through."""
        if data.n_rows == 0:
            raise ValueError("there are no rows to train on")
        session.history.clear()
        search = _Search(self, data, session)
        for callback in session.callbacks:
            callback.on_start(self, search.most_iterations, data.n_rows)
        try:
            search.run()
        finally:
            for callback in session.callbacks:
                callback.on_end(self, session.history)
        return self

    def take(self, run: _Run, rows: _Rows) -> None:
        """Makes the run's state the model's own."""
        self.config = run.numbers.config.model_copy(
            update={"unobserved": run.numbers.unobserved, "l2": run.numbers.l2, "iterations": run.iterations}
        )
        self.item_ID, self._gram_DD = torch.from_numpy(run.item_ID.copy()), None
        self.user_UD = torch.from_numpy(self._fold_in(rows.by_user))
        self.fitted_U = torch.from_numpy(rows.by_user.lengths_U > 0)

    @property
    def folds_in(self) -> bool:
        return True

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        users_U = torch.from_numpy(np.asarray(query.users_U, dtype=np.int64))
        safe_U = users_U.clamp(min=0)
        known_U = (users_U >= 0) & self.fitted_U[safe_U]
        user_UD = self.user_UD[safe_U]
        if not known_U.all():
            mean_D = self.user_UD[self.fitted_U].mean(dim=0) if self.fitted_U.any() else torch.zeros_like(user_UD[0])
            user_UD = torch.where(known_U[:, None], user_UD, mean_D)
        strangers_F = np.flatnonzero(~known_U.numpy() & (query.histories.lengths_U > 0))
        if len(strangers_F):
            user_UD[strangers_F] = torch.from_numpy(self._fold_in(query.histories.take(strangers_F)))
        return all_products(user_UD, self.item_ID)

    def weights(self) -> dict[str, Tensor]:
        # Folding in needs the numbers that were chosen.
        chosen_2 = torch.tensor([_numbers(self.config).unobserved, _numbers(self.config).l2], dtype=torch.float64)
        vectors = {"user_UD": self.user_UD.clone(), "item_ID": self.item_ID.clone()}
        return {**vectors, "fitted_U": self.fitted_U.clone(), "chosen_2": chosen_2}

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        for name in ("user_UD", "item_ID"):
            if weights[name].shape != getattr(self, name).shape:
                raise ValueError(
                    f"{name} of shape {tuple(weights[name].shape)} for a model of {getattr(self, name).shape}"
                )
        self.user_UD, self.item_ID = weights["user_UD"].clone(), weights["item_ID"].clone()
        self.fitted_U, self._gram_DD = weights["fitted_U"].clone(), None
        unobserved, l2 = weights["chosen_2"].tolist()
        self.config = self.config.model_copy(update={"unobserved": unobserved, "l2": l2})
        return self

    @property
    def n_parameters(self) -> int:
        return self.user_UD.numel() + self.item_ID.numel()

    def _fold_in(self, histories: Ragged) -> Floats:
        """[F, D] the vectors of users with these items, solved from zero."""
        item_ID = self.item_ID.numpy()
        if self._gram_DD is None:
            self._gram_DD = kernel.gram(item_ID)
        numbers = _numbers(self.config)
        user_FD = np.zeros((len(histories), item_ID.shape[1]), dtype=np.float32)
        penalty_F = numbers.penalty_N(histories, len(item_ID))
        kernel.half_step(user_FD, item_ID, self._gram_DD, histories, penalty_F, numbers.unobserved, FOLD_IN_STEPS)
        return user_FD


class _Search:
    """Chooses what the configuration leaves open, and leaves the best fit in the model."""

    def __init__(self, model: IALS, data: TrainingData, session: FitSession) -> None:
        self._model, self._session = model, session
        self._config = model.config
        self._rows = _Rows.of(data)
        # Without validation rows there is nothing to choose by: START it is.
        grid = zip((UNOBSERVED, L2), START, (self._config.unobserved, self._config.l2), strict=True)
        self._axes = tuple(
            (value,) if value is not None else axis if session.validate else (start,) for axis, start, value in grid
        )
        self._best = -math.inf
        self._kept: tuple[IALSConfig, dict[str, Tensor]] | None = None

    def run(self) -> None:
        try:
            self._climb()
        finally:
            if self._kept is not None:
                self._model.config = self._kept[0]
                self._model.load_weights(self._kept[1])

    @property
    def most_iterations(self) -> int:
        """Of all tries together."""
        tries = min(MOST_POINTS, math.prod(len(axis) for axis in self._axes))
        goes_on = self._config.iterations is None and self._session.validate is not None
        return tries * (self._config.iterations or ITERATIONS) + (MOST_ITERATIONS - ITERATIONS if goes_on else 0)

    def _climb(self) -> None:
        axes = self._axes
        at = tuple(axis.index(start) if len(axis) > 1 else 0 for axis, start in zip(axes, START, strict=True))
        best = self._try(axes[0][at[0]], axes[1][at[1]])
        tried, centre = {at}, None
        while at != centre:
            centre = at
            for move in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                point = (centre[0] + move[0], centre[1] + move[1])
                inside = all(0 <= place < len(axis) for place, axis in zip(point, axes, strict=True))
                if not inside or point in tried or len(tried) == MOST_POINTS:
                    continue
                tried.add(point)
                before = self._best
                run = self._try(axes[0][point[0]], axes[1][point[1]])
                if self._best > before:
                    at, best = point, run
        if self._config.iterations is None and self._session.validate is not None:
            better = True
            while better and best.iterations < MOST_ITERATIONS:
                before = self._best
                self._advance(best, CHECK_EVERY)
                better = self._best > before

    def _try(self, unobserved: float, l2: float) -> _Run:
        run = _Run(_Numbers(unobserved, l2, self._config), self._rows, self._session.trainer.seed)
        self._advance(run, self._config.iterations or ITERATIONS)
        return run

    def _advance(self, run: _Run, iterations: int) -> None:
        """Iterates, records, and keeps the run's state in the session's model if the validation rows like it best."""
        session, model = self._session, self._model
        for more in range(iterations, 0, -1):
            start = perf_counter()
            loss = run.iterate() / len(self._rows.by_user.items_R)
            seconds = perf_counter() - start
            number = len(session.history) + 1
            if not math.isfinite(loss):
                raise TrainingDiverged(f"loss is {loss} at epoch {number}")
            metrics: Mapping[str, float] = {}
            if more == 1:
                metrics = self._judge(run, number)
            session.history.append(Epoch(number, loss, len(self._rows.by_user.items_R), seconds, metrics))
            for callback in session.callbacks:
                callback.on_epoch_end(model, session.history[-1])

    def _judge(self, run: _Run, number: int) -> Mapping[str, float]:
        """The validation metrics of the run's state, which is kept if it is the best yet."""
        session, model = self._session, self._model
        model.take(run, self._rows)
        if not torch.isfinite(model.user_UD).all() or not torch.isfinite(model.item_ID).all():
            raise TrainingDiverged(f"a vector is not finite after epoch {number}")
        if session.validate is None:
            session.best_epoch = number
            return {}
        metrics = dict(session.validate(model))
        value = metrics.get(METRIC)
        if value is None or value != value:
            raise ValueError(f"validation gave {METRIC} = {value}: there is nothing to choose by")
        if value > self._best:
            self._best, session.best_epoch = value, number
            self._kept = (model.config, model.weights())
        return metrics


def _numbers(config: IALSConfig) -> _Numbers:
    """With START for what was not chosen."""
    unobserved, l2 = config.unobserved, config.l2
    return _Numbers(START[0] if unobserved is None else unobserved, START[1] if l2 is None else l2, config)
