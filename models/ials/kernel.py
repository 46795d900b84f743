"""Half-steps of alternating least squares on all cores, with the same result on any number of them.

One side is solved while the other stands still. Each row's equations are solved by conjugate gradients from where the
row stood (Takács et al., RecSys 2011): a step costs a pass over the row's own partners and never builds their
matrix. So a few steps replace a Cholesky factorisation at an eighth of the arithmetic, and memory stays at vectors.

N rows that are solved (users, or items), O rows of the other side, R pairs, D vector length, B blocks of rows
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from ..base import Ragged
from ..compiled import compiled

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Sums = npt.NDArray[np.float64]

BLOCKS = 128
"""Pieces of about equal work that threads take. Fixed, so that sums over blocks do not depend on the threads."""
SMALL = np.float32(1e-11)
"""A row is solved when its residual's squared norm is this part of what it was at first."""


def half_step(
    side_ND: Floats,
    other_OD: Floats,
    gram_DD: Floats,
    partners: Ragged,
    penalty_N: Floats,
    unobserved: float,
    steps: int,
) -> float:
    """Moves every row x of `side_ND`, in place, towards the minimum of

    sum over its partners y of (x·y - 1)² + unobserved · sum over all y of (x·y)² + penalty · |x|².

    `gram_DD` is that of `other_OD`. A row without partners becomes zero, which is its minimum. A row stops before
    `steps` steps of conjugate gradients where its residual is small. Returns the sum of the three terms over the rows
    as it was *before*: the first residual has it anyway."""
    bounds_B1 = balanced(partners.offsets_U1, side_ND.shape[1])
    loss_B = _solve(
        side_ND, other_OD, gram_DD, partners.offsets_U1, partners.items_R, bounds_B1, penalty_N,
        np.float32(unobserved), steps,
    )  # fmt: skip
    return float(loss_B.sum())


def gram(other_OD: Floats) -> Floats:
    """[D, D] sum of the outer products of the rows. Not by BLAS: its sums may depend on the number of threads."""
    return _gram(np.ascontiguousarray(other_OD))


def balanced(offsets_N1: Ints, dim: int) -> Ints:
    """[B + 1] bounds that cut the rows into blocks of about equal work."""
    # A step multiplies by the Gram matrix, D² multiplications, and visits each partner twice, 2 D.
    work_N1 = offsets_N1 + (dim // 2 + 1) * np.arange(len(offsets_N1))
    bounds_B1 = np.searchsorted(work_N1, np.linspace(0, work_N1[-1], BLOCKS + 1)).astype(np.int64)
    bounds_B1[-1] = len(offsets_N1) - 1
    return bounds_B1


@compiled(parallel=True)
def _gram(other_OD: Floats) -> Floats:
    n_dim = other_OD.shape[1]
    sum_DD = np.zeros((n_dim, n_dim), dtype=np.float32)
    n_tiles = (n_dim + 15) // 16
    for tile in prange(n_tiles):
        first, last = 16 * tile, min(16 * tile + 16, n_dim)
        o = 0
        # Four rows at once: a quarter of the loads and stores of the sums.
        while o + 4 <= len(other_OD):
            for a in range(first, last):
                f0, f1, f2, f3 = other_OD[o, a], other_OD[o + 1, a], other_OD[o + 2, a], other_OD[o + 3, a]
                for b in range(n_dim):
                    sum_DD[a, b] += (f0 * other_OD[o, b] + f1 * other_OD[o + 1, b]) + (
                        f2 * other_OD[o + 2, b] + f3 * other_OD[o + 3, b]
                    )
            o += 4
        while o < len(other_OD):
            for a in range(first, last):
                for b in range(n_dim):
                    sum_DD[a, b] += other_OD[o, a] * other_OD[o, b]
            o += 1
    return sum_DD


@compiled()
def _times_gram(out_D: Floats, gram_DD: Floats, in_D: Floats, unobserved: np.float32, penalty: np.float32) -> None:
    """out = (unobserved · gram + penalty) in."""
    n_dim = len(in_D)
    for b in range(n_dim):
        out_D[b] = penalty * in_D[b]
    a = 0
    while a + 4 <= n_dim:
        f0, f1 = unobserved * in_D[a], unobserved * in_D[a + 1]
        f2, f3 = unobserved * in_D[a + 2], unobserved * in_D[a + 3]
        for b in range(n_dim):
            out_D[b] += (f0 * gram_DD[a, b] + f1 * gram_DD[a + 1, b]) + (
                f2 * gram_DD[a + 2, b] + f3 * gram_DD[a + 3, b]
            )
        a += 4
    while a < n_dim:
        for b in range(n_dim):
            out_D[b] += unobserved * in_D[a] * gram_DD[a, b]
        a += 1


@compiled()
def _dot(left_D: Floats, right_D: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(len(left_D)):
        total += left_D[d] * right_D[d]
    return total


@compiled()
def _add_partners(
    out_D: Floats, in_D: Floats, other_OD: Floats, partners_R: Indices, start: int, end: int,
    constant: np.float32, factor: np.float32,
) -> np.float32:  # fmt: skip
    """out += sum over the partners y of f y, where f = constant + factor · (in·y). Returns the sum of f²."""
    n_dim = len(in_D)
    squares = np.float32(0)
    r = start
    # Four partners at once: their dot products overlap, and `out` is loaded and stored a quarter as often.
    while r + 4 <= end:
        o0, o1, o2, o3 = partners_R[r], partners_R[r + 1], partners_R[r + 2], partners_R[r + 3]
        f0, f1, f2, f3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for d in range(n_dim):
            x = in_D[d]
            f0 += x * other_OD[o0, d]
            f1 += x * other_OD[o1, d]
            f2 += x * other_OD[o2, d]
            f3 += x * other_OD[o3, d]
        f0, f1, f2, f3 = constant + factor * f0, constant + factor * f1, constant + factor * f2, constant + factor * f3
        for d in range(n_dim):
            out_D[d] += (f0 * other_OD[o0, d] + f1 * other_OD[o1, d]) + (f2 * other_OD[o2, d] + f3 * other_OD[o3, d])
        squares += (f0 * f0 + f1 * f1) + (f2 * f2 + f3 * f3)
        r += 4
    while r < end:
        o = partners_R[r]
        f = constant + factor * _dot(in_D, other_OD[o])
        for d in range(n_dim):
            out_D[d] += f * other_OD[o, d]
        squares += f * f
        r += 1
    return squares


@compiled()
def _solve_row(
    x_D: Floats, other_OD: Floats, gram_DD: Floats, partners_R: Indices, start: int, end: int,
    penalty: np.float32, unobserved: np.float32, steps: int, rest_D: Floats, way_D: Floats, image_D: Floats,
) -> float:  # fmt: skip
    """Conjugate gradients on one row's equations. The last three arrays are scratch. Returns the loss before."""
    n_dim = len(x_D)
    _times_gram(image_D, gram_DD, x_D, unobserved, penalty)
    loss = np.float64(_dot(x_D, image_D))
    for d in range(n_dim):
        rest_D[d] = -image_D[d]
    loss += _add_partners(rest_D, x_D, other_OD, partners_R, start, end, np.float32(1), np.float32(-1))
    for d in range(n_dim):
        way_D[d] = rest_D[d]
    left = _dot(rest_D, rest_D)
    enough = max(SMALL * left, np.float32(1e-30))  # a residual of zero cannot be divided by
    for _ in range(steps):
        if left <= enough:  # NaN goes on, to be noticed
            break
        _times_gram(image_D, gram_DD, way_D, unobserved, penalty)
        _add_partners(image_D, way_D, other_OD, partners_R, start, end, np.float32(0), np.float32(1))
        length = left / _dot(way_D, image_D)
        for d in range(n_dim):
            x_D[d] += length * way_D[d]
            rest_D[d] -= length * image_D[d]
        before, left = left, _dot(rest_D, rest_D)
        turn = left / before
        for d in range(n_dim):
            way_D[d] = rest_D[d] + turn * way_D[d]
    return loss


@compiled(parallel=True)
def _solve(
    side_ND: Floats, other_OD: Floats, gram_DD: Floats, offsets_N1: Ints, partners_R: Indices, bounds_B1: Ints,
    penalty_N: Floats, unobserved: np.float32, steps: int,
) -> Sums:  # fmt: skip
    """All rows, a block at a time. Returns each block's loss before, [B]."""
    n_blocks, n_dim = len(bounds_B1) - 1, side_ND.shape[1]
    loss_B = np.zeros(n_blocks)
    for block in prange(n_blocks):
        scratch_3D = np.empty((3, n_dim), dtype=np.float32)
        for n in range(bounds_B1[block], bounds_B1[block + 1]):
            if offsets_N1[n] == offsets_N1[n + 1]:
                side_ND[n] = np.float32(0)
                continue
            loss_B[block] += _solve_row(
                side_ND[n], other_OD, gram_DD, partners_R, offsets_N1[n], offsets_N1[n + 1], penalty_N[n],
                unobserved, steps, scratch_3D[0], scratch_3D[1], scratch_3D[2],
            )  # fmt: skip
    return loss_B
