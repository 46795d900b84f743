"""The step for models of histories: every row with the items before it and its user's features, as Parquet.

R rows, B rows of a block, M stored rows of a block, U users, N negatives of a row
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import prange
from numpy.random import Generator
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.base import TrainingData
from models.compiled import compiled
from models.config import ModelConfig
from models.fitting.config import SamplingConfig
from models.fitting.opponents import Opponents
from models.fitting.samplers import stream
from tasks.features import user_features
from tasks.schema import windows
from tasks.store.histories import read_histories
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, SampleRefs, WindowRefs
from tasks.store.store import Store, Writer
from tasks.store.windows import write_windows

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

BLOCK_ROWS = 100_000
BLOCK_ITEMS = 5_000_000
"""Stored rows of a block, and items in their histories, at most: a row group, and all of it that is held in memory."""


@task(cache_policy=NO_CACHE)
def sample_windows(
    store: Store, samples: SampleRefs, model: ModelConfig, sampling: SamplingConfig, seed: int
) -> SampleRefs:
    """Adds the windows that the model is fitted on, made or found; the same refs where it reads none.

    Model and sampling are complete. They hold the negatives of each row where `sampling.stored` asks for it."""
    if not model.reads_windows or model.shown is None:
        return samples
    drawn = (samples.split.items.rows, sampling.negatives, sampling.distribution, sampling.exponent, seed)
    rows = (samples.fitted.fingerprint, samples.known.fingerprint, samples.split.users.fingerprint)
    key = make_key(__name__, rows, model.shown, drawn if sampling.stored else None)
    length = model.shown

    def write(writer: Writer) -> dict[str, Any]:
        features = user_features(store.read(samples.split.users))
        parts = {}
        for name, ref in (("fitted", samples.fitted), ("known", samples.known)):
            data = TrainingData(samples.split.items.rows, read_histories(store.path(ref.path)), features.table)
            blocks = make_blocks(data, length, sampling if sampling.stored else None, seed, name)
            parts[name] = write_windows(writer, f"windows_{name}", blocks, features.names)
        refs = {name: vars(ref) for name, ref in parts.items()}
        return {"made_from": samples.split.snapshot.made_from, "parts": refs}

    built = store.build(f"prepared/{key}", write)
    parts = {name: DatasetRef(**ref) for name, ref in built.manifest["parts"].items()}
    return replace(samples, windows=WindowRefs(**parts), cached=built.cached)


def make_blocks(
    data: TrainingData, length: int, stored: SamplingConfig | None, seed: int, purpose: str
) -> Iterator[pa.Table]:
    """All rows in the order of the histories, each with at most the latest `length` items before it.

    With `stored` each is followed by its negatives, with label 0. Users who saw every item have none."""
    histories, users_R = data.histories, data.histories.users_R
    opponents = None if stored is None else Opponents(data, stored)
    n_stored = 0 if stored is None or stored.negatives is None else stored.negatives
    start, number = 0, 0
    while start < data.n_rows:
        end = min(start + max(1, BLOCK_ROWS // (1 + n_stored)), data.n_rows)
        ends_B = np.arange(start, end, dtype=np.int64)
        starts_B = np.maximum(histories.offsets_U1[users_R[start:end]], ends_B - length)
        n_items_B = np.cumsum(ends_B - starts_B) * (1 + n_stored)
        end = start + max(1, int(np.searchsorted(n_items_B, BLOCK_ITEMS, side="right")))
        users_B, starts_B, ends_B = users_R[start:end], starts_B[: end - start], ends_B[: end - start]
        rng = stream(seed, "sample", purpose, number)
        target_M, owner_M = _with_negatives(users_B, histories.items_R[start:end], opponents, n_stored, rng)
        yield _table(data, users_B[owner_M], target_M, starts_B[owner_M], ends_B[owner_M], np.diff(owner_M, prepend=-1))
        start, number = end, number + 1


def _with_negatives(
    users_B: Ints, targets_B: Ints, opponents: Opponents | None, n: int, rng: Generator
) -> tuple[Ints, Longs]:
    """[M] the targets, each with its negatives behind it, and the place of the row that they belong to."""
    if opponents is None:
        return targets_B, np.arange(len(users_B))
    usable_B = opponents.usable(users_B)
    owner_M = np.repeat(np.arange(len(users_B)), np.where(usable_B, 1 + n, 1))
    target_M = targets_B[owner_M]
    drawn = opponents.draw(users_B[usable_B].astype(np.int64), n, rng)
    target_M[np.diff(owner_M, prepend=-1) == 0] = drawn
    return target_M, owner_M


def _table(
    data: TrainingData, users_M: Ints, target_M: Ints, starts_M: Longs, ends_M: Longs, labels_M: Longs
) -> pa.Table:
    lengths_M = ends_M - starts_M
    offsets_M1 = np.concatenate([[0], np.cumsum(lengths_M)])
    items_V = _items(data.histories.items_R, starts_M, offsets_M1)
    history = pa.ListArray.from_arrays(pa.array(offsets_M1.astype(np.int32)), pa.array(items_V))
    codes = [feature.codes_N[users_M] for feature in data.user_features.values()]
    columns = [users_M, target_M, labels_M.astype(np.int32), history, lengths_M.astype(np.int32), *codes]
    return pa.table(columns, schema=windows(data.user_features))


@compiled(parallel=True)
def _items(items_R: Ints, starts_M: Longs, offsets_M1: Longs) -> Ints:
    """The histories one after another."""
    items_V = np.empty(offsets_M1[-1], dtype=np.int32)
    for m in prange(len(starts_M)):
        for at in range(offsets_M1[m + 1] - offsets_M1[m]):
            items_V[offsets_M1[m] + at] = items_R[starts_M[m] + at]
    return items_V
