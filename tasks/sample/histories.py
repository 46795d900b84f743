"""Each user's items at three moments, and what rankings leave out, made of the parts of a split in one reading.

B users and V rows of a group
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.compiled import compiled
from tasks.sample.rows import COLUMNS, Ints, Longs, Reader, Rows, merged
from tasks.schema import HISTORIES, HISTORY_WEIGHTS
from tasks.store.histories import GROUP_USERS, HistoryFile
from tasks.store.refs import DatasetRef, SplitRefs
from tasks.store.store import Store, Writer


@dataclass(frozen=True)
class Group:
    """Users from this index to the one before the end, and the rows of each moment, by user and place.

    fitted: training rows. known: and validation rows, all that may be known when the test rows are judged.
    served: and the test rows where they were ingested; what is masked in the lists that go out.
    """

    first: int
    end: int
    fitted: Rows
    known: Rows
    served: Rows
    rated: Rows


@dataclass(frozen=True)
class Parts:
    """The parts of a split, read forwards together."""

    split: SplitRefs
    read: Mapping[str, Reader] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, split: SplitRefs) -> "Parts":
        weight = ("weight",) if split.weighted else ()
        more = {"train": weight, "valid": weight, "rated": ("before_test",)}
        names = ("train", "valid", "rated") if split.protocol == "given" else ("train", "valid", "test", "rated")
        return cls(split, {n: Reader(store, getattr(split, n), (*COLUMNS, *more.get(n, ()))) for n in names})

    def groups(self) -> Iterator[Group]:
        for first in range(0, self.split.users.rows, GROUP_USERS):
            end = min(first + GROUP_USERS, self.split.users.rows)
            rows = {name: part.take(end) for name, part in self.read.items()}
            known = merged([rows["train"], rows["valid"]])
            served = merged([known, rows["test"]]) if "test" in rows else known
            yield Group(first, end, rows["train"], known, served, rows["rated"])


def write_histories(store: Store, writer: Writer, split: SplitRefs) -> dict[str, DatasetRef]:
    """The files of SampleRefs. What equals another file is that file: masks where nothing was rated low, what is
    served where the test rows were not ingested."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        files = {name: stack.enter_context(_file(writer, name)) for name in _names(split)}
        writing: list[Future[None]] = []
        for group in Parts.of(store, split).groups():  # the next one is read while this one is written
            wait_for(writing)
            writing = [pool.submit(_add, file, name, group) for name, file in files.items()]
        wait_for(writing)
    refs = {name: file.ref for name, file in files.items()}
    refs.setdefault("served", refs["known"])
    return {"seen_known": refs["known"], "seen_served": refs["served"], **refs}


def wait_for(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


@compiled()
def as_sets(offsets_B1: Longs, items_V: Ints) -> tuple[Longs, Ints]:
    """The same lists, each ascending and without repeats."""
    kept_B1, kept_V, n_kept = np.zeros_like(offsets_B1), np.empty_like(items_V), 0
    for user in range(len(offsets_B1) - 1):
        ascending = np.sort(items_V[offsets_B1[user] : offsets_B1[user + 1]])
        for at in range(len(ascending)):
            if at == 0 or ascending[at] != ascending[at - 1]:
                kept_V[n_kept] = ascending[at]
                n_kept += 1
        kept_B1[user + 1] = n_kept
    return kept_B1, kept_V[:n_kept]


def _names(split: SplitRefs) -> tuple[str, ...]:
    served = () if split.protocol == "given" else ("served",)
    masks = ("seen_known", "seen_served") if split.rated.rows else ()
    weights = ("fitted_weights", "known_weights") if split.weighted else ()
    return ("fitted", "known", *served, *masks, *weights)


def _file(writer: Writer, name: str) -> HistoryFile:
    return HistoryFile(writer, name, HISTORY_WEIGHTS if name.endswith("_weights") else HISTORIES)


def _add(file: HistoryFile, name: str, group: Group) -> None:
    """Masks hold the histories, and the items that a user rated too low for a positive: before the test, or all."""
    rows = getattr(group, name.removesuffix("_weights").removeprefix("seen_"))
    if not name.startswith("seen_"):
        values_V: Any = rows.weight_V if name.endswith("_weights") else rows.items_V
        file.add(rows.offsets(group.first, group.end), values_V)
        return
    low = group.rated.where(np.asarray(group.rated.before_V)) if name == "seen_known" else group.rated
    rows = merged([rows, low]) if len(low) else rows
    file.add(*as_sets(rows.offsets(group.first, group.end), rows.items_V))
