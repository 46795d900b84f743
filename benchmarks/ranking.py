"""Users ranked a second: each one's best k of all items that they have not seen, beside faiss and implicit.

`python -m benchmarks ranking [--data=FILE.parquet] [--rounds=3]` (columns user_id and item_id, whose pairs are what the
users have seen; without it, made ones of Gowalla's sizes). Vectors are random. Every run is a process of its own on all
cores; the runs of a round follow each other, rounds repeat, and the medians are shown: users a second, users a second
of one core's work (which a busy machine spoils less), and the first over ours in the same round. Lists of some users
are compared with slow exact ones, in float64: `wrong` counts those which differ by more than ties within rounding.

- ours: `recommend` of a fitted factor model, as in a night.
- our product: the model's scores alone, in the same blocks; numpy's: the same by `@`. The most that a ranking can do.
- faiss: IndexFlatIP asked for k and as many as a user has seen, users of like histories together, then filtered.
- implicit: its own top-k of what was not liked.

U users, I items, D vector length, K places, R seen items of all users in one array
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks._workers import PEERS, Figures, peer_python, run_worker
from models.base import Ragged
from models.fitting.samplers import stream

OURS = ("ours", "our product", "numpy's product")
THEIRS = ("faiss", "implicit")
CHECKED = 200
"""Users whose lists are compared with exact ones."""
ROUNDING = 1e-4
"""Scores that differ by less may be in either order: they are sums of 64 products of about 1."""


@dataclass(frozen=True)
class Shape:
    """What is ranked."""

    n_users: int
    n_items: int
    k: int
    n_seen: int
    dim: int = 64


GOWALLA = Shape(29_858, 40_981, 20, 810_128)
SHAPES = [GOWALLA, Shape(29_858, 40_981, 100, 810_128), Shape(2_000, 1_000_000, 20, 60_000)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ranking", description=__doc__)
    parser.add_argument("--data", type=Path, help="Parquet file with the columns user_id and item_id")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="ours and the products alone")
    given = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    peer = peer_python() if given.peers else None
    table = Table(title=f"users ranked a second, medians of {given.rounds} rounds")
    for column in ("ranked", "by", "k users/s", "a core", "of ours", "peak MB", "wrong"):
        table.add_column(column, justify="left" if len(table.columns) < 2 else "right")
    with tempfile.TemporaryDirectory(prefix="encore-ranking-") as folder:
        for shape in SHAPES:
            path = Path(folder) / "vectors.npz"
            seen = of_file(given.data) if given.data and shape.n_items == GOWALLA.n_items else made(shape)
            n_items = max(shape.n_items, int(seen.items_R.max()) + 1)
            write(path, seen, n_items, shape)
            rounds = [one_round(path, peer) for _ in range(given.rounds)]
            label = f"{len(seen):,} users, {n_items:,} items,\n{shape.dim} factors, best {shape.k}"
            add_rows(table, label, rounds)
    Console(width=120).print(table)


def of_file(path: Path) -> Ragged:
    pairs = pq.read_table(path, columns=["user_id", "item_id"])
    users_R, items_R = (np.unique(pairs[name].to_numpy(), return_inverse=True)[1] for name in pairs.column_names)
    return Ragged.from_pairs(users_R, items_R, int(users_R.max()) + 1).as_sets()


def made(shape: Shape) -> Ragged:
    """Lists of log-normal lengths, of items by about Zipf's law."""
    rng = stream(0, "ranking", "seen")
    share_U = rng.lognormal(sigma=1, size=shape.n_users)
    users_R = np.repeat(np.arange(shape.n_users), np.floor(share_U / share_U.sum() * shape.n_seen).astype(np.int64))
    items_R = (shape.n_items ** rng.random(len(users_R))).astype(np.int64) - 1
    return Ragged.from_pairs(users_R, items_R, shape.n_users).as_sets()


def write(path: Path, seen: Ragged, n_items: int, shape: Shape) -> None:
    rng = stream(0, "ranking", "vectors")
    user_UD, item_ID = (rng.standard_normal((n, shape.dim), dtype=np.float32) for n in (len(seen), n_items))
    np.savez(path, user_UD=user_UD, item_ID=item_ID, offsets_U1=seen.offsets_U1, items_R=seen.items_R, k=shape.k)


def one_round(path: Path, peer: Path | None) -> dict[str, Figures]:
    """Everybody's users a second and peak MB, and how many of the lists that are checked are wrong."""
    figures = {}
    for name in (*OURS, *(THEIRS if peer else ())):
        lists = path.with_suffix(".npy")
        lists.unlink(missing_ok=True)
        where = ["-m", "benchmarks._ranking"] if name in OURS else [str(PEERS / "run_ranking.py")]
        python = sys.executable if name in OURS else str(peer)
        blas_threads = 1 if name == "implicit" else 0  # implicit's own threads call it
        figures[name] = run_worker([python, *where, str(path), name, str(lists)], blas_threads)
        if lists.exists():
            figures[name]["wrong"] = wrong(np.load(path), np.load(lists))
        print(name, json.dumps(figures[name]), file=sys.stderr, flush=True)
    return figures


def wrong(given: Any, items_UK: npt.NDArray[np.int32]) -> int:
    """How many of the first users' lists are not the best unseen items in float64, but for ties within rounding."""
    count = 0
    for user in range(min(CHECKED, len(items_UK))):
        score_I = given["item_ID"].astype(np.float64) @ given["user_UD"][user]
        score_I[given["items_R"][given["offsets_U1"][user] : given["offsets_U1"][user + 1]]] = -np.inf
        best_K = -np.sort(-score_I)[: items_UK.shape[1]]
        items_K = items_UK[user]
        count += len(np.unique(items_K)) < len(items_K) or bool(np.abs(score_I[items_K] - best_K).max() > ROUNDING)
    return count


def add_rows(table: Table, label: str, rounds: list[dict[str, Figures]]) -> None:
    for name in rounds[0]:
        runs = [(figures["ours"], figures[name]) for figures in rounds]
        if any("failed" in one for pair in runs for one in pair):
            table.add_row(label, name, "failed")
        else:
            rate, core_rate = (median(one[key] for _, one in runs) / 1e3 for key in ("rate", "core_rate"))
            ratio = median(one["rate"] / ours["rate"] for ours, one in runs)
            peak = median(one["peak_mb"] for _, one in runs)
            differ = str(max(one["wrong"] for _, one in runs)) if "wrong" in runs[0][1] else ""
            table.add_row(label, name, f"{rate:.1f}", f"{core_rate:.1f}", f"{ratio:.2f}", f"{peak:.0f}", differ)
        label = ""
    table.add_section()
