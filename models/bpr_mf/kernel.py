"""Stochastic gradient descent for BPR on all cores, with the same result on any number of them.

Users and items are dealt into B groups, anew each epoch. Sub-epoch s gives block b the rows whose user is in group b
and whose item is in group (b + s) % B, and draws the negatives from that same item group. So the blocks of a
sub-epoch touch disjoint rows of the weights: they run side by side without locks, and their order does not matter
(DSGD: Gemulla et al., KDD 2011). B depends on the size of the data only, never on the number of threads.

U users, I items, G places (items ordered by group), R rows (user-item pairs), D vector length, B groups and blocks
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import prange

from ..base import Ragged
from ..compiled import GOLDEN, compiled, holds, mixed
from ..fitting.samplers import stream

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

MAX_GROUPS = 16
"""More would serve more threads, but each step between two barriers gets shorter: 16 keep 16 threads busy."""
ALIKE: Floats = np.empty(0, dtype=np.float32)
MAX_TRIES = 64
"""Draws for one negative. A user who saw 90% of a group misses one sample in a thousand."""


@dataclass(frozen=True)
class Rows:
    """What every epoch needs and is computed once."""

    histories: Ragged
    seen: Ragged
    """The same lists as ascending sets: negatives are checked against them."""
    n_items: int
    n_groups: int
    weight_R: Floats
    """What each row weighs; without any, all weigh the same."""

    @classmethod
    def of(cls, histories: Ragged, n_items: int, weight_R: Floats = ALIKE) -> "Rows":
        n_groups = count_groups(len(histories.items_R), len(histories), n_items)
        return cls(histories, histories.as_sets(), n_items, n_groups, weight_R)


def count_groups(n_rows: int, n_users: int, n_items: int) -> int:
    """The largest power of two, at most MAX_GROUPS, that leaves about 500 rows in a block and 32 items to draw from."""
    n_groups = 1
    while (
        n_groups < MAX_GROUPS
        and n_rows >= 512 * (2 * n_groups) ** 2
        and n_items >= 32 * 2 * n_groups
        and n_users >= 2 * n_groups
    ):
        n_groups *= 2
    return n_groups


def train_epoch(
    rows: Rows,
    user_UD: Floats,
    item_ID: Floats,
    bias_I: Floats,
    rate: float,
    l2: float,
    use_bias: bool,
    seed: int,
    epoch: int,
) -> tuple[list[float], int]:
    """One pass over the rows; changes the three weight arrays in place.

    The step is LearnBPR's (Rendle et al., UAI 2009), the loss of a row times its weight. Returns the summed loss of
    each sub-epoch and the number of samples. Stops after a sub-epoch whose loss is not finite."""
    n_groups = rows.n_groups
    deal = stream(seed, "bpr_mf", epoch, "groups")
    counter = np.uint64(stream(seed, "bpr_mf", epoch, "steps").integers(2**63))

    by_group_U, user_bounds_B1, _ = _deal(len(rows.histories), n_groups, deal)
    by_group_I, item_bounds_B1, group_I = _deal(rows.n_items, n_groups, deal)
    place_I = np.empty_like(by_group_I)
    place_I[by_group_I] = np.arange(rows.n_items)
    # Biases of one group lie together: 16 of them share a cache line, and threads that write to the same line slow
    # each other down by half.
    bias_G = bias_I[by_group_I]
    counts_BB = _count_cells(rows.histories.offsets_U1, rows.histories.items_R, by_group_U, user_bounds_B1, group_I)
    bounds = np.concatenate([[0], np.cumsum(counts_BB.ravel())])
    pairs_R2, weight_R = _fill_cells(
        rows.histories.offsets_U1, rows.histories.items_R, rows.weight_R, by_group_U, user_bounds_B1, group_I, place_I,
        bounds[:-1].copy(),
    )  # fmt: skip

    block = np.arange(n_groups)
    losses: list[float] = []
    n_samples = 0
    for step in range(n_groups):
        group = (block + step) % n_groups
        cell = block * n_groups + group
        loss_B, samples_B = _run_blocks(
            pairs_R2, weight_R, bounds[cell], bounds[cell + 1],
            by_group_I, item_bounds_B1[group], item_bounds_B1[group + 1], rows.seen.offsets_U1, rows.seen.items_R,
            user_UD, item_ID, bias_G, np.float32(rate), np.float32(l2), use_bias, counter + np.uint64(step << 32),
        )  # fmt: skip
        losses.append(float(loss_B.sum()))
        n_samples += int(samples_B.sum())
        if not math.isfinite(losses[-1]):
            break
    bias_I[by_group_I] = bias_G
    return losses, n_samples


def _deal(n: int, n_groups: int, rng: np.random.Generator) -> tuple[Indices, Ints, Indices]:
    """Deals 0..n-1 into groups of equal size: members by group, the groups' bounds, and the group of each member."""
    members = rng.permutation(n).astype(np.int32)
    bounds_B1 = np.linspace(0, n, n_groups + 1).astype(np.int64)
    group = np.empty(n, dtype=np.int32)
    group[members] = np.repeat(np.arange(n_groups, dtype=np.int32), np.diff(bounds_B1))
    return members, bounds_B1, group


@compiled(parallel=True)
def _count_cells(
    offsets_U1: Ints, items_R: Indices, by_group_U: Indices, user_bounds_B1: Ints, group_I: Indices
) -> Ints:
    """[B, B] rows by group of user and group of item."""
    n_groups = len(user_bounds_B1) - 1
    counts_BB = np.zeros((n_groups, n_groups), dtype=np.int64)
    for b in prange(n_groups):
        for at in range(user_bounds_B1[b], user_bounds_B1[b + 1]):
            user = by_group_U[at]
            for r in range(offsets_U1[user], offsets_U1[user + 1]):
                counts_BB[b, group_I[items_R[r]]] += 1
    return counts_BB


@compiled(parallel=True)
def _fill_cells(
    offsets_U1: Ints, items_R: Indices, weight_R: Floats, by_group_U: Indices, user_bounds_B1: Ints,
    group_I: Indices, place_I: Indices, next_BB: Ints,
) -> tuple[Indices, Floats]:  # fmt: skip
    """[R, 2] rows as (user, place of the item), ordered by group of user, then group of item; and their weights."""
    n_groups = len(user_bounds_B1) - 1
    pairs_R2 = np.empty((len(items_R), 2), dtype=np.int32)
    ordered_R = np.empty(len(weight_R), dtype=np.float32)
    for b in prange(n_groups):
        for at in range(user_bounds_B1[b], user_bounds_B1[b + 1]):
            user = by_group_U[at]
            for r in range(offsets_U1[user], offsets_U1[user + 1]):
                cell = b * n_groups + group_I[items_R[r]]
                pairs_R2[next_BB[cell], 0] = user
                pairs_R2[next_BB[cell], 1] = place_I[items_R[r]]
                if len(weight_R):
                    ordered_R[next_BB[cell]] = weight_R[r]
                next_BB[cell] += 1
    return pairs_R2, ordered_R


@compiled()
def _below(state: np.uint64, n: int) -> np.int64:
    """A number in 0..n-1 from a counter. Off from uniform by less than n / 2**32."""
    return np.int64(((mixed(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@compiled()
def _run_block(
    pairs_R2: Indices, weight_R: Floats, start: int, end: int, item_G: Indices, pool_start: int, pool_end: int,
    seen_offsets_U1: Ints, seen_items_R: Indices, user_UD: Floats, item_ID: Floats, bias_G: Floats,
    rate: np.float32, l2: np.float32, use_bias: bool, state: np.uint64,
) -> tuple[float, int]:  # fmt: skip
    """Shuffles the rows start..end and takes one step for each. Returns the summed loss and the number of samples."""
    n_dim = user_UD.shape[1]
    n_pool = pool_end - pool_start
    weighted = len(weight_R) > 0
    loss, n_samples = 0.0, 0
    for r in range(end - 1, start, -1):
        state += GOLDEN
        other = start + _below(state, r - start + 1)
        user, place = pairs_R2[r, 0], pairs_R2[r, 1]
        pairs_R2[r, 0], pairs_R2[r, 1] = pairs_R2[other, 0], pairs_R2[other, 1]
        pairs_R2[other, 0], pairs_R2[other, 1] = user, place
        if weighted:
            weight_R[r], weight_R[other] = weight_R[other], weight_R[r]

    for r in range(start, end):
        user, positive_place = pairs_R2[r, 0], pairs_R2[r, 1]
        negative_place = np.int64(-1)
        for _ in range(MAX_TRIES):
            state += GOLDEN
            draw = pool_start + _below(state, n_pool)
            if not holds(seen_items_R, seen_offsets_U1[user], seen_offsets_U1[user + 1], item_G[draw]):
                negative_place = draw
                break
        if negative_place < 0:
            continue
        positive, negative = item_G[positive_place], item_G[negative_place]

        margin = np.float32(0)
        for d in range(n_dim):
            margin += user_UD[user, d] * (item_ID[positive, d] - item_ID[negative, d])
        if use_bias:
            margin += bias_G[positive_place] - bias_G[negative_place]
        small = np.exp(-abs(margin))  # at most 1: no overflow on either side
        weight = weight_R[r] if weighted else np.float32(1)
        loss += weight * (np.log1p(small) + max(-margin, np.float32(0)))
        wrong = (small if margin > 0 else np.float32(1)) / (np.float32(1) + small)  # sigmoid(-margin)

        step, shrink = rate * weight * wrong, np.float32(1) - rate * l2
        for d in range(n_dim):
            u, p, n = user_UD[user, d], item_ID[positive, d], item_ID[negative, d]
            user_UD[user, d] = shrink * u + step * (p - n)
            item_ID[positive, d] = shrink * p + step * u
            item_ID[negative, d] = shrink * n - step * u
        if use_bias:
            bias_G[positive_place] = shrink * bias_G[positive_place] + step
            bias_G[negative_place] = shrink * bias_G[negative_place] - step
        n_samples += 1
    return loss, n_samples


@compiled(parallel=True)
def _run_blocks(
    pairs_R2: Indices, weight_R: Floats, starts_B: Ints, ends_B: Ints,
    item_G: Indices, pool_starts_B: Ints, pool_ends_B: Ints,
    seen_offsets_U1: Ints, seen_items_R: Indices, user_UD: Floats, item_ID: Floats, bias_G: Floats,
    rate: np.float32, l2: np.float32, use_bias: bool, state: np.uint64,
) -> tuple[npt.NDArray[np.float64], Ints]:  # fmt: skip
    """All blocks of a sub-epoch side by side, each with its own stream. Returns loss and samples, [B] each."""
    loss_B = np.zeros(len(starts_B))
    samples_B = np.zeros(len(starts_B), dtype=np.int64)
    for b in prange(len(starts_B)):
        loss_B[b], samples_B[b] = _run_block(
            pairs_R2, weight_R, starts_B[b], ends_B[b], item_G, pool_starts_B[b], pool_ends_B[b], seen_offsets_U1,
            seen_items_R, user_UD, item_ID, bias_G, rate, l2, use_bias, mixed(mixed(state) + np.uint64(b)),
        )  # fmt: skip
    return loss_B, samples_B
