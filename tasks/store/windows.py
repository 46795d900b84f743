"""Windows between Parquet and the arrays that models take, a row group at a time.

R stored rows of a row group, V items in their histories, W windows: rows with label 1, M rows with label 0
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.base import Windows
from models.compiled import compiled
from tasks.schema import FEATURE, windows
from tasks.store.refs import DatasetRef
from tasks.store.store import Writer
from tasks.store.tables import damage_told, fingerprint

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


def write_windows(writer: Writer, name: str, tables: Iterable[pa.Table], features: Iterable[str]) -> DatasetRef:
    """Each table becomes a row group: only one is held at a time."""
    digest, rows, path = hashlib.sha256(), 0, writer.path(f"{name}.parquet")
    # Neighbouring histories are nearly the same, and zstd sees it only where no dictionary stands between them: the
    # file is a third smaller so, and written in two thirds of the time.
    with pq.ParquetWriter(path, windows(features), compression="zstd", use_dictionary=False) as file:
        for table in tables:
            file.write_table(table, row_group_size=max(1, table.num_rows))
            digest.update(fingerprint(table).encode())
            rows += table.num_rows
    return DatasetRef(f"{writer.final}/{name}.parquet", rows, digest.hexdigest())


def read_windows(path: Path) -> Windows:
    """The whole file. What a history shares with the one before it is held once: a window costs 28 bytes, and 4 for
    each feature, however long its history is.

    Raises RunFailed, with what to delete, where the file cannot be read."""
    with damage_told(path), pq.ParquetFile(path) as file:
        return _read(file)


def _read(file: pq.ParquetFile) -> Windows:
    numbers = range(file.num_row_groups)
    n_stored = [_negatives_of(_column(file.read_row_group(number, ["label"]), "label")) for number in numbers]
    most = max((int(one.max(initial=0)) for one in n_stored), default=0)
    made = _empty(sum(map(len, n_stored)), most, file.schema_arrow)
    last_V, n_items, at = np.empty(0, dtype=np.int32), 0, 0
    for number in numbers:
        group = slice(at, at + len(n_stored[number]))
        new_V, last_V = _fill(made, group, file.read_row_group(number), last_V, n_items)
        made = _with_items(made, n_items, new_V)
        n_items, at = n_items + len(new_V), group.stop
    return replace(made, items_R=made.items_R[:n_items])


def _negatives_of(label_R: Ints) -> Longs:
    """[W] how many rows with label 0 stand behind each with label 1."""
    return np.diff(np.append(np.flatnonzero(label_R), len(label_R))) - 1


def _empty(n_windows: int, n_negatives: int, schema: pa.Schema) -> Windows:
    """Room for so many windows, and for as many items to begin with. Where a row has fewer negatives, they are -1."""
    columns = [np.empty(n_windows, dtype=np.int32) for _ in range(3)]
    places = [np.empty(n_windows, dtype=np.int64) for _ in range(2)]
    features = {name: np.empty(n_windows, dtype=np.int32) for name in _feature_columns(schema)}
    negatives_WN = np.full((n_windows, n_negatives), -1, dtype=np.int32) if n_negatives else None
    return Windows(columns[0], columns[1], places[0], places[1], columns[2], features, negatives_WN)


def _with_items(made: Windows, n_before: int, new_V: Ints) -> Windows:
    n_items = n_before + len(new_V)
    if n_items > len(made.items_R):
        made = replace(made, items_R=np.resize(made.items_R, 2 * n_items))
    made.items_R[n_before:n_items] = new_V
    return made


def _fill(made: Windows, group: slice, table: pa.Table, last_V: Ints, n_before: int) -> tuple[Ints, Ints]:
    """Puts the windows of a row group at their place. Returns the items that are new in it, and its last history.

    `last_V` is the history of the window before, which ends where `n_before` items end."""
    label_R, target_R = _column(table, "label"), _column(table, "target")
    first_W = np.flatnonzero(label_R)
    history = table["history"].combine_chunks()
    offsets_R1, values_V = history.offsets.to_numpy(), history.values.to_numpy()
    offset = n_before - len(last_V)
    held_V = np.concatenate([last_V, np.empty(len(values_V), dtype=np.int32)])  # nothing might be shared
    starts_W, ends_W = made.starts_W[group], made.ends_W[group]
    n_held = _share(values_V, offsets_R1[first_W], offsets_R1[first_W + 1], held_V, len(last_V), starts_W, ends_W)
    new_V = held_V[len(last_V) : n_held]
    if len(first_W):
        last_V = held_V[starts_W[-1] : n_held].copy()
    starts_W += offset
    ends_W += offset
    made.users_W[group], made.targets_W[group] = _column(table, "user")[first_W], target_R[first_W]
    for name, column in _feature_columns(table.schema).items():
        made.features[name][group] = _column(table, column)[first_W]
    if made.negatives_WN is not None:
        n_W, rows_M = _negatives_of(label_R), np.flatnonzero(label_R == 0)
        owner_M = np.repeat(np.arange(len(first_W)), n_W)
        made.negatives_WN[group][owner_M, rows_M - first_W[owner_M] - 1] = target_R[rows_M]
    return new_V, last_V


@compiled()
def _share(values_V: Ints, from_W: Ints, to_W: Ints, held_V: Ints, n_held: int, starts_W: Longs, ends_W: Longs) -> int:
    """Notes in `held_V` what each history adds to what is held already, and where it then lies. Returns how much is.

    A history begins with what the one before it ended with, and has one item more; or all of it is new."""
    for w in range(len(from_W)):
        length = to_W[w] - from_W[w]
        n_before, n_same = length - 1, 0
        while n_same < n_before <= n_held and held_V[n_held - n_before + n_same] == values_V[from_W[w] + n_same]:
            n_same += 1
        for at in range(n_same if n_same == n_before else 0, length):
            held_V[n_held] = values_V[from_W[w] + at]
            n_held += 1
        starts_W[w], ends_W[w] = n_held - length, n_held
    return n_held


def _feature_columns(schema: pa.Schema) -> dict[str, str]:
    """By the feature's own name."""
    return {field.metadata[FEATURE].decode(): field.name for field in schema if FEATURE in (field.metadata or {})}


def _column(table: pa.Table, column: str) -> Ints:
    column_R: Ints = table[column].to_numpy()
    return column_R
