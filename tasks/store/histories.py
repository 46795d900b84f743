"""Users' histories between Parquet and the arrays that models take, a group of users at a time.

U users, R rows of all of them; B users and V rows of a group
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.base import Ragged
from tasks.schema import HISTORIES
from tasks.store.refs import DatasetRef
from tasks.store.store import Writer
from tasks.store.tables import damage_told, fingerprint

GROUP_USERS = 1 << 14
"""Users of a row group: what is held in memory of a file. A part of its fingerprint."""


class HistoryFile:
    """A file of lists, one per user in index order, that is written group by group."""

    def __init__(self, writer: Writer, name: str, schema: pa.Schema = HISTORIES) -> None:
        self._schema, self._path = schema, f"{writer.final}/{name}.parquet"
        # Items of a history hardly repeat within a group, so that a dictionary only costs.
        self._file = pq.ParquetWriter(writer.path(f"{name}.parquet"), schema, compression="zstd", use_dictionary=False)
        self._users, self._digest = 0, hashlib.sha256()

    def add(self, offsets_B1: npt.NDArray[np.int64], values_V: npt.NDArray[Any]) -> None:
        """The lists of the next users, GROUP_USERS of them but in the last group."""
        users_B = np.arange(self._users, self._users + len(offsets_B1) - 1, dtype=np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets_B1.astype(np.int32)), pa.array(values_V))
        table = pa.table([users_B, lists], schema=self._schema)
        self._file.write_table(table, row_group_size=max(1, table.num_rows))
        self._digest.update(fingerprint(table).encode())
        self._users += table.num_rows

    @property
    def ref(self) -> DatasetRef:
        return DatasetRef(self._path, self._users, self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def groups(path: Path) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """[B + 1] offsets and [V] values of the lists, group by group. Raises RunFailed, with what to delete."""
    with damage_told(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            lists = file.read_row_group(number, columns=[file.schema_arrow.names[1]]).column(0).combine_chunks()
            offsets_B1 = lists.offsets.to_numpy().astype(np.int64)
            yield offsets_B1 - offsets_B1[0], lists.values.to_numpy()[offsets_B1[0] : offsets_B1[-1]]


def read_histories(path: Path) -> Ragged:
    """All lists. Nothing is held twice but a group."""
    return Ragged(*_read(path, np.int32))


def read_weights(path: Path) -> npt.NDArray[np.float32]:
    """[R] what each row of the histories beside it weighs."""
    return _read(path, np.float32)[1]


def _read(path: Path, kind: type[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    with damage_told(path), pq.ParquetFile(path) as file:
        meta = file.metadata
    most = sum(meta.row_group(number).column(1).num_values for number in range(meta.num_row_groups))  # empty lists too
    values_R, lengths, n = np.empty(most, dtype=kind), [np.empty(0, dtype=np.int64)], 0
    for offsets_B1, values_V in groups(path):
        values_R[n : n + len(values_V)] = values_V
        lengths.append(np.diff(offsets_B1))
        n += len(values_V)
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64), values_R[:n]
