"""Raw feature values at the border, codes inside: what is known of the users besides their histories.

U users, N users asked for
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .base import Feature, IntArray
from .ids import IdMap

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class UserFeatures:
    """Categorical columns of the users. A value's code is its place among the column's values + 1; 0 is unknown."""

    values: Mapping[str, IdMap]
    """By name, the distinct values that known users have, as text."""
    codes: Mapping[str, Codes]
    """By name, the code of each known user, [U]."""

    @classmethod
    def none(cls) -> Self:
        """Of users of whom nothing is known."""
        return cls({}, {})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def table(self) -> Mapping[str, Feature]:
        """As models take them."""
        return {name: Feature(self.codes[name], len(self.values[name]) + 1) for name in self.names}

    def codes_of(self, users_N: npt.NDArray[np.int64]) -> dict[str, IntArray]:
        """By name, the codes [N] of users by their indices; 0 where the index is -1."""
        found: dict[str, IntArray] = {}
        for name in self.names:
            if len(self.codes[name]):
                found[name] = np.where(users_N >= 0, self.codes[name][users_N], np.int32(0))
            else:
                found[name] = np.zeros(len(users_N), dtype=np.int32)
        return found

    def encode(self, raw: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> dict[str, IntArray]:
        """By name, the codes [N] of raw values: 0 for None, NaN and values that no known user has.

        Names that are unknown here are skipped, so that the result suits a query."""
        return {name: _codes(self.values[name], raw[name]) for name in self.names if name in raw}

    def tensors(self) -> dict[str, Tensor]:
        """As named tensors, for a file without pickle."""
        named: dict[str, Tensor] = {}
        for name in self.names:
            named |= self.values[name].tensors(f"features.{name}")
            named[f"features.{name}.codes"] = torch.tensor(self.codes[name], dtype=torch.int32)
        return named

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Takes back what `tensors` gave, by name in ascending order; other tensors may be among them."""
        keys = (key for key in sorted(tensors) if key.startswith("features.") and key.endswith(".codes"))
        names = [key.removeprefix("features.").removesuffix(".codes") for key in keys]
        values = {name: IdMap.from_tensors(f"features.{name}", dict(tensors)) for name in names}
        return cls(values, {name: tensors[f"features.{name}.codes"].numpy() for name in names})


def _codes(values: IdMap, raw: Sequence[Any] | npt.NDArray[Any]) -> Codes:
    texts = [_as_text(value) for value in (raw.tolist() if isinstance(raw, np.ndarray) else raw)]
    index_N = values.index(np.array([text or "" for text in texts], dtype=np.str_))
    known_N = np.array([text is not None for text in texts], dtype=bool)
    return np.where(known_N, index_N + 1, 0).astype(np.int32)


def _as_text(value: Any) -> str | None:
    """A value as files have it: a whole number without its point; None for None, NaN and what else is not itself."""
    if value is None or (value == value) is not True:  # pandas.NA is neither equal to itself nor unequal
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
