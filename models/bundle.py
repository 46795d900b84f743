"""What is shipped of a fitted model: weights, configuration, id maps and histories; nothing that needs a pickle.

A bundle is a folder: `bundle.json` (what it is, and the sha256 of the other files), `weights.safetensors`,
`catalogue.safetensors`. It is loaded by the pipeline and by the model artefact alike.

U users asked for, K places, R rows, S strangers
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .base import IntArray, Query, Ragged, Recommender, TrainingData
from .features import UserFeatures
from .ids import IdMap
from .registry import build, make_config
from .segments import Segments
from .serving import REASONS, Lists, Served, make_lists, popularity

FORMAT = 1


class BundleDamaged(RuntimeError):
    """A file of the bundle is missing, or is not the one that was saved."""


@dataclass(frozen=True)
class Strangers:
    """Users whom the model has no index for, and of whom something is known all the same."""

    ids: IdMap
    histories: Ragged
    """[S] what each of them had by the night of the training, as far as the items are known."""
    codes: Mapping[str, IntArray]
    """By name of a feature, the code of each, [S]; 0 is unknown."""

    @classmethod
    def none(cls) -> Self:
        return cls(IdMap(np.empty(0, dtype=np.str_)), Ragged.empty(0), {})

    def __len__(self) -> int:
        return len(self.ids)

    def histories_of(self, strangers_U: npt.NDArray[np.int64]) -> Ragged:
        """[U] by their indices; empty where the index is -1."""
        return self.histories.take(strangers_U) if len(self) else Ragged.empty(len(strangers_U))

    def codes_of(self, strangers_U: npt.NDArray[np.int64]) -> dict[str, IntArray]:
        """By name, [U]; only where the index is not -1 do they mean something. No names where there is nobody."""
        return {name: codes_S[strangers_U] for name, codes_S in self.codes.items() if len(codes_S)}

    def tensors(self) -> dict[str, Tensor]:
        """As named tensors, for a file without pickle; none where there is nobody."""
        if not len(self):
            return {}
        codes = {f"strangers.codes.{name}": torch.tensor(codes_S) for name, codes_S in self.codes.items()}
        return {**self.ids.tensors("strangers"), **ragged_tensors("strangers.histories", self.histories), **codes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """Takes back what `tensors` gave; other tensors may be among them."""
        if "strangers.histories.items" not in tensors:
            return cls.none()
        start = "strangers.codes."
        codes = {key.removeprefix(start): tensors[key].numpy() for key in sorted(tensors) if key.startswith(start)}
        return cls(IdMap.from_tensors("strangers", tensors), ragged("strangers.histories", tensors), codes)


@dataclass(frozen=True)
class Bundle:
    """A fitted model with the ids it speaks."""

    dataset: str
    """Name of the dataset it was trained on; another dataset is another world."""
    model: Recommender
    users: IdMap
    items: IdMap
    fitted: Ragged
    """The rows that the model was fitted on."""
    served: Ragged
    """What each known user had by the night of the training: what the model is shown, unless told otherwise."""
    history_length: int | None = None
    """How many of a user's latest items the model is shown; None shows all."""
    masked: Ragged | None = None
    """What is left out of each known user's list, where that is more than `served`."""
    features: UserFeatures = field(default_factory=UserFeatures.none)
    """What is known of the users besides their histories."""
    strangers: Strangers = field(default_factory=Strangers.none)
    """What is known of others; their histories were never fitted, and may be the very rows that judge a model."""

    def query(
        self, users_U: npt.NDArray[np.int64], histories: Ragged, features: Mapping[str, IntArray] | None = None
    ) -> Query:
        """`features` are the users' codes by name; unless given, those of the known users."""
        shown = histories if self.history_length is None else histories.latest(self.history_length)
        return Query(users_U, shown, self.features.codes_of(users_U) if features is None else features)

    @cached_property
    def as_served(self) -> Served:
        """The model, and what stands in for it where it can tell nothing about a user."""
        segments = Segments(self.fitted, len(self.items), self.features.table)
        return Served(self.model, popularity(self.fitted, len(self.items)), segments)

    def lists(
        self,
        users_U: npt.NDArray[np.int64],
        histories: Ragged,
        seen: Ragged | None,
        k: int,
        features: Mapping[str, IntArray] | None = None,
    ) -> Lists:
        """By indices: `histories` is what the model is shown, `seen` what is left out; `features` as in `query`."""
        return make_lists(self.as_served, self.query(users_U, histories, features), seen, k)

    def recommend(
        self,
        user_ids: Sequence[Any] | npt.NDArray[Any],
        k: int,
        histories: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
        exclude_seen: bool = True,
        seen: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
        features: Mapping[str, Sequence[Any] | npt.NDArray[Any]] | None = None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.str_]]:
        """By raw ids: item ids [U, K], scores [U, K] (-inf where fewer than K were left) and reasons [U] (REASONS).

        `histories` (offsets [U + 1], raw item ids [R], oldest first) replaces what the bundle knows of these users, the
        strangers among them, and `seen`, of the same form, what is left out; items that the model does not know are
        skipped. `features` are raw values [U] by name, for users whom the model does not know: they come before what
        the bundle has of a stranger; None and unknown values tell nothing. A night's champion is judged through this
        call, by the code that it was shipped with, so its meaning must not change.
        """
        users_U = self.users.index(user_ids)
        strangers_U = np.where(users_U < 0, self.strangers.ids.index(user_ids), -1)
        if histories is None:
            theirs = self.strangers.histories_of(strangers_U)
            known = _either(self.served.take(users_U), theirs)
            left_out = known if self.masked is None else _either(self.masked.take(users_U), theirs)
        else:
            left_out = known = _known_only(histories[0], self.items.index(histories[1]))
        if seen is not None:
            left_out = _known_only(seen[0], self.items.index(seen[1]))
        codes = self._codes(users_U, strangers_U, features or {})
        lists = self.lists(users_U, known, left_out if exclude_seen else None, k, codes)
        return self.items.ids_N[lists.items_UK], lists.score_UK, np.array(REASONS)[lists.reason_U]

    def _codes(
        self,
        users_U: npt.NDArray[np.int64],
        strangers_U: npt.NDArray[np.int64],
        raw: Mapping[str, Sequence[Any] | npt.NDArray[Any]],
    ) -> dict[str, IntArray]:
        """By name, the codes [U] of users and strangers by their indices, and of who is no known user by raw values."""
        codes = self.features.codes_of(users_U)
        for name, codes_U in self.strangers.codes_of(strangers_U).items():
            codes[name] = np.where(strangers_U >= 0, codes_U, codes[name])
        for name, given_U in self.features.encode(raw).items():
            codes[name] = np.where((users_U < 0) & (given_U > 0), given_U, codes[name])
        return codes

    def was_fitted_on(self, user_ids: npt.NDArray[Any], item_ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """[R] True for a pair that the model has seen in training: such a row cannot judge it."""
        return self.times_fitted(user_ids, item_ids) > 0

    def times_fitted(self, user_ids: npt.NDArray[Any], item_ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """[R] how often the model has seen each pair in training: where users take items again, a pair may be old and
        the row that judges new."""
        users_R, items_R = self.users.index(user_ids), self.items.index(item_ids)
        known_R = (users_R >= 0) & (items_R >= 0)
        asked_A = np.unique(users_R[known_R])  # only their lists: all fitted rows as pairs would take gigabytes
        fitted = self.fitted.take(asked_A)
        fitted_F = asked_A[fitted.users_R].astype(np.int64) * len(self.items) + fitted.items_R
        pair_P, times_P = np.unique(fitted_F, return_counts=True)
        pair_R = users_R.astype(np.int64) * len(self.items) + items_R
        place_R = np.minimum(np.searchsorted(pair_P, pair_R), max(len(pair_P) - 1, 0))
        if not len(pair_P):
            return np.zeros(len(pair_R), dtype=np.int64)
        return np.where(known_R & (pair_P[place_R] == pair_R), times_P[place_R], 0)

    def save(self, folder: Path) -> None:
        """Writes the bundle's files into an existing folder."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.weights().items()}
        save_file(weights, folder / "weights.safetensors")
        catalogue = {
            **self.users.tensors("users"),
            **self.items.tensors("items"),
            **ragged_tensors("fitted", self.fitted),
            **ragged_tensors("served", self.served),
            **(ragged_tensors("masked", self.masked) if self.masked is not None else {}),
            **self.features.tensors(),
            **self.strangers.tensors(),
        }
        save_file(catalogue, folder / "catalogue.safetensors")
        content = {
            "format": FORMAT,
            "dataset": self.dataset,
            "model": self.model.config.model_dump(mode="json"),
            "history_length": self.history_length,
            "weights_sha256": weights_hash(weights),
            "files": {name: file_hash(folder / name) for name in ("weights.safetensors", "catalogue.safetensors")},
        }
        content["sha256"] = content_hash(content)
        (folder / "bundle.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises BundleDamaged where a file is missing or its hash is not the one that was saved."""
        try:
            content = json.loads(_existing(folder / "bundle.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise BundleDamaged(f"{folder / 'bundle.json'} cannot be read: {error}") from error
        if content.pop("sha256", None) != content_hash(content):
            raise BundleDamaged(f"{folder / 'bundle.json'} is not the file that was saved")
        if content["format"] != FORMAT:
            raise BundleDamaged(f"{folder} has format {content['format']}, this code reads {FORMAT}")
        for name, saved in content["files"].items():
            if file_hash(_existing(folder / name)) != saved:
                raise BundleDamaged(f"{folder / name} is not the file that was saved")
        tensors = load_file(folder / "catalogue.safetensors")
        users, items = IdMap.from_tensors("users", tensors), IdMap.from_tensors("items", tensors)
        fitted, served = ragged("fitted", tensors), ragged("served", tensors)
        config = make_config(**content["model"])
        features = UserFeatures.from_tensors(tensors)
        sizes = TrainingData(len(items), Ragged.empty(len(users)), user_features=features.table)
        model = build(config.name, config, sizes)
        model.load_weights(load_file(folder / "weights.safetensors"))
        masked = ragged("masked", tensors) if "masked.items" in tensors else None
        known = (users, items, fitted, served, content["history_length"], masked, features)
        return cls(content["dataset"], model, *known, Strangers.from_tensors(tensors))


def weights_hash(weights: dict[str, Tensor]) -> str:
    """sha256 over names, types, shapes and values: equal for equal weights, whatever the file looks like."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # an empty one has no bytes, and torch cannot show them
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def ragged_tensors(name: str, ragged: Ragged) -> dict[str, Tensor]:
    # copies: safetensors refuses tensors that share memory, and `fitted` and `served` may be one
    return {f"{name}.offsets": torch.tensor(ragged.offsets_U1), f"{name}.items": torch.tensor(ragged.items_R)}


def ragged(name: str, tensors: dict[str, Tensor]) -> Ragged:
    return Ragged(tensors[f"{name}.offsets"].numpy(), tensors[f"{name}.items"].numpy())


def _either(one: Ragged, other: Ragged) -> Ragged:
    """[U] lists of which at most one of a pair holds something: that one."""
    if not len(other.items_R):
        return one
    users_R = np.concatenate([one.users_R, other.users_R])
    return Ragged.from_pairs(users_R, np.concatenate([one.items_R, other.items_R]), len(one))


def _known_only(offsets_U1: npt.NDArray[np.int64], items_R: npt.NDArray[np.int64]) -> Ragged:
    """The lists without the items that are unknown (-1)."""
    known_R = items_R >= 0
    before_R1 = np.concatenate([[0], np.cumsum(known_R)])
    return Ragged(before_R1[offsets_U1].astype(np.int64), items_R[known_R].astype(np.int32))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BundleDamaged(f"{path} is missing")
    return path


def content_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
