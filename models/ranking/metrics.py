"""How good a ranking is: one number for each user, averaged once, rounded only when printed.

U users, K and N places in the ranking (k <= N), R relevant items of all users in one array

All metrics take `hit_UN`, whether the item at each place is relevant, and `n_relevant_U`, the number of each user's
relevant items: all of them, also those that the model does not know. They return [U] float64, NaN for a user without
relevant items, and raise ValueError if k > N. All items are ranked, not a sample (Krichene & Rendle, KDD 2020).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..base import BoolArray, FloatArray, IntArray, Ragged

Metric = Callable[[BoolArray, IntArray, int], FloatArray]


def hits(items_UK: IntArray, relevant: Ragged) -> BoolArray:
    """[U, K] whether each ranked item is one of the user's relevant ones. Empty places (-1) never are."""
    if len(items_UK) != len(relevant):
        raise ValueError(f"rankings of {len(items_UK)} users, but relevant items of {len(relevant)}")
    base = 1 + max(int(items_UK.max(initial=0)), int(relevant.items_R.max(initial=0)))
    users_U1 = np.arange(len(items_UK), dtype=np.int64)[:, None]
    known_R = relevant.items_R >= 0
    key_R = (relevant.users_R.astype(np.int64) * base + relevant.items_R)[known_R]
    return np.isin(users_U1 * base + items_UK, key_R) & (items_UK >= 0)


def ndcg_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """Gain 1/log2(place + 1) of each hit, over the gain of an ideal list with min(k, relevant) hits on top.

    Source: Järvelin & Kekäläinen, TOIS 2002, with binary relevance."""
    hit_UK = _first(hit_UN, k)
    gain_K = 1 / np.log2(np.arange(2, k + 2))
    ideal_U = np.concatenate([[0.0], np.cumsum(gain_K)])[np.minimum(n_relevant_U, k)]
    return _over(hit_UK @ gain_K, ideal_U, n_relevant_U)


def recall_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """Share of the user's relevant items that are among the first k. Source: protocol of He et al., SIGIR 2020."""
    return _over(_first(hit_UN, k).sum(axis=1), n_relevant_U, n_relevant_U)


def precision_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """Share of the first k places that are relevant; always out of k. Source: Manning et al., 2008, chapter 8.4."""
    return _over(_first(hit_UN, k).sum(axis=1), k, n_relevant_U)


def hit_rate_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """1 if any of the first k is relevant, else 0. Source: Deshpande & Karypis, TOIS 2004."""
    return _over(_first(hit_UN, k).any(axis=1), 1, n_relevant_U)


def average_precision_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """Precision at the place of each hit, summed, over min(k, relevant). Its mean over users is MAP@k.

    Source: Manning et al., 2008, chapter 8.4, cut at k."""
    hit_UK = _first(hit_UN, k)
    precision_UK = np.cumsum(hit_UK, axis=1) / np.arange(1, k + 1)
    return _over((precision_UK * hit_UK).sum(axis=1), np.minimum(n_relevant_U, k), n_relevant_U)


def reciprocal_rank_at_k(hit_UN: BoolArray, n_relevant_U: IntArray, k: int) -> FloatArray:
    """1 over the place of the first hit, 0 if there is none among k. Its mean over users is MRR@k.

    Source: Voorhees, TREC-8, 1999."""
    hit_UK = _first(hit_UN, k)
    return _over(hit_UK.any(axis=1) / (hit_UK.argmax(axis=1) + 1), 1, n_relevant_U)


METRICS: dict[str, Metric] = {
    "ndcg": ndcg_at_k,
    "recall": recall_at_k,
    "hit": hit_rate_at_k,
    "precision": precision_at_k,
    "map": average_precision_at_k,
    "mrr": reciprocal_rank_at_k,
}


def all_metrics(hit_UN: BoolArray, n_relevant_U: IntArray, cutoffs: Sequence[int]) -> dict[str, FloatArray]:
    """Every metric at every cutoff, [U] each, by names such as `ndcg_at_10`, `hit_at_20`, `map_at_10`."""
    return {f"{name}_at_{k}": metric(hit_UN, n_relevant_U, k) for name, metric in METRICS.items() for k in cutoffs}


def _first(hit_UN: BoolArray, k: int) -> BoolArray:
    if not 1 <= k <= hit_UN.shape[1]:
        raise ValueError(f"k is {k}, but {hit_UN.shape[1]} places were ranked")
    return hit_UN[:, :k]


def _over(value_U: npt.ArrayLike, divisor_U: npt.ArrayLike, n_relevant_U: IntArray) -> FloatArray:
    """The quotient, and NaN where the user has no relevant item."""
    result_U = np.full(len(n_relevant_U), np.nan)
    np.divide(value_U, divisor_U, out=result_U, where=np.greater(n_relevant_U, 0))
    return result_U
