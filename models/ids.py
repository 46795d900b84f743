"""Raw ids at the border, indices inside: the id maps that are shipped with a model."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

NOBODY = np.empty(0, dtype=np.int64)


class IdMap:
    """Raw ids in ascending order; an id's index is its place. Ids are all integers, or all text.

    Where an id was erased its place stays, so that all others keep theirs, and no id is found there.
    """

    def __init__(self, ids_N: npt.NDArray[Any], erased_E: npt.NDArray[np.int64] = NOBODY) -> None:
        self.ids_N = ids_N if ids_N.dtype == np.int64 else np.asarray(ids_N, dtype=np.str_)
        self.erased_E = erased_E
        """Places, ascending; what `ids_N` holds there is nobody's id, and only keeps the order."""
        if (self.living_L[1:] <= self.living_L[:-1]).any() or (self.ids_N[1:] < self.ids_N[:-1]).any():
            raise ValueError("ids must ascend and be distinct")

    def __len__(self) -> int:
        """How many places there are."""
        return len(self.ids_N)

    @property
    def living_L(self) -> npt.NDArray[Any]:
        """The ids without those that were erased."""
        return np.delete(self.ids_N, self.erased_E) if len(self.erased_E) else self.ids_N

    def without(self, place: int) -> "IdMap":
        """With the id at this place erased. Where the ids are 4, 5 and 6 there is no number to put in place of the 5:
        the 4 stands there a second time, and a search finds the first."""
        ids_N = self.ids_N.copy()
        least = np.iinfo(np.int64).min if self.are_integers else ""
        until = place + 1  # erased places that follow were filled with this id
        while until in self.erased_E:
            until += 1
        ids_N[place:until] = ids_N[place - 1] if place else least
        return IdMap(ids_N, np.union1d(self.erased_E, [place]).astype(np.int64))

    @property
    def are_integers(self) -> bool:
        return bool(self.ids_N.dtype == np.int64)

    def index(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """[N] index of each id, -1 where it is unknown. Takes text for integers ("12") and integers for text."""
        wanted_N = np.asarray(ids)
        if len(wanted_N) == 0 or len(self) == 0:
            return np.full(len(wanted_N), -1, dtype=np.int64)
        index_N = self._index(wanted_N)
        return np.where(np.isin(index_N, self.erased_E), -1, index_N) if len(self.erased_E) else index_N

    def _index(self, wanted_N: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """As `index`, but finds what stands at an erased place, too, where nobody else has it."""
        if wanted_N.dtype.kind == "f":  # integers that passed through a frame with gaps
            whole_N = (wanted_N == np.floor(wanted_N)) & (np.abs(wanted_N) < 2**53)
            if whole_N.any():
                index_N = self._index(np.where(whole_N, wanted_N, 0).astype(np.int64))
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
        erased = {f"{name}.erased": torch.from_numpy(self.erased_E)} if len(self.erased_E) else {}
        if self.are_integers:
            return {f"{name}.ids": torch.from_numpy(np.require(self.ids_N, requirements="W")), **erased}
        encoded = [text.encode() for text in self.ids_N.tolist()]
        offsets = np.cumsum([0, *map(len, encoded)])
        data = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8).copy()
        offsets_N1 = torch.from_numpy(offsets.astype(np.int64))
        return {f"{name}.bytes": torch.from_numpy(data), f"{name}.offsets": offsets_N1, **erased}

    @classmethod
    def from_tensors(cls, name: str, tensors: dict[str, Tensor]) -> Self:
        erased_E = tensors[f"{name}.erased"].numpy() if f"{name}.erased" in tensors else NOBODY
        if f"{name}.ids" in tensors:
            return cls(tensors[f"{name}.ids"].numpy(), erased_E)
        data, offsets = tensors[f"{name}.bytes"].numpy().tobytes(), tensors[f"{name}.offsets"].tolist()
        texts = [data[a:b].decode() for a, b in pairwise(offsets)]
        return cls(np.array(texts, dtype=np.str_), erased_E)


def _find(ascending_N: npt.NDArray[Any], wanted_M: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    place_M = np.minimum(np.searchsorted(ascending_N, wanted_M), len(ascending_N) - 1)
    found_M: npt.NDArray[np.int64] = np.where(ascending_N[place_M] == wanted_M, place_M, -1)
    return found_M
