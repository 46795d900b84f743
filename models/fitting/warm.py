"""A fit that begins with what an earlier one has learned, although users and items have come and gone since.

N indices here, E rows of a table of the earlier fit, D vector length
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..base import WarmStart, WrongStart
from .rows import Rows
from .trainable import Trainable

Longs = npt.NDArray[np.int64]


def begin_warm(model: Trainable, start: WarmStart) -> None:
    """Gives the model, whose weights were just initialised, those of the earlier fit: by id where rows are somebody's.

    Rows of ids that are new stay as they were initialised. Raises WrongStart where the shapes are of another model."""
    own, rows = model.weights(), model.rows()
    given = model.adopt(start.weights)
    if own.keys() != given.keys():
        raise WrongStart(f"only one of the two models has {', '.join(sorted(own.keys() ^ given.keys()))}")
    begun = {}
    for name, tensor in own.items():
        if name in rows:
            begun[name] = _by_id(name, tensor, given[name], rows[name], start.places[rows[name].whose])
        else:
            _check_shapes(name, tensor.shape, given[name].shape)
            begun[name] = given[name]
    model.load_weights(begun)


def fingerprint(start: WarmStart) -> str:
    """sha256 of all that decides what `begin_warm` does."""
    digest = hashlib.sha256()
    for name, tensor in sorted(start.weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for whose, place_N in sorted(start.places.items()):
        digest.update(f"{whose} {len(place_N)}\0".encode() + np.ascontiguousarray(place_N).tobytes())
    return digest.hexdigest()


def _by_id(name: str, own: Tensor, earlier: Tensor, rows: Rows, place_N: Longs) -> Tensor:
    """The table here, with the rows of the earlier one where their ids were known to it."""
    _check_shapes(name, own.shape[1:], earlier.shape[1:])
    end = rows.first + len(place_N)
    n_behind = len(own) - end
    known_N = place_N >= 0
    begun = own.clone()
    begun[rows.first : end][torch.from_numpy(known_N)] = earlier[torch.from_numpy(rows.first + place_N[known_N])]
    begun[: rows.first] = earlier[: rows.first]
    begun[end:] = earlier[len(earlier) - n_behind :]
    return begun


def _check_shapes(name: str, here: torch.Size, there: torch.Size) -> None:
    if here != there:
        raise WrongStart(f"{name} is {_shown(there)} there and {_shown(here)} here")


def _shown(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "one number"
