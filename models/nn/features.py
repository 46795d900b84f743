"""Categorical columns of users as vectors, and the tower of dense layers over them and what a history says.

B users, K summaries of a user's history, D vector length, F width of all features side by side, H width of a layer
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..base import NoSuchFeature, Query, TrainingData
from ..fitting.rows import USERS, Rows, of_feature
from ..fitting.samplers import fill_normal
from .gather import gather

USER_ID = "user_id"
"""A feature that every data has: the model makes it of the user's index. Unknown and not fitted users have code 0."""


class FeatureTables(nn.Module):
    """A table of vectors for each column. Code 0, unknown, has a vector too: what is left when nothing is known."""

    def __init__(self, names: Sequence[str], data: TrainingData, dim: int, dropped: float) -> None:
        """`dropped` is the share of codes that a training step takes for unknown.

        Raises NoSuchFeature, with the names that there are."""
        super().__init__()
        self.names, self.dropped = tuple(names), dropped
        sizes = {USER_ID: data.n_users + 1} | {
            name: feature.size for name, feature in data.user_features.items() if name != USER_ID
        }
        if missing := [name for name in names if name not in sizes]:
            raise NoSuchFeature(f"model.features: there is no {', '.join(missing)}; the data has {', '.join(sizes)}")
        self.tables = nn.ParameterList(torch.zeros(sizes[name], dim) for name in names)
        fitted_U = torch.from_numpy(data.histories.lengths_U > 0) if USER_ID in names else None
        self.register_buffer("fitted_U", fitted_U)
        self.fitted_U: Tensor | None

    @property
    def width(self) -> int:
        return sum(table.shape[1] for table in self.tables)

    def initialise(self, seed: int, std: float) -> None:
        for name, table in zip(self.names, self.tables, strict=True):
            fill_normal(table, std, seed, "feature", name, "initialise")
            with torch.no_grad():
                table[0] = 0  # where nobody lacks the column, nothing would ever teach it

    def rows(self, name: str) -> dict[str, Rows]:
        """Whose the rows of each table are, by the weight's name in a model that has this module under this name."""
        whose = [USERS.whose if one == USER_ID else of_feature(one) for one in self.names]
        return {f"{name}.tables.{number}": Rows(one, first=1) for number, one in enumerate(whose)}

    def forward(self, users_B: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """[B, F] of users, -1 if unknown, with codes [B] by name; names that are missing are unknown."""
        columns = [users_B.new_zeros(len(users_B), 0, dtype=torch.float32)]
        for name, table in zip(self.names, self.tables, strict=True):
            code_B = self._numbers(users_B) if name == USER_ID else codes.get(name, torch.zeros_like(users_B))
            if self.training and self.dropped:
                code_B = code_B * (torch.rand(len(code_B), device=code_B.device) >= self.dropped)
            columns.append(gather(table, code_B))
        return torch.cat(columns, dim=1)

    def of(self, query: Query, device: torch.device) -> Tensor:
        """[B, F] of the users of a query."""
        arrays = {name: query.features[name] for name in self.names if name in query.features}
        codes = {name: torch.from_numpy(np.asarray(array, dtype=np.int64)).to(device) for name, array in arrays.items()}
        made: Tensor = self(torch.from_numpy(np.asarray(query.users_U, dtype=np.int64)).to(device), codes)
        return made

    def _numbers(self, users_B: Tensor) -> Tensor:
        """[B] 1 and up for the fitted users. Of others nothing was learned: 0."""
        assert self.fitted_U is not None
        if not len(self.fitted_U):
            return torch.zeros_like(users_B)
        return torch.where((users_B >= 0) & self.fitted_U[users_B.clamp(min=0)], users_B + 1, 0)


class Tower(nn.Module):
    """Dense layers over [features, summary], relu between them; the last one is linear.

    All summaries of a user share the features, whose part of the first layer is therefore made once."""

    def __init__(self, n_features: int, dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.n_features = n_features
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise((n_features + dim, *widths)))

    @torch.no_grad()
    def initialise(self, seed: int, scale: float = 1.0) -> None:
        """Variances by the number of inputs and the relu behind it (He et al., ICCV 2015); biases are zero.

        The last layer is `scale` times as large, so that what it is added to may prevail at first."""
        for number, layer in enumerate(self._layers()):
            last = number + 1 == len(self.layers)
            std = scale / layer.in_features**0.5 if last else (2 / layer.in_features) ** 0.5
            fill_normal(layer.weight, std, seed, "tower", number, "initialise")
            layer.bias.zero_()

    def forward(self, feature_BF: Tensor, summary_BKD: Tensor) -> Tensor:
        """[B, K, H] as wide as the last layer."""
        first, *others = self._layers()
        shared_BH = linear(feature_BF, first.weight[:, : self.n_features], first.bias)
        out_BKH = linear(summary_BKD, first.weight[:, self.n_features :]) + shared_BH[:, None]
        for layer in others:
            out_BKH = layer(out_BKH.relu())
        return out_BKH

    def _layers(self) -> Iterator[nn.Linear]:
        return cast(Iterator[nn.Linear], iter(self.layers))
