"""Raw ids at the border, indices inside: the id maps that are shipped with a model."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class IdMap:
    """Raw ids in ascending order; an id's index is its place. Ids are all integers, or all text."""

    def __init__(self, ids_N: npt.NDArray[Any]) -> None:
        self.ids_N = ids_N if ids_N.dtype == np.int64 else np.asarray(ids_N, dtype=np.str_)
        if (self.ids_N[1:] <= self.ids_N[:-1]).any():
            raise ValueError("ids must ascend and be distinct")

    def __len__(self) -> int:
        return len(self.ids_N)

    @property
    def are_integers(self) -> bool:
        return bool(self.ids_N.dtype == np.int64)

    def index(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """[N] index of each id, -1 where it is unknown. Takes text for integers ("12") and integers for text."""
        wanted_N = np.asarray(ids)
        if len(wanted_N) == 0 or len(self) == 0:
            return np.full(len(wanted_N), -1, dtype=np.int64)
        if wanted_N.dtype.kind == "f":  # integers that passed through a frame with gaps
            whole_N = (wanted_N == np.floor(wanted_N)) & (np.abs(wanted_N) < 2**53)
            if whole_N.any():
                index_N = self.index(np.where(whole_N, wanted_N, 0).astype(np.int64))
                return np.where(whole_N, index_N, self._index_of_text(wanted_N))
        if self.are_integers and wanted_N.dtype.kind == "i":
            return _find(self.ids_N, wanted_N)
        return self._index_of_text(wanted_N)

    def _index_of_text(self, wanted_N: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        text_N, order_N = self._as_text  # compared as text, so that "007" is not 7
        place_N = _find(text_N, wanted_N.astype(np.str_))
        return np.where(place_N >= 0, order_N[place_N], -1)

    @cached_property
    def _as_text(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The ids as ascending text, and the index of each."""
        text_N = self.ids_N.astype(np.str_)
        order_N = np.argsort(text_N, kind="stable")
        return text_N[order_N], order_N

    def tensors(self, name: str) -> dict[str, Tensor]:
        """As named tensors, for a file without pickle; text as UTF-8 bytes and offsets."""
        if self.are_integers:
            return {f"{name}.ids": torch.from_numpy(np.require(self.ids_N, requirements="W"))}
        encoded = [text.encode() for text in self.ids_N.tolist()]
        offsets = np.cumsum([0, *map(len, encoded)])
        data = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8).copy()
        return {f"{name}.bytes": torch.from_numpy(data), f"{name}.offsets": torch.from_numpy(offsets.astype(np.int64))}

    @classmethod
    def from_tensors(cls, name: str, tensors: dict[str, Tensor]) -> Self:
        if f"{name}.ids" in tensors:
            return cls(tensors[f"{name}.ids"].numpy())
        data, offsets = tensors[f"{name}.bytes"].numpy().tobytes(), tensors[f"{name}.offsets"].tolist()
        texts = [data[a:b].decode() for a, b in pairwise(offsets)]
        return cls(np.array(texts, dtype=np.str_))


def _find(ascending_N: npt.NDArray[Any], wanted_M: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    place_M = np.minimum(np.searchsorted(ascending_N, wanted_M), len(ascending_N) - 1)
    found_M: npt.NDArray[np.int64] = np.where(ascending_N[place_M] == wanted_M, place_M, -1)
    return found_M
