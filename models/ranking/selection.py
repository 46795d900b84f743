"""The kernel of the ranking: the best items of each user in one pass over the scores.

The best score of every chunk of items is noted first. The K-th best of these bounds what can get into the list, so that
few chunks are looked at again, whatever the order of the catalogue.

U users, I items, K places, R seen items of all users in one array; of one user: S seen items, C chunks of the catalogue
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from ..compiled import compiled

Indices = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

CHUNK = 64
"""Items of which the best one is noted, so that few of them have to be looked at one by one."""
SIZE, INFINITE = np.int32(0x7FFFFFFF), np.int32(0x7F800000)
"""The bits of a float32 but its sign, and those of infinity. As integers, those of NaN are larger still."""


@compiled(parallel=True)
def select(
    score_UI: Scores, seen_offsets_U1: npt.NDArray[np.int64], seen_items_R: Indices, k: int
) -> tuple[Indices, Scores, npt.NDArray[np.bool_]]:
    """For each user the best k items that are not seen. [U, K] items, [U, K] scores, [U] whether NaN was met.

    The items seen are ascending sets; those that the scores do not have mask nothing. Empty places are -1 and -inf."""
    n_users, n_items = score_UI.shape
    items_UK = np.full((n_users, k), -1, dtype=np.int32)
    top_UK = np.full((n_users, k), -np.inf, dtype=np.float32)
    nan_U = np.zeros(n_users, dtype=np.bool_)
    for user in prange(n_users):
        seen_S = seen_items_R[seen_offsets_U1[user] : seen_offsets_U1[user + 1]]
        score_I, peak_C = score_UI[user], np.empty((n_items + CHUNK - 1) // CHUNK, dtype=np.int32)
        _peaks(score_I.view(np.int32), seen_S, peak_C)
        nan_U[user] = (peak_C > INFINITE).any()
        _best(score_I, seen_S, peak_C, _bound(peak_C, k), items_UK[user], top_UK[user])
    return items_UK, top_UK, nan_U


@compiled()
def _peaks(bits_I: Indices, seen_S: Indices, peak_C: Indices) -> None:
    """Writes the key of the best unseen score of each chunk; NaN is better than any."""
    for chunk in range(len(peak_C)):
        # Integers, for where NaN is in the way the compiler takes floats one by one. Unsigned indices let it use
        # vector registers.
        best, size = np.int32(-SIZE), np.int32(0)
        for item in range(np.uint64(chunk * CHUNK), np.uint64(min((chunk + 1) * CHUNK, len(bits_I)))):
            best, size = max(best, _key(bits_I[item])), max(size, np.int32(bits_I[item] & SIZE))
        peak_C[chunk] = size if size > INFINITE else best
    for s in range(len(seen_S)):
        item, chunk = seen_S[s], seen_S[s] // CHUNK
        if 0 <= item < len(bits_I) and (_key(bits_I[item]) == peak_C[chunk] or peak_C[chunk] > INFINITE):
            peak_C[chunk] = _unseen_peak(bits_I, seen_S, s, chunk * CHUNK)


@compiled()
def _unseen_peak(bits_I: Indices, seen_S: Indices, s: int, start: int) -> np.int32:
    """The same of one chunk, of which the user has seen the item seen_S[s]."""
    while s > 0 and seen_S[s - 1] >= start:
        s -= 1
    best, size = np.int32(-SIZE), np.int32(0)
    for item in range(start, min(start + CHUNK, len(bits_I))):
        if s < len(seen_S) and seen_S[s] == item:
            s += 1
        else:
            best, size = max(best, _key(bits_I[item])), max(size, np.int32(bits_I[item] & SIZE))
    return size if size > INFINITE else best


@compiled()
def _key(bits: np.int32) -> np.int32:
    """An integer, from the bits of a float32, that compares as the float does; only -0 comes just before 0."""
    return np.int32(bits ^ (np.int32(bits >> np.int32(31)) & SIZE))


@compiled()
def _bound(peak_C: Indices, k: int) -> np.int32:
    """A key that at least k chunks reach, so that no worse item can be among the best k; the lowest if none is sure."""
    bound = np.int32(-(2**31))
    for bit in range(31, -1, -1):
        higher, n_reach = np.int32(bound + (1 << bit)), np.int32(0)
        for chunk in range(len(peak_C)):
            n_reach = np.int32(n_reach + np.int32(peak_C[chunk] >= higher))
        if n_reach >= k:
            bound = higher
        if k <= n_reach <= k + 8:  # to know better would cost more than to look at these
            break
    return bound if bound != 0 else np.int32(-1)  # -0 is as good as 0


@compiled()
def _best(score_I: Scores, seen_S: Indices, peak_C: Indices, bound: np.int32, items_K: Indices, top_K: Scores) -> None:
    """Fills the list, which is empty, with the best unseen items that reach the bound."""
    bits_I, last, s, n = score_I.view(np.int32), len(top_K) - 1, 0, 0
    for chunk in range(len(peak_C)):
        if peak_C[chunk] < bound:
            continue
        start = chunk * CHUNK
        while s < len(seen_S) and seen_S[s] < start:
            s += 1
        for item in range(start, min(start + CHUNK, len(score_I))):
            if s < len(seen_S) and seen_S[s] == item:
                s += 1
            elif _key(bits_I[item]) >= bound and score_I[item] > top_K[last]:
                n = _place(items_K, top_K, n, item, score_I[item])


@compiled()
def _place(items_K: Indices, top_K: Scores, n: int, item: int, score: np.float32) -> int:
    """Puts the item in its place among the n before; of K the last one drops out. Returns how many there are now.

    Equal scores stay before it: they came first."""
    at = min(n, len(top_K) - 1)
    while at > 0 and top_K[at - 1] < score:
        top_K[at] = top_K[at - 1]
        items_K[at] = items_K[at - 1]
        at -= 1
    top_K[at] = score
    items_K[at] = item
    return min(n + 1, len(top_K))
