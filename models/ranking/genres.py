"""What lists are like by the genres of their items: how unlike each other these are, and how unlike what a user has.

U users, K places, I items, G genres, R rows of all histories

`items_UK` are item indices, best first; places that are empty (-1) or hold an item without genres, or one that the
catalogue does not have (I or more), tell nothing and are passed over.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import prange

from ..base import Ragged
from ..compiled import compiled

Floats = npt.NDArray[np.float64]
Items = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Offsets = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

SMOOTHING = 0.01
"""Share of the history's genres that is mixed into the list's, so that a missing one does not weigh infinitely; the
value of Steck's paper."""


@dataclass(frozen=True)
class Genres:
    """Which genres each item of the catalogue has."""

    of_I: Ragged
    """[I] ascending sets of codes 0..size-1; empty where nothing is known of the item."""
    size: int


def diversity(items_UK: Items, genres: Genres) -> Floats:
    """[U] mean over the pairs of a list of 1 - the Jaccard similarity of their genres, 0 (all alike) to 1; NaN where
    fewer than two items have genres.

    Source: intra-list similarity, Ziegler et al., WWW 2005, turned round."""
    return _diversity(items_UK, genres.of_I.offsets_U1, genres.of_I.items_R)


def miscalibration(items_UK: Items, histories: Ragged, genres: Genres) -> Floats:
    """[U] Kullback-Leibler divergence, in nats, of the list's shares of genres from the history's: 0 where they are
    equal. An item's genres share its weight. NaN where no item of the list, or none of the history, has genres.

    Source: C_KL of Steck, Calibrated Recommendations, RecSys 2018, all places of equal weight."""
    if len(histories) != len(items_UK):
        raise ValueError(f"lists of {len(items_UK)} users, but histories of {len(histories)}")
    lists = histories.offsets_U1, histories.items_R
    return _divergence(items_UK, *lists, genres.of_I.offsets_U1, genres.of_I.items_R, genres.size)


@compiled()
def _in_common(one_G: Codes, other_G: Codes) -> int:
    """How many codes two ascending sets share."""
    a, b, n = 0, 0, 0
    while a < len(one_G) and b < len(other_G):
        n += one_G[a] == other_G[b]
        step_a, step_b = one_G[a] <= other_G[b], other_G[b] <= one_G[a]
        a += step_a
        b += step_b
    return n


@compiled()
def _with_genres(items_K: Items, offsets_I1: Offsets) -> Items:
    """The items that have genres."""
    kept_K = np.empty_like(items_K)
    n = 0
    for item in items_K:
        if 0 <= item < len(offsets_I1) - 1 and offsets_I1[item + 1] > offsets_I1[item]:
            kept_K[n] = item
            n += 1
    return kept_K[:n]


@compiled(parallel=True)
def _diversity(items_UK: Items, offsets_I1: Offsets, codes: Codes) -> Floats:
    unlike_U = np.full(len(items_UK), np.nan)
    for user in prange(len(items_UK)):
        kept_K = _with_genres(items_UK[user], offsets_I1)
        unlike, n_pairs = 0.0, 0
        for place, item in enumerate(kept_K):
            one_G = codes[offsets_I1[item] : offsets_I1[item + 1]]
            for other in kept_K[:place]:
                other_G = codes[offsets_I1[other] : offsets_I1[other + 1]]
                both = _in_common(one_G, other_G)
                unlike += 1 - both / (len(one_G) + len(other_G) - both)
                n_pairs += 1
        if n_pairs:
            unlike_U[user] = unlike / n_pairs
    return unlike_U


@compiled()
def _shares(items_K: Items, offsets_I1: Offsets, codes: Codes, size: int) -> Floats:
    """[G] the share that each genre has of the items; all 0 where none has genres."""
    share_G = np.zeros(size)
    kept_K = _with_genres(items_K, offsets_I1)
    for item in kept_K:
        one_G = codes[offsets_I1[item] : offsets_I1[item + 1]]
        for code in one_G:
            share_G[code] += 1 / len(one_G)
    return share_G / max(1, len(kept_K))


@compiled(parallel=True)
def _divergence(
    items_UK: Items, histories_U1: Offsets, histories_R: Codes, offsets_I1: Offsets, codes: Codes, size: int
) -> Floats:
    found_U = np.full(len(items_UK), np.nan)
    for user in prange(len(items_UK)):
        had_G = _shares(histories_R[histories_U1[user] : histories_U1[user + 1]], offsets_I1, codes, size)
        shown_G = _shares(items_UK[user], offsets_I1, codes, size)
        if had_G.any() and shown_G.any():
            divergence = 0.0
            for p, q in zip(had_G, shown_G):  # noqa: B905  numba knows no strict
                if p > 0:
                    divergence += p * np.log(p / ((1 - SMOOTHING) * q + SMOOTHING * p))
            found_U[user] = divergence
    return found_U
