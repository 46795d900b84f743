"""The leak audit of the histories: what the written files hold, told anew from the rows of the split.

B users and V rows of a group
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.compiled import compiled
from tasks.leaks import Findings, audited
from tasks.sample.rows import COLUMNS, Longs, Reader, Rows, joined, nothing
from tasks.store.histories import GROUP_USERS, groups
from tasks.store.refs import DatasetRef, SplitRefs
from tasks.store.store import Store, Writer

SENTENCES = {
    "fitted_wrong": "what is fitted, and all statistics are taken of, is the training rows and no others, oldest first",
    "known_wrong": "what is known at the test is the training and validation rows and no others, oldest first",
    "served_wrong": "what is served is all ingested positives of known items, oldest first",
    "known_after_target": "every history ends before its target",
    "seen_known_wrong": "a test ranking leaves out what is known and what was rated low before the test, and no more",
    "seen_served_wrong": "lists that go out leave out all that was ingested, and no more",
    "weights_wrong": "every row of a history weighs what it weighs in the split",
}
"""By the fact, a number of users, that says whose histories break it."""

Lists = tuple[Longs, npt.NDArray[Any]]
NO_LISTS: Lists = np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32)


def audit(store: Store, writer: Writer, files: Mapping[str, DatasetRef], split: SplitRefs) -> Findings:
    """Of files that do not have their final name yet. Raises LeakFound."""
    paths = {name: writer.folder / Path(ref.path).name for name, ref in files.items()}
    return audited("samples", violations(store, paths, split), SENTENCES)


def violations(store: Store, paths: Mapping[str, Path], split: SplitRefs) -> dict[str, int]:
    """By fact, the users of whom it does not hold; only facts that this split promises."""
    found: dict[str, int] = {}
    nobody = Expected(split.users.rows, split.users.rows, *[nothing((*COLUMNS, "before_test"))] * 4)
    for expected, lists in zip_longest(_expected(store, split), _written(paths)):
        expected, lists = expected or nobody, lists or dict.fromkeys(paths, NO_LISTS)
        facts = {
            "fitted_wrong": unlike(lists["fitted"], expected.lists("fitted")),
            "known_wrong": unlike(lists["known"], expected.lists("known")),
            "served_wrong": unlike(lists["served"], expected.lists("served")),
        }
        if split.protocol in ("temporal", "leave_last_out"):
            facts["known_after_target"] = expected.known_after_target()
        for name, known in (("seen_known", "known"), ("seen_served", "served")):
            is_same = paths[name] == paths[known] and not split.rated.rows
            facts[f"{name}_wrong"] = 0 if is_same else unlike(_sorted(lists[name]), expected.lists(name))
        if split.weighted:
            wrong = [unlike(lists[f"{n}_weights"], expected.lists(n, "weight_V")) for n in ("fitted", "known")]
            facts["weights_wrong"] = sum(wrong)
        found = {fact: found.get(fact, 0) + n_users for fact, n_users in facts.items()}
    return found


@dataclass(frozen=True)
class Expected:
    """The rows of a group of users as the split has them."""

    first: int
    end: int
    train: Rows
    valid: Rows
    test: Rows  # none where they were not ingested
    rated: Rows

    def lists(self, name: str, column: str = "items_V") -> Lists:
        """What a file should hold: by user and place, and masks by user and item, each item once."""
        parts = [self.train] if name == "fitted" else [self.train, self.valid]
        parts += [self.test] if name.endswith("served") else []
        if name == "seen_known":
            parts.append(self.rated.where(np.asarray(self.rated.before_V)))
        if name == "seen_served":
            parts.append(self.rated)
        rows = joined(parts)
        if name.startswith("seen"):
            pair_V = np.sort(_pairs(rows.users_V, rows.items_V))
            pair_V = pair_V[np.diff(pair_V, prepend=-1) != 0]
            return np.searchsorted(pair_V, _pairs(np.arange(self.first, self.end + 1), 0)), _items(pair_V)
        if not ((np.diff(rows.users_V) >= 0).all() and (np.diff(rows.place_V) > 0).all()):
            rows = rows.where(np.lexsort((rows.place_V, rows.users_V)))
        return rows.offsets(self.first, self.end), getattr(rows, column)

    def known_after_target(self) -> int:
        first_B = np.full(self.end - self.first, np.iinfo(np.int64).max)
        np.minimum.at(first_B, self.test.users_V - self.first, self.test.place_V)
        known = joined([self.train, self.valid])
        return len(np.unique(known.users_V[known.place_V > first_B[known.users_V - self.first]]))


def _expected(store: Store, split: SplitRefs) -> Iterator[Expected]:
    weighed = (*COLUMNS, "weight") if split.weighted else COLUMNS
    train, valid = (Reader(store, ref, weighed) for ref in (split.train, split.valid))
    test, rated = Reader(store, split.test), Reader(store, split.rated, (*COLUMNS, "before_test"))
    for first in range(0, split.users.rows, GROUP_USERS):
        end = min(first + GROUP_USERS, split.users.rows)
        tested = nothing() if split.protocol == "given" else test.take(end)
        yield Expected(first, end, train.take(end), valid.take(end), tested, rated.take(end))


def _written(paths: Mapping[str, Path]) -> Iterator[dict[str, Lists]]:
    """The files group by group, until every one ends."""
    files = {name: groups(path) for name, path in paths.items()}
    while True:
        found = {name: next(file, None) for name, file in files.items()}
        if not any(found.values()):
            return
        yield {name: lists or NO_LISTS for name, lists in found.items()}


def unlike(one: Lists, other: Lists) -> int:
    """How many users have another list in the one than in the other."""
    return int(_unlike(*one, *other))


def _sorted(lists: Lists) -> Lists:
    offsets_B1, values_V = lists
    users_V = np.repeat(np.arange(len(offsets_B1) - 1), np.diff(offsets_B1))
    return offsets_B1, _items(np.sort(_pairs(users_V, values_V)))


def _pairs(users_V: Any, items_V: Any) -> Longs:
    """One number a pair, by user and then by item: sorting numbers takes a twentieth of sorting rows."""
    pair_V: Longs = (np.asarray(users_V, dtype=np.int64) << 32) | items_V
    return pair_V


def _items(pair_V: Longs) -> npt.NDArray[np.int32]:
    return (pair_V & 0x7FFFFFFF).astype(np.int32)


@compiled()
def _unlike(a_B1: Longs, a_V: npt.NDArray[Any], b_B1: Longs, b_V: npt.NDArray[Any]) -> int:
    n_unlike = abs(len(a_B1) - len(b_B1))
    for user in range(min(len(a_B1), len(b_B1)) - 1):
        length = a_B1[user + 1] - a_B1[user]
        same = length == b_B1[user + 1] - b_B1[user]
        at = 0
        while same and at < length:
            same = a_V[a_B1[user] + at] == b_V[b_B1[user] + at]
            at += 1
        n_unlike += not same
    return n_unlike
