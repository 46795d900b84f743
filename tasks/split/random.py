"""Rows drawn at random: for logs without time, where no honest order exists.

R rows of a block
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.compiled import GOLDEN, compiled, mixed
from tasks.split.config import SplitConfig
from tasks.split.parts import Block, Part, PartArray

Hashes = npt.NDArray[np.uint64]
Counters = npt.NDArray[np.int64] | npt.NDArray[np.int32]
_BITS, _DIGITS = 16, 4


@dataclass(frozen=True)
class Draw:
    """Every positive row has a number of 64 bits, by the seed and its place in the log. The lowest go to the test, the
    next to the validation: exact shares, as no two rows have the same number."""

    key: int
    test: int | None  # the highest number in the test; None: no row is
    valid: int | None  # the highest in the test or the validation


def random(block: Block, draw: Draw) -> PartArray:
    """[R] part of each row; exact shares, drawn from the seed."""
    number_R = numbers_of(np.uint64(draw.key), np.arange(block.first, block.first + len(block)))
    part_R = np.full(len(block), Part.TRAIN, dtype=np.int8)
    for part, highest in ((Part.VALID, draw.valid), (Part.TEST, draw.test)):
        if highest is not None:
            part_R[number_R <= np.uint64(highest)] = part
    return part_R


def make_draw(n: int, config: SplitConfig) -> Draw:
    """The bounds that give a log of n rows its shares."""
    n_test, n_valid = round(n * config.test_share), round(n * config.valid_share)
    key = key_of(config.seed, "random")
    test, valid = (_lowest(key, n, count) for count in (n_test, n_test + n_valid))
    return Draw(key, test, valid)


def key_of(seed: int, purpose: str) -> int:
    """A stream of its own for each seed and purpose."""
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0])


@compiled()
def numbers_of(key: np.uint64, counters_N: Counters) -> Hashes:
    """[N] the numbers of these counters, from 0. All of a stream differ: `mixed` maps no two counters to one number."""
    number_N = np.empty(len(counters_N), dtype=np.uint64)
    for n in range(len(counters_N)):
        number_N[n] = mixed(key + np.uint64(counters_N[n] + 1) * GOLDEN)
    return number_N


def _lowest(key: int, n: int, count: int) -> int | None:
    """The highest of the `count` lowest numbers, found digit by digit from the highest: nothing is kept or sorted."""
    if count == 0:
        return None
    found, left = 0, count - 1
    for digit in range(_DIGITS):
        counts = _digits(np.uint64(key), n, np.uint64(found), digit)
        until = np.cumsum(counts)
        value = int(np.searchsorted(until, left, side="right"))
        left -= int(until[value - 1]) if value else 0
        found = (found << _BITS) | value
    return found


@compiled()
def _digits(key: np.uint64, n: int, before: np.uint64, digit: int) -> npt.NDArray[np.int64]:
    """How many of the numbers that begin with the digits `before` go on with each digit."""
    counts = np.zeros(1 << _BITS, dtype=np.int64)
    shift = np.uint64(_BITS * (_DIGITS - 1 - digit))
    for r in range(n):
        number = mixed(key + np.uint64(r + 1) * GOLDEN) >> shift
        if digit == 0 or number >> np.uint64(_BITS) == before:
            counts[number & np.uint64((1 << _BITS) - 1)] += 1
    return counts
