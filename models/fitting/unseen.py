"""Draws items that users have not seen: the kernels behind `samplers.py`.

A row draws an item, and again if its user has seen it. What costs is waiting for memory, so the rows of a block go
through each stage together: none of their reads needs another's result, and they overlap. Most draws read one word of a
filter: of each user a bitmap of all items where that is small, else a Bloom filter of which an item uses one word
(Putze et al., JEA 2009). What the latter suspects is looked up in the sorted list, so every answer is exact.

Number t of row b is a function of the key, b and t alone (Salmon et al., SC 2011): threads and blocks change nothing.

U users, I items, R rows of the histories, W words of the filter, B rows in a batch, K rows of a block
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import prange

from ..compiled import GOLDEN, compiled, mixed
from ..ragged import Ragged

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

MAX_TRIES = 64
"""Draws for one row before it is given one of the items that are left."""
BLOCK = 1024
"""Rows that a thread takes at a time. On MovieLens 1M 256 are a fifth slower and 4096 a twentieth quicker, but those
would leave batches of a few thousand rows to one thread."""
FILTER_BITS = 12
"""Of a Bloom filter for each item in it: 2.4% of the unseen items are then suspected. With 8 of them uniform draws on
Gowalla are 4% slower, with 24 they are 3% quicker."""

ONE, HALF, LOW = np.uint64(1), np.uint64(32), np.uint64(2**32 - 1)
WORD, PLACE = np.uint64(6), np.uint64(63)
"""By how much an item is shifted for its word in a bitmap, and what of it is its place there."""


class Seen(NamedTuple):
    """What users have seen, as the kernels read it."""

    offsets_U1: Ints
    items_R: npt.NDArray[np.int32]
    """Ascending and without repeats for each user."""
    words_U1: Ints
    """Where each user's words of the filter begin."""
    filter_W: Words
    n_items: int


class Weights(NamedTuple):
    """How often items are drawn; both are empty where all are as likely."""

    slots_I2: npt.NDArray[np.uint32]
    """Of each slot of an alias table the share that its own item keeps, in 2**-32, and whose the rest is."""
    probability_I: npt.NDArray[np.float64]


class Key(NamedTuple):
    """Two random numbers, of which all others are made."""

    rows: np.uint64
    tries: np.uint64


def with_filter(sets: Ragged, n_items: int) -> Seen:
    words_U = np.maximum(np.minimum(-(-sets.lengths_U * FILTER_BITS // 64), -(-n_items // 64)), 1)
    words_U1 = np.concatenate([[0], np.cumsum(words_U)])
    seen = Seen(sets.offsets_U1, sets.items_R, words_U1, np.zeros(words_U1[-1], dtype=np.uint64), n_items)
    _fill(seen, seen.filter_W)
    return seen


@compiled(parallel=True)
def _fill(seen: Seen, filter_W: Words) -> None:
    # Numba drops what a parallel loop writes to a member of a tuple: so the filter comes once more, by itself.
    for user in prange(len(seen.offsets_U1) - 1):
        for r in range(seen.offsets_U1[user], seen.offsets_U1[user + 1]):
            word, bits = place(seen, user, np.uint64(seen.items_R[r]))
            filter_W[word] |= bits


@compiled()
def _has_bitmap(seen: Seen, user: int) -> bool:
    return bool((seen.words_U1[user + 1] - seen.words_U1[user]) * 64 >= seen.n_items)


@compiled()
def place(seen: Seen, user: int, item: np.uint64) -> tuple[np.int64, np.uint64]:
    """The word of the filter that tells of an item, and the bits that are all set there if the user has seen it."""
    start = seen.words_U1[user]
    if _has_bitmap(seen, user):
        return start + np.int64(item >> WORD), ONE << (item & PLACE)
    hashed = item * GOLDEN  # Fibonacci hashing: Knuth, The Art of Computer Programming 3, 6.4
    word = start + np.int64(((hashed >> HALF) * np.uint64(seen.words_U1[user + 1] - start)) >> HALF)
    return word, (ONE << ((hashed >> np.uint64(26)) & PLACE)) | (ONE << ((hashed >> np.uint64(20)) & PLACE))


@compiled()
def number(key: Key, row: int, t: int) -> np.uint64:
    return mixed(mixed(key.rows + GOLDEN * np.uint64(row)) + key.tries + GOLDEN * np.uint64(t))


@compiled()
def scaled(random: np.uint64, n: int) -> np.uint64:
    """A random 64-bit number as one below n < 2**32: random · n / 2**64, rounded down.

    How many of the 2**64 numbers give a result differs by one at most, by a share below 2**-32: none is refused."""
    return ((random >> HALF) * np.uint64(n) + (((random & LOW) * np.uint64(n)) >> HALF)) >> HALF


@compiled(parallel=True)
def draw_unseen(users_B: Ints, seen: Seen, weights: Weights, key: Key) -> tuple[Ints, int]:
    """[B] an item for each row, -1 where its user has seen all that can be drawn; and how many of the latter."""
    draw_B = np.empty(len(users_B), dtype=np.int64)
    n_without = 0
    for block in prange((len(users_B) + BLOCK - 1) // BLOCK):
        rows_K = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(users_B)))
        n_left = _try(users_B, seen, weights, key, rows_K, draw_B)
        for row in rows_K[:n_left]:
            random = number(key, row, MAX_TRIES)
            if len(weights.slots_I2):
                draw_B[row] = _weighted_rest(seen, users_B[row], weights.probability_I, random)
            else:
                draw_B[row] = _uniform_rest(seen, users_B[row], random)
            n_without += draw_B[row] < 0
    return draw_B, n_without


@compiled()
def _try(users_B: Ints, seen: Seen, weights: Weights, key: Key, rows_K: Ints, draw_B: Ints) -> int:
    """Draws for these rows, and again for those that drew what was seen. Leaves the rows without an item at the front
    of `rows_K`, and returns how many they are."""
    n = len(rows_K)
    word_K, bits_K = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint64)
    suspect_K, start_K, length_K = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for t in range(MAX_TRIES):
        _draw(rows_K[:n], weights.slots_I2, seen.n_items, key, t, draw_B)
        for k in range(n):
            word_K[k], bits_K[k] = place(seen, users_B[rows_K[k]], np.uint64(draw_B[rows_K[k]]))
        n_suspects = 0
        for k in range(n):
            suspect_K[n_suspects] = rows_K[k]
            n_suspects += (seen.filter_W[word_K[k]] & bits_K[k]) == bits_K[k]
        n = _look_up(users_B, seen, suspect_K[:n_suspects], draw_B, start_K, length_K, rows_K)
        if n == 0:
            break
    return n


@compiled()
def _draw(rows_K: Ints, slots_I2: npt.NDArray[np.uint32], n_items: int, key: Key, t: int, draw_B: Ints) -> None:
    if len(slots_I2) == 0:
        for row in rows_K:
            draw_B[row] = np.int64(scaled(number(key, row, t), n_items))
        return
    for row in rows_K:
        random = number(key, row, t)
        slot = scaled(random, n_items)
        # The lower half of the product is where in the slot the number fell.
        kept = ((random * np.uint64(n_items)) >> HALF) < np.uint64(slots_I2[slot, 0])
        draw_B[row] = np.int64(slot) if kept else np.int64(slots_I2[slot, 1])


@compiled()
def _look_up(
    users_B: Ints, seen: Seen, suspect_K: Ints, draw_B: Ints, start_K: Ints, length_K: Ints, seen_K: Ints
) -> int:
    """Writes those of the suspects that drew what their user has seen to the front of `seen_K`; returns their number.

    Searches all lists at once by halves, as `compiled.holds` does one."""
    longest = 0
    for k in range(len(suspect_K)):
        user = users_B[suspect_K[k]]
        start_K[k] = seen.offsets_U1[user]
        length_K[k] = 0 if _has_bitmap(seen, user) else seen.offsets_U1[user + 1] - start_K[k]
        longest = max(longest, length_K[k])
    while longest > 1:
        for k in range(len(suspect_K)):
            half = length_K[k] >> 1  # 0 for lists that are done: nothing changes
            start_K[k] += half if seen.items_R[start_K[k] + half - 1] < draw_B[suspect_K[k]] else 0
            length_K[k] -= half
        longest -= longest >> 1
    n = 0
    for k in range(len(suspect_K)):
        seen_K[n] = suspect_K[k]
        n += length_K[k] == 0 or seen.items_R[start_K[k]] == draw_B[suspect_K[k]]
    return n


@compiled()
def _uniform_rest(seen: Seen, user: int, random: np.uint64) -> np.int64:
    """One of the items that the user has not seen, all as likely; -1 if there is none.

    Before the k-th of them, from 0, are those seen items that have at most k unseen ones before them."""
    start, end = seen.offsets_U1[user], seen.offsets_U1[user + 1]
    n_unseen = seen.n_items - (end - start)
    if n_unseen == 0:
        return np.int64(-1)
    k = np.int64(scaled(random, n_unseen))
    low, high = start, end
    while low < high:
        middle = (low + high) >> 1
        if seen.items_R[middle] - (middle - start) <= k:
            low = middle + 1
        else:
            high = middle
    return np.int64(k + low - start)


@compiled()
def _weighted_rest(seen: Seen, user: int, probability_I: npt.NDArray[np.float64], random: np.uint64) -> np.int64:
    """One of the items that the user has not seen, by their probabilities; -1 if these add up to nothing."""
    start, end = seen.offsets_U1[user], seen.offsets_U1[user + 1]
    total, r = 0.0, start
    for item in range(seen.n_items):
        if r < end and seen.items_R[r] == item:
            r += 1
        else:
            total += probability_I[item]
    left, r, drawn = total * np.float64(random >> np.uint64(11)) / 2**53, start, np.int64(-1)
    for item in range(seen.n_items):
        if r < end and seen.items_R[r] == item:
            r += 1
        elif probability_I[item] > 0:
            drawn = np.int64(item)  # the last one stays, should rounding leave something over
            left -= probability_I[item]
            if left < 0:
                break
    return drawn
