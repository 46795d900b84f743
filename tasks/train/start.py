"""Where a fit begins: from nothing, or with what the champion had learned when it was judged.

A training leaves two models behind, and a later night begins each of its own two fits with its counterpart: the one
that validation rows judge with the one that validation rows judged, the refit with the refit. What was fitted on rows
that judge tonight is never begun with: that is counted, not believed.

E users or items of the earlier fit, N of this one, R rows
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from models.base import Ragged, TrainingData, WarmStart
from models.bundle import Bundle, ragged, ragged_tensors
from models.config import ModelConfig
from models.features import UserFeatures
from models.fitting import checkpoint
from models.fitting.config import TrainerConfig
from models.fitting.rows import ITEMS, USERS, of_feature
from models.fitting.trainable import Trainable
from models.fitting.warm import begin_warm
from models.ids import IdMap
from models.registry import build
from tasks.store.refs import ChampionRef
from tasks.store.store import Store

Longs = npt.NDArray[np.int64]
FILE = "start/valid.safetensors"


@dataclass(frozen=True)
class Warm:
    """The training to begin with."""

    version: str  # the champion's
    key: str  # of the training that was judged as this version
    weights_sha256: str
    nights: int  # since the last fit from nothing, the one that begins here included


@dataclass(frozen=True)
class Cold:
    """From nothing, and why."""

    because: str


@dataclass(frozen=True)
class Starts:
    """For the fit that the validation rows judge, and for that of all rows before the test."""

    valid: WarmStart | None = None
    known: WarmStart | None = None


@dataclass(frozen=True)
class Rows:
    """What is fitted and what judges tonight."""

    users: IdMap
    items: IdMap
    features: UserFeatures
    fitted: TrainingData
    known: TrainingData
    valid: pa.Table  # user_idx, item_idx
    test: pa.Table  # user_id, item_id


def find_start(
    store: Store,
    model: ModelConfig,
    trainer: TrainerConfig,
    champion: ChampionRef | None,
    configuration: str,
    dataset: str,
) -> Warm | Cold | None:
    """Where a night's fit begins, as far as can be told without its rows; None where `trainer.warm_start` is off."""
    if not trainer.warm_start:
        return None
    if not model.starts_warm:
        return Cold(f"{model.name} always begins from nothing")
    if champion is None:
        return Cold("there is no champion yet")
    if champion.tags.get("dataset") != dataset:
        return Cold(f"the champion is of dataset {champion.tags.get('dataset')}")
    if champion.configuration != configuration:
        return Cold("the champion is of another configuration")
    folder = _folder(champion.tags.get("judged_key", ""))
    if not store.path(f"{folder}/bundle").is_dir():
        return Cold(f"the files of version {champion.version}'s training are gone")
    record = store.manifest(f"{folder}/bundle")
    nights = (record.get("warm") or {}).get("nights", 0) + 1
    if nights >= trainer.cold_every:
        return Cold(f"it is time: trainer.cold_every is {trainer.cold_every}")
    return Warm(champion.version, champion.tags["judged_key"], record["weights_sha256"], nights)


def open_start(
    store: Store, model: ModelConfig, start: Warm | Cold | None, rows: Rows
) -> tuple[Starts, dict[str, Any] | None]:
    """The weights to begin with, and what the record of the training says of them: None where nobody asked."""
    found = _open(store, model, start, rows) if isinstance(start, Warm) else start
    if isinstance(found, Cold):
        return Starts(), {"cold_because": found.because}
    return (Starts(), None) if found is None else found


def start_tags(warm: Mapping[str, Any] | None) -> dict[str, str]:
    """What a version says of where its fit began, from the record of its training."""
    if warm is None:
        return {}
    if "cold_because" in warm:
        return {"warm_nights": "0", "cold_because": warm["cold_because"]}
    return {"warm_nights": str(warm["nights"]), "warm_from": warm["from_version"], "warm_key": warm["from_key"]}


def keep_start(store: Store, key: str, weights: Mapping[str, Tensor], fitted: Ragged) -> None:
    """Writes down the model that the validation rows judged: the refit is in the bundle."""
    tensors = {**{f"model.{name}": tensor for name, tensor in weights.items()}, **ragged_tensors("rows", fitted)}
    checkpoint.write_file(store.path(f"{_folder(key)}/{FILE}"), tensors, {})


def n_leaked(learned: Ragged, again: Ragged, places: Mapping[str, Longs], judging: tuple[Longs, Longs]) -> int:
    """Pairs that judge tonight and were learned from, other than by rows that tonight's fit learns from as well.

    `learned` and the `judging` users and items [R] are by the earlier indices (-1: unknown there), `again` by
    tonight's, which `places` takes to the earlier ones."""
    n_items = int(max(learned.items_R.max(initial=0), judging[1].max(initial=0), places[ITEMS.whose].max(initial=0)))
    users_R, items_R = places[USERS.whose][again.users_R], places[ITEMS.whose][again.items_R]
    pairs = [_coded(u, i, n_items + 1) for u, i in ((learned.users_R, learned.items_R), (users_R, items_R), judging)]
    judging_P = np.unique(pairs[2])
    learned_P, again_P = (_counts(pair_R, judging_P) for pair_R in pairs[:2])
    return int((learned_P > again_P).sum())


def _open(store: Store, model: ModelConfig, start: Warm, rows: Rows) -> tuple[Starts, dict[str, Any]] | Cold:
    try:
        bundle = Bundle.load(store.path(f"{_folder(start.key)}/bundle"))
        weights, learned = _judged(store, start.key, bundle)
        places = _places(bundle, rows)
        starts = Starts(WarmStart(weights, places), WarmStart(bundle.model.weights(), places))
        _try(model, rows.fitted, WarmStart(weights, places))
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        return Cold(f"version {start.version} cannot be begun with: {why}")
    valid, test = _judging(bundle, rows)
    for name, before, again, judging in (
        ("validation", learned, rows.fitted, valid),
        ("test", learned, rows.fitted, test),
        ("test", bundle.fitted, rows.known, test),
    ):
        if n := n_leaked(before, again.histories, places, judging):
            return Cold(f"version {start.version} has learned from {n} of tonight's {name} rows")
    new = {f"new_{whose}": int((places[whose] < 0).sum()) for whose in (USERS.whose, ITEMS.whose)}
    return starts, {"from_version": start.version, "from_key": start.key, "nights": start.nights, **new}


def _judged(store: Store, key: str, bundle: Bundle) -> tuple[Mapping[str, Tensor], Ragged]:
    """Weights of the model that validation rows judged, and the rows it was fitted on. Raises ValueError."""
    if not store.manifest(f"{_folder(key)}/bundle")["refitted"]:
        return bundle.model.weights(), bundle.fitted
    parsed = checkpoint.parse(store.path(f"{_folder(key)}/{FILE}").read_bytes())
    if parsed is None:
        raise ValueError(f"{FILE} is not the file that was saved")
    tensors = parsed[0]
    weights = {name.removeprefix("model."): one for name, one in tensors.items() if name.startswith("model.")}
    return weights, ragged("rows", tensors)


def _try(model: ModelConfig, data: TrainingData, start: WarmStart) -> None:
    """Raises WrongStart where a model of this code and these features cannot begin there: a night must not fail for
    it. Both models of a training have the same shapes."""
    built = build(model.name, model, data)
    if isinstance(built, Trainable):
        begin_warm(built, start)


def _places(bundle: Bundle, rows: Rows) -> dict[str, Longs]:
    """For what models have tables of, [N] the earlier index of each of tonight's."""
    places = {
        USERS.whose: bundle.users.index(rows.users.ids_N),
        ITEMS.whose: bundle.items.index(rows.items.ids_N),
    }
    nothing = IdMap(np.empty(0, dtype=np.str_))
    for name, values in rows.features.values.items():
        places[of_feature(name)] = bundle.features.values.get(name, nothing).index(values.ids_N)
    return places


def _judging(bundle: Bundle, rows: Rows) -> tuple[tuple[Longs, Longs], tuple[Longs, Longs]]:
    """[R] users and items of validation and test rows, by the earlier indices."""
    users_R, items_R = (rows.valid[name].to_numpy() for name in ("user_idx", "item_idx"))
    valid = bundle.users.index(rows.users.ids_N[users_R]), bundle.items.index(rows.items.ids_N[items_R])
    user_ids, item_ids = (rows.test[name].to_numpy().astype(np.str_) for name in ("user_id", "item_id"))
    return valid, (bundle.users.index(user_ids), bundle.items.index(item_ids))


def _coded(users_R: npt.NDArray[Any], items_R: npt.NDArray[Any], n_items: int) -> Longs:
    """One number for each pair that both indices are known of."""
    known_R = (users_R >= 0) & (items_R >= 0)
    coded_R: Longs = users_R[known_R].astype(np.int64) * n_items + items_R[known_R]
    return coded_R


def _counts(pair_R: Longs, wanted_P: Longs) -> Longs:
    """[P] how often each of the wanted is among the pairs; these ascend without repeats."""
    found_R = pair_R[np.isin(pair_R, wanted_P)]
    return np.bincount(np.searchsorted(wanted_P, found_R), minlength=len(wanted_P))


def _folder(key: str) -> str:
    return f"checkpoints/{key}"
