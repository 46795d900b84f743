"""Facts about all files of a night together: volume, duplicates, unknown ids. Computed once, then judged by rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.validate.contract import ID_COLUMN
from tasks.validate.rows import N_EXAMPLES, BoolArray, IntArray, encode, source_rows


@dataclass(frozen=True)
class CompactLog:
    """A file's interactions in 36 bytes a row, so that all files of a night fit in memory beside each other."""

    source: str
    source_row: IntArray
    user: pa.ChunkedArray  # dictionaries
    item: pa.ChunkedArray
    rating: pa.ChunkedArray
    timestamp: pa.ChunkedArray  # microseconds


@dataclass(frozen=True)
class Ids:
    """The ids of a users or items file."""

    table: str
    source: str
    ids: pa.Array  # distinct


@dataclass(frozen=True)
class Figure:
    """A fact: the number that is judged, and the rows behind it."""

    value: float
    n_failing: int = 0
    n_total: int = 0  # 0 where the fact is not about rows
    examples: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True)
class Figures:
    """The dataset's facts by name, and which rows of each interactions file are kept."""

    facts: dict[str, Figure]
    kept: tuple[BoolArray, ...]

    def table(self) -> pa.Table:
        """One row, one column a fact."""
        return pa.table({name: pa.array([float(fact.value)]) for name, fact in self.facts.items()})


def compact(source: str, shown: pa.Table, compared: pa.Table) -> CompactLog:
    return CompactLog(
        source,
        source_rows(shown),
        compared["user_id"].dictionary_encode(),
        compared["item_id"].dictionary_encode(),
        compared["rating"],
        compared["timestamp"],
    )


def ids_of(table: str, source: str, content: pa.Table) -> Ids:
    return Ids(table, source, pc.unique(content[ID_COLUMN[table]].drop_null()))


def figures(logs: Sequence[CompactLog], ids: Sequence[Ids]) -> Figures:
    """The facts that `contract.dataset_rules` judges."""
    users, user_values = encode([log.user for log in logs])
    items, item_values = encode([log.item for log in logs])
    user, item = _joined(users, np.int32), _joined(items, np.int32)
    has_time = _joined([pc.is_valid(log.timestamp).to_numpy() for log in logs], np.bool_)
    repeated = exact_duplicates(
        user,
        item,
        _joined([pc.fill_null(log.rating, float("nan")).to_numpy() for log in logs], np.float64),
        _joined([pc.fill_null(log.timestamp, -(2**63)).to_numpy() for log in logs], np.int64),
    )
    facts = {
        "rows": _plain(int((~repeated).sum())),
        "users": _plain(len(user_values)),
        "items": _plain(len(item_values)),
        "duplicate_share": _share(logs, repeated, len(repeated)),
        "timestamp_share": _timestamps(logs, has_time),
    }
    for table, codes, values in (("users", user, user_values), ("items", item, item_values)):
        files = [file.ids for file in ids if file.table == table]
        if files:
            known = pa.concat_arrays(files)
            lacking = np.append(~pc.is_in(values, value_set=known).to_numpy(zero_copy_only=False), False)  # last: null
            facts[f"unknown_{table}_share"] = _share(logs, lacking[codes] & ~repeated, int((~repeated).sum()))
            facts[f"{table}_in_two_files"] = _plain(len(known) - pc.count_distinct(known).as_py())
    ends = np.cumsum([len(log.source_row) for log in logs])[:-1]
    return Figures(facts, tuple(np.split(~repeated, ends)) if logs else ())


def exact_duplicates(user: IntArray, item: IntArray, rating: IntArray, timestamp: IntArray) -> BoolArray:
    """[rows] True where an earlier row is equal in all four columns.

    A hash of the row narrows the search, and only rows that share one are compared: three times faster than comparing
    all, and exact, since equal rows have equal hashes.
    """
    row_hash = user.astype(np.uint64)
    for column in (item.astype(np.uint64), (rating + 0.0).view(np.uint64), timestamp.view(np.uint64)):  # -0.0 is 0.0
        row_hash = (row_hash ^ (row_hash >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15) + column
    suspects = np.flatnonzero(pd.Series(row_hash).duplicated(keep=False).to_numpy())
    columns = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    frame = pd.DataFrame({name: values[suspects] for name, values in columns.items()})
    repeated = np.zeros(len(user), dtype=bool)
    repeated[suspects] = frame.duplicated().to_numpy()
    return repeated


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def _plain(value: int) -> Figure:
    return Figure(value, shown=f"{value:,}")


def _share(logs: Sequence[CompactLog], failing: BoolArray, n_total: int) -> Figure:
    n_failing = int(failing.sum())
    share = n_failing / n_total if n_total else 0.0
    return Figure(share, n_failing, n_total, _examples(logs, failing), f"{share:.2%}")


def _timestamps(logs: Sequence[CompactLog], has_time: BoolArray) -> Figure:
    """Where some rows have a time and some have not, the smaller group is the one to look at."""
    n_total, n_with = len(has_time), int(has_time.sum())
    share = n_with / n_total if n_total else 1.0
    odd = ~has_time if share >= 0.5 else has_time
    shown = f"{n_with:,} of {n_total:,} rows have one"
    return Figure(share, min(n_with, n_total - n_with), n_total, _examples(logs, odd) if 0 < share < 1 else (), shown)


def _examples(logs: Sequence[CompactLog], failing: BoolArray) -> tuple[str, ...]:
    starts = np.cumsum([0, *(len(log.source_row) for log in logs)])
    rows = np.flatnonzero(failing)[:N_EXAMPLES]
    files = np.searchsorted(starts, rows, side="right") - 1
    return tuple(
        f"{logs[file].source} row {logs[file].source_row[row - starts[file]]}"
        for file, row in zip(files, rows, strict=True)
    )
