"""A file of rows, dealt into rows to fit, validation rows and test rows; and how a model is judged by them.

`candidates`: of each user with three rows or more one random row is held out for the test and one for validation, each
ranked among 99 items that the user has in no row. `full`: of each user a fifth of the rows is held out for the test and
a tenth of the rest for validation, and ranked among all items that were not fitted. `next`: of each user with three
rows or more the last row in time is held out for the test and the one before it for validation, and ranked among all
items that the user had not before.

U users, N candidates, K places, R rows
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.base import IntArray, Query, Ragged, Recommender, TrainingData
from models.fitting.samplers import SeenItems, stream, uniform_negatives
from models.ranking.metrics import all_metrics, hits
from models.ranking.top_k import rank_candidates, recommend

N_NEGATIVES = 99
CUTOFFS = (10, 20)
MODES = {
    "candidates": ("hit_at_10", "ndcg_at_10"),
    "full": ("recall_at_20", "ndcg_at_20"),
    "next": ("hit_at_10", "ndcg_at_10"),
}
"""The two metrics that are shown of each way of judging."""


@dataclass(frozen=True)
class Rows:
    """What a fit sees, and what judges it."""

    fitted: TrainingData
    held_out: Ragged
    """[all users] the rows that judge; empty for users without any."""
    candidates: Ragged | None
    """[all users] what they compete with, themselves included; None: every item that was not fitted."""

    def judge(self, model: Recommender) -> Mapping[str, float]:
        """Every metric at 10 and 20, by the ranking of all of Encore: of equal scores the first item wins."""
        users_U = np.flatnonzero(self.held_out.lengths_U)
        query = Query(users_U, self.fitted.histories.take(users_U))
        if self.candidates is None:
            items_UK, _ = recommend(model, query, query.histories, max(CUTOFFS))
        else:
            items_UK, _ = rank_candidates(model, query, self.candidates.take(users_U), max(CUTOFFS))
        return self.score(items_UK, users_U)

    def score(self, items_UK: IntArray, users_U: IntArray) -> Mapping[str, float]:
        relevant = self.held_out.take(users_U)
        metrics = all_metrics(hits(items_UK, relevant.as_sets()), relevant.lengths_U, CUTOFFS)
        return {name: float(value_U.mean()) for name, value_U in metrics.items()}


def write_split(data: Path, path: Path, mode: str, seed: int) -> None:
    every, n_items = _in_time(data) if mode == "next" else _shuffled(data, seed)
    if mode == "full":
        n_test_U = every.lengths_U // 5
        n_valid_U = (every.lengths_U - n_test_U) // 10
    else:
        n_test_U = n_valid_U = (every.lengths_U >= 3).astype(np.int64)
    known, test = _cut(every, n_test_U)
    fitted, valid = _cut(known, n_valid_U)
    if mode == "next":
        test, valid = _first_time(test, known, n_items), _first_time(valid, fitted, n_items)
    parts = {"known": known, "test": test, "fitted": fitted, "valid": valid}
    if mode == "candidates":
        seen = SeenItems(every, n_items)
        parts |= {f"{name}_candidates": _among_unseen(parts[name], seen, seed, name) for name in ("valid", "test")}
    arrays = {name: (part.offsets_U1, part.items_R) for name, part in parts.items()}
    named: dict[str, Any] = {
        f"{name}_{of}": array for name, both in arrays.items() for of, array in zip("oi", both, strict=True)
    }
    np.savez(path, n_items=n_items, mode=mode, **named)


def read_split(path: Path) -> tuple[Rows, Rows]:
    """What the first fit sees with the validation rows, and what the last one sees with the test rows."""
    split = np.load(path)

    def part(name: str) -> Ragged | None:
        return Ragged(split[f"{name}_o"], split[f"{name}_i"]) if f"{name}_o" in split else None

    def rows(fitted: str, judging: str) -> Rows:
        histories, held_out = part(fitted), part(judging)
        assert histories is not None
        assert held_out is not None
        return Rows(TrainingData(int(split["n_items"]), histories), held_out, part(f"{judging}_candidates"))

    return rows("fitted", "valid"), rows("known", "test")


def _shuffled(data: Path, seed: int) -> tuple[Ragged, int]:
    """[all users] the items of each in random order, and how many there are.

    A pair that occurs twice counts once: its second row must not tell the test."""
    pairs = pq.read_table(data, columns=["user_id", "item_id"]).group_by(["user_id", "item_id"]).aggregate([])
    users_R, items_R = _coded(pairs, "user_id"), _coded(pairs, "item_id")
    # Sorted first, so that the order in the file plays no part; then in a random order within each user.
    order_R = np.lexsort((items_R, users_R))
    order_R = order_R[stream(seed, "pairs", "order").permutation(len(order_R))]
    every = Ragged.from_pairs(users_R[order_R], items_R[order_R], int(users_R.max()) + 1)
    return every, int(items_R.max()) + 1


def _in_time(data: Path) -> tuple[Ragged, int]:
    """[all users] the items of each from the oldest to the newest, of one time as in the file, and how many there
    are."""
    log = pq.read_table(data, columns=["user_id", "item_id", "timestamp"])
    users_R, items_R = _coded(log, "user_id"), _coded(log, "item_id")
    order_R = np.argsort(_coded(log, "timestamp"), kind="stable")
    return Ragged.from_pairs(users_R[order_R], items_R[order_R], int(users_R.max()) + 1), int(items_R.max()) + 1


def _coded(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """[R] the places of a column's values among its different ones."""
    places_R: npt.NDArray[np.int64] = pc.rank(table[name], tiebreaker="dense").to_numpy().astype(np.int64) - 1
    return places_R


def _first_time(held_out: Ragged, before: Ragged, n_items: int) -> Ragged:
    """Without the rows of items that their user had before: those are masked, so that nobody could find them."""
    pairs_R, known_R = (part.users_R.astype(np.int64) * n_items + part.items_R for part in (held_out, before))
    new_R = ~np.isin(pairs_R, known_R)
    return Ragged.from_pairs(held_out.users_R[new_R], held_out.items_R[new_R], len(held_out))


def _cut(histories: Ragged, n_last_U: npt.NDArray[np.int64]) -> tuple[Ragged, Ragged]:
    """The lists without their last items, and these."""
    from_end_R = np.repeat(histories.offsets_U1[1:], histories.lengths_U) - np.arange(len(histories.items_R))
    last_R = from_end_R <= n_last_U[histories.users_R]

    def kept(rows_R: npt.NDArray[Any]) -> Ragged:
        return Ragged.from_pairs(histories.users_R[rows_R], histories.items_R[rows_R], len(histories))

    return kept(~last_R), kept(last_R)


def _among_unseen(held_out: Ragged, seen: SeenItems, seed: int, purpose: str) -> Ragged:
    """Each held-out item beside 99 that its user has in no row at all."""
    users_R = held_out.users_R.astype(np.int64)
    others_RN = uniform_negatives(np.repeat(users_R, N_NEGATIVES), seen, seen.n_items, stream(seed, "pairs", purpose))
    return Ragged.from_pairs(
        np.concatenate([users_R, np.repeat(users_R, N_NEGATIVES)]),
        np.concatenate([held_out.items_R.astype(np.int64), others_RN]),
        len(held_out),
    )
