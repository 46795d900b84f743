"""A blend: the weighted sum of other models' scores, each standardised per user; validation rows choose the weights.

U users in the query, I items, M members, T weights that are tried
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..base import DoesNotFit, FitSession, Query, Recommender, TrainingData, TrainingDiverged
from ..choosing import METRIC
from ..registry import build
from .config import BlendConfig, Member
from .members import Onward, fit_member
from .scores import add, scored
from .weights import NOISE, KeptScores, Weights, alone, climb, nearest_to_equal

LOG = logging.getLogger("encore.training")


class Blend(Recommender):
    """score = sum over the members m of weight_m (score_m - mean) / deviation, both over the user's row.

    A row that is the same for all items counts nothing. Users without history get what the members guess, blended."""

    Config = BlendConfig

    def __init__(self, config: BlendConfig, data: TrainingData) -> None:
        self.config: BlendConfig = config
        parts = config.parts
        self.members: list[Recommender] = [build(part.config.name, part.config, data) for part in parts]
        self.weight_M: Weights = config.weights or (1 / len(parts),) * len(parts)
        self._n_items = data.n_items
        self._kept: KeptScores | None = None

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        """Fits the members in turn, each with a session of its own, then the weights. `session.history` stays empty:
        the epochs of different models are no curve. Callbacks see them all, numbered through."""
        session.history.clear()
        session.trainer = self.config.complete(session.trainer, session.sampling)
        progress = Onward(session.callbacks)
        given = self.config.weights or (1.0,) * len(self.members)
        kept: list[tuple[Member, Recommender]] = []
        for number, (part, weight) in enumerate(zip(self.config.parts, given, strict=True)):
            try:
                fitted = (part, self.members[number])
                kept.append(fit_member(number, part, data, session, progress) if weight else fitted)
            except DoesNotFit as error:
                if self.config.members is not None:
                    raise DoesNotFit(f"{part.config.name}, a member of the blend: {error}") from error
                LOG.warning("the blend goes without %s: %s", part.config.name, error)
            except TrainingDiverged as error:
                raise TrainingDiverged(f"{part.config.name}, a member of the blend: {error}") from error
        if len(kept) < 2:
            raise DoesNotFit("of a blend's usual members not two fit into memory. Use popularity or item_knn")
        self.members = [model for _, model in kept]
        self.weight_M = self.config.weights or self._chosen(session.validate)
        self.config = BlendConfig(members=tuple(member.spec for member, _ in kept), weights=self.weight_M)
        return self

    @property
    def folds_in(self) -> bool:
        """Only where all do that tell users apart: one that guesses the same for all strangers would speak beside."""
        telling = [member for _, member in self._used if member.personalised]
        return bool(telling) and all(member.folds_in for member in telling)

    @property
    def features_used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, member in self._used for name in member.features_used))

    def score(self, query: Query) -> Tensor:
        if self._kept is not None:
            return torch.from_numpy(self._kept.score(query, self.weight_M))
        total_UI = np.zeros((len(query), self._n_items), dtype=np.float32)
        for weight, member in self._used:
            add(total_UI, scored(member, query), np.float32(weight))
        return torch.from_numpy(total_UI)

    def weights(self) -> dict[str, Tensor]:
        parts = {
            f"{number}.{name}": tensor
            for number, (weight, member) in enumerate(zip(self.weight_M, self.members, strict=True))
            if weight
            for name, tensor in member.weights().items()
        }
        return {"weight_M": torch.tensor(self.weight_M, dtype=torch.float64), **parts}

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        if len(weights["weight_M"]) != len(self.members):
            raise ValueError(f"weights of {len(weights['weight_M'])} members for a blend of {len(self.members)}")
        self.weight_M = tuple(weights["weight_M"].tolist())
        parts: list[dict[str, Tensor]] = [{} for _ in self.members]
        for full_name, tensor in weights.items():
            number, _, name = full_name.partition(".")
            if name:
                parts[int(number)][name] = tensor
        for weight, member, part in zip(self.weight_M, self.members, parts, strict=True):
            if weight:
                member.load_weights(part)
        return self

    @property
    def n_parameters(self) -> int:
        return sum(member.n_parameters for _, member in self._used)

    @property
    def _used(self) -> list[tuple[float, Recommender]]:
        return [(weight, member) for weight, member in zip(self.weight_M, self.members, strict=True) if weight]

    def _chosen(self, validate: Callable[[Recommender], Mapping[str, float]] | None) -> Weights:
        """The weights, by the validation rows: never worse there than a member alone."""
        n_members = len(self.members)
        if validate is None:
            return (1 / n_members,) * n_members

        def measure(weights: Weights) -> float:
            self.weight_M = weights
            return float(validate(self).get(METRIC, 0.0))

        self._kept = kept = KeptScores(self.members, self._n_items)
        try:
            measure((1 / n_members,) * n_members)
            kept.choose_share()
            value_T = climb(measure, n_members)
        finally:
            self._kept = None
        chosen = nearest_to_equal(value_T, NOISE, kept.n_users)
        if kept.share < 1:  # a part of the users has chosen: now ask all, about the members alone as well
            candidates = (chosen, *alone(n_members))
            value = [measure(weights) for weights in candidates]
            chosen = candidates[value.index(max(value))]
        return chosen
