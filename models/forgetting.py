"""A shipped bundle without one of its users.

The weights stay as they are, and so does what they learned from the user's rows; what is told of the user beside them
goes: the id, the histories, the features. Whoever asks for the id later gets what an unknown user gets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .base import IntArray, Ragged
from .bundle import BundleDamaged, Strangers, content_hash, file_hash, ragged, ragged_tensors
from .features import UserFeatures
from .ids import IdMap

CATALOGUE, RECORD = "catalogue.safetensors", "bundle.json"
REPLACES = "replaces"  # in the catalogue's header: the sha256 of the one before it


@dataclass(frozen=True)
class _Found:
    record: dict[str, Any]
    tensors: Mapping[str, Tensor]
    changed: dict[str, Tensor] | None  # None: the catalogue does not know the user
    cut_short: bool  # the catalogue was replaced, the record was not

    @property
    def is_done(self) -> bool:
        return self.changed is None and not self.cut_short


def knows(bundle: Path, user_id: str) -> bool:
    """Whether the bundle has the user's id, as one of its users or as a stranger; or has lost one by halves.

    Raises BundleDamaged as `forget`."""
    return not _look(bundle, user_id).is_done


def forget(bundle: Path, user_id: str, into: Path) -> bool:
    """Writes the catalogue and the record without the user into another folder. False where nothing has to change.

    Both have to replace the bundle's own, the catalogue first. Where only that was done, the bundle cannot be loaded:
    the same call then gives what is missing. Raises BundleDamaged for any other bundle whose hashes do not fit.
    """
    found = _look(bundle, user_id)
    if found.is_done:
        return False
    # What is cut short twice still names the record's file, so that it can be told from a damaged one.
    header = {REPLACES: found.record["files"][CATALOGUE]}
    save_file(dict(found.tensors) if found.changed is None else found.changed, into / CATALOGUE, header)
    files = {**found.record["files"], CATALOGUE: file_hash(into / CATALOGUE)}
    content = {**{name: value for name, value in found.record.items() if name != "sha256"}, "files": files}
    content["sha256"] = content_hash(content)
    (into / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return True


def _look(bundle: Path, user_id: str) -> _Found:
    """Raises BundleDamaged for a file that is missing, unreadable, or not the one that was saved."""
    try:
        record = json.loads((bundle / RECORD).read_text(encoding="utf-8"))
        cut_short = file_hash(bundle / CATALOGUE) != record["files"][CATALOGUE]
        with safe_open(bundle / CATALOGUE, framework="pt") as file:
            header = file.metadata() or {}
        tensors = load_file(bundle / CATALOGUE)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BundleDamaged(f"{bundle} cannot be read: {error}") from error
    if cut_short and header.get(REPLACES) != record["files"][CATALOGUE]:
        raise BundleDamaged(f"{bundle / CATALOGUE} is not the file that was saved")
    return _Found(record, tensors, _without(tensors, user_id), cut_short)


def users_of(bundle: Path) -> list[str]:
    """The first few ids that the bundle still knows, as text: whom to take for an example."""
    return [str(one) for one in IdMap.from_tensors("users", load_file(bundle / CATALOGUE)).living_L[:3]]


def _without(tensors: Mapping[str, Tensor], user_id: str) -> dict[str, Tensor] | None:
    """The catalogue's tensors without the user; None where they do not know the user."""
    users, strangers = IdMap.from_tensors("users", dict(tensors)), Strangers.from_tensors(dict(tensors))
    place, stranger = (int(ids.index([user_id])[0]) for ids in (users, strangers.ids))
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(("users.", "features."))}
    features = UserFeatures.from_tensors(tensors)
    if place >= 0:
        for name in ("fitted", "served", "masked"):
            if f"{name}.items" in tensors:
                kept |= ragged_tensors(name, _emptied(ragged(name, dict(tensors)), place))
        users, features = users.without(place), _features_without(features, strangers, place)
    elif stranger >= 0:
        kept = {name: tensor for name, tensor in kept.items() if not name.startswith("strangers.")}
        kept |= _strangers_without(strangers, stranger).tensors()
    else:
        return None
    return {**kept, **users.tensors("users"), **features.tensors()}


def _emptied(lists: Ragged, place: int) -> Ragged:
    """With nothing in the list of this place."""
    start, end = lists.offsets_U1[place : place + 2]
    offsets_U1 = lists.offsets_U1.copy()
    offsets_U1[place + 1 :] -= end - start
    return Ragged(offsets_U1, np.delete(lists.items_R, slice(start, end)))


def _strangers_without(strangers: Strangers, place: int) -> Strangers:
    """No weights hang on a stranger's place, so it goes as a whole."""
    emptied = _emptied(strangers.histories, place)
    histories = replace(emptied, offsets_U1=np.delete(emptied.offsets_U1, place + 1))
    codes: dict[str, IntArray] = {
        name: np.delete(np.asarray(codes_S, dtype=np.int32), place) for name, codes_S in strangers.codes.items()
    }
    return Strangers(IdMap(np.delete(strangers.ids.ids_N, place)), histories, codes)


def _features_without(features: UserFeatures, strangers: Strangers, place: int) -> UserFeatures:
    """With nothing known of this user, and without values that nobody else has."""
    values, codes = dict(features.values), dict(features.codes)
    for name in features.names:
        code = codes[name][place]
        codes[name] = codes[name].copy()
        codes[name][place] = 0
        if code and code not in codes[name] and code not in strangers.codes.get(name, ()):
            values[name] = values[name].without(int(code) - 1)
    return UserFeatures(values, codes)
