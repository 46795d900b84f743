"""How many verified negatives a second are drawn, beside the way before: numpy draws, a kernel looks up, and so on.

`python -m benchmarks samplers [--data=FILE.parquet,FILE.parquet] [--rows=100000000]` (columns user_id and item_id).
Rows are drawn for in random order, as in training, and by user. Samples count where they are returned, not those that
were drawn again. The best of some repeats, at one thread and at all of them.

U users, I items, R rows, B rows in a batch
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from numba import prange
from rich.console import Console
from rich.table import Table

from models.base import Ragged
from models.compiled import compiled, holds
from models.fitting.samplers import (
    AliasTable,
    SeenItems,
    popularity_table,
    stream,
    table_negatives,
    uniform_negatives,
)

Ints = npt.NDArray[np.int64]

MAX_SAMPLES = 4_000_000
"""Of one timing."""
EXPONENTS = {"uniform": None, "popularity^.75": 0.75, "popularity": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks samplers", description=__doc__)
    parser.add_argument("--data", default="", help="Parquet files with the columns user_id and item_id, by commas")
    parser.add_argument("--rows", type=int, default=100_000_000, help="made ones, of 200 thousand items; 0: none")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    table = Table(title="verified negatives a second, a row each")
    for column in ("data", "sampler", "rows", "threads", "M samples/s", "by numpy", "ratio", "seconds"):
        table.add_column(column, justify="left" if len(table.columns) < 3 else "right")
    for path in filter(None, given.data.split(",")):
        measure(table, Path(path).stem, *read(Path(path)), given.repeats)
    if given.rows:
        measure(table, "made", zipf(given.rows // 100, 200_000, given.rows), 200_000, given.repeats)
    Console(width=140).print(table)


def read(path: Path) -> tuple[Ragged, int]:
    pairs = pq.read_table(path, columns=["user_id", "item_id"])
    users_R, items_R = (np.unique(pairs[name].to_numpy(), return_inverse=True)[1] for name in pairs.column_names)
    return Ragged.from_pairs(users_R, items_R, int(users_R.max()) + 1), int(items_R.max()) + 1


def zipf(n_users: int, n_items: int, n_rows: int) -> Ragged:
    """Lists of log-normal lengths, of items by about Zipf's law; their catalogue is in no order."""
    rng = stream(0, "samplers", "zipf")
    share_U = rng.lognormal(sigma=1, size=n_users)
    ends_U = np.floor(np.cumsum(share_U) / share_U.sum() * n_rows).astype(np.int64)
    rank_R = (np.float32(n_items) ** rng.random(n_rows, dtype=np.float32)).astype(np.int32) - 1
    items_R = rng.permutation(n_items).astype(np.int32)[rank_R]
    return Ragged(np.concatenate([[0], ends_U]), items_R[: ends_U[-1]])


def measure(table: Table, name: str, histories: Ragged, n_items: int, repeats: int) -> None:
    seen, n_threads = SeenItems(histories, n_items), numba.get_num_threads()
    n_rows = len(seen.sets.items_R)
    start = time.perf_counter()
    filter_bytes = (seen.filtered.filter_W.nbytes + seen.filtered.words_U1.nbytes) / n_rows
    seconds = time.perf_counter() - start
    list_bytes = (seen.sets.items_R.nbytes + seen.sets.offsets_U1.nbytes) / n_rows
    rng = stream(0, "samplers", "rows")
    shuffled_B = seen.sets.users_R[rng.permutation(n_rows)[:MAX_SAMPLES]].astype(np.int64)
    shuffled_B = shuffled_B[~seen.saw_all_U[shuffled_B]]
    label = (
        f"{name}: {len(seen.sets):,} users, {n_items:,} items, {n_rows:,} pairs;\n"
        f"lists {list_bytes:.2f} bytes a pair, filter {filter_bytes:.2f}, made in {seconds:.2f} s"
    )
    for sampler, exponent in EXPONENTS.items():
        weights = None if exponent is None else popularity_table(seen.sets.items_R, n_items, exponent)
        for order, users_B in (("shuffled", shuffled_B), ("by user", np.sort(shuffled_B))):
            for threads in sorted({1, n_threads}):
                numba.set_num_threads(threads)
                ours = best(partial(draw, users_B, seen, weights), repeats)
                theirs = best(partial(by_numpy, users_B, seen, weights), repeats)
                rates = [len(users_B) / 1e6 / spent for spent in (ours, theirs)]
                figures = f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{rates[0] / rates[1]:.1f}", f"{ours:.3f}"
                table.add_row(label, sampler, order, str(threads), *figures)
                print(name, sampler, order, threads, *figures, file=sys.stderr, flush=True)
                label = ""
    numba.set_num_threads(n_threads)
    table.add_section()


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest run after one that compiles."""
    run()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return min(spent)


def draw(users_B: Ints, seen: SeenItems, weights: AliasTable | None) -> Ints:
    rng = stream(0, "samplers", "draws")
    if weights is None:
        return uniform_negatives(users_B, seen, seen.n_items, rng)
    return table_negatives(users_B, seen, weights, rng)


def by_numpy(users_B: Ints, seen: SeenItems, weights: AliasTable | None) -> Ints:
    """Draws for all rows, and again for those who got what they have seen, until there are none."""
    rng = stream(0, "samplers", "draws")

    def some(size: int) -> Ints:
        return rng.integers(seen.n_items, size=size) if weights is None else weights.draw(size, rng)

    draw_B, bad_B = some(len(users_B)), np.arange(len(users_B))
    while len(bad_B := bad_B[_contains(seen.sets.offsets_U1, seen.sets.items_R, users_B[bad_B], draw_B[bad_B])]):
        draw_B[bad_B] = some(len(bad_B))
    return draw_B


@compiled(parallel=True)
def _contains(offsets_U1: Ints, items_R: npt.NDArray[np.int32], users_B: Ints, items_B: Ints) -> npt.NDArray[np.bool_]:
    found_B = np.empty(len(users_B), dtype=np.bool_)
    for b in prange(len(users_B)):
        found_B[b] = holds(items_R, offsets_U1[users_B[b]], offsets_U1[users_B[b] + 1], items_B[b])
    return found_B
