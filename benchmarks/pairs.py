"""Quality and speed of every pair model on a file of pairs, beside peers that run in the same command.

`python -m benchmarks pairs --data=FILE.parquet [--judge=full]` (columns user_id and item_id; how rows are held out is
said in `_split.py`). Every model runs in a process of its own, with its defaults: fitted with the validation rows, then
fitted anew with what was chosen on all rows but the test's. Training seconds are of both, without compilation. Peers
get those rows and good settings, so they pay for no search.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._split import MODES, write_split
from benchmarks._workers import Figures, Ours, peer_python, run_ours, run_peer
from models.registry import MODELS

EXCLUDED = {"markov", "mind", "youtube_dnn", "sasrec", "gru4rec", "caser"}
"""Models of sequences, which have nothing to go by here."""
ALSO = {"candidates": [Ours("neumf", fields={"pretrain": True})], "full": [Ours("ials", fields={"dim": 128})]}
"""Beside the defaults."""
PEERS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "candidates": {
        "ALS, implicit": ("als", {"factors": 64, "regularization": 60, "alpha": 10, "iterations": 15}),
        "BPR, implicit": ("bpr", {"factors": 64, "learning_rate": 0.05, "regularization": 0.02, "iterations": 100}),
        "EASE, numpy": ("ease", {"l2": 1000}),
    },
    "full": {
        "ALS, implicit": ("als", {"factors": 64, "regularization": 0.01, "alpha": 20, "iterations": 15}),
        "ALS 128, implicit": ("als", {"factors": 128, "regularization": 0.1, "alpha": 10, "iterations": 15}),
    },
}
"""The best settings for each among those tried."""
RACES = {
    "bpr_mf": (Ours("bpr_mf", {"epochs": 20}, validate=False), "BPR, implicit"),
    "ials": (
        Ours("ials", fields={"iterations": 15, "unobserved": 0.1, "l2": 0.01}, validate=False),
        "ALS, implicit",
    ),
}
"""Ours and the peer that it is timed against, both with 64 factors."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pairs", description=__doc__)
    parser.add_argument("--data", type=Path, help="Parquet file with the columns user_id and item_id")
    parser.add_argument("--judge", choices=list(MODES), default="candidates", help="how held-out rows are ranked")
    parser.add_argument("--models", help="only these, by commas; all pair models if left out")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing against a peer; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    if options.data is None:
        print("pairs: left out; it needs --data=FILE.parquet", file=sys.stderr)
        return
    names = options.models.split(",") if options.models else [name for name in MODELS if name not in EXCLUDED]
    console, mode = Console(width=140), options.judge
    with tempfile.TemporaryDirectory(prefix="encore-pairs-") as folder:
        path = Path(folder) / "split.npz"
        write_split(options.data, path, mode, options.seed)
        columns = ("model", *MODES[mode], "training s", "M samples/s", "peak MB", "chosen")
        table = Table(title=f"{options.data.stem}, judged by {mode}")
        for column in columns:
            table.add_column(column, justify="left" if column in ("model", "chosen") else "right")
        for ours in [Ours(name) for name in names] + [also for also in ALSO[mode] if also.name in names]:
            _add(table, " ".join([ours.name, *(f"{k}={v}" for k, v in ours.fields.items())]), run_ours(path, ours))
        peer = peer_python()
        for label, (method, settings) in PEERS[mode].items() if peer else ():
            assert peer
            _add(table, label, run_peer(peer, path, method, **settings))
        console.print(table)
        races = [name for name in names if name in RACES]
        if peer and options.repeats and races:
            console.print(_race(peer, path, mode, races, options.repeats))


def _add(table: Table, label: str, figures: Figures) -> None:
    if "failed" in figures:
        table.add_row(label, "", "", "", "", "", f"failed: {figures['failed']}")
        return
    rate = f"{figures['rate'] / 1e6:.2f}" if figures["rate"] else ""
    chosen = ", ".join(f"{key} {value}" for key, value in figures.get("chosen", {}).items())
    measured = f"{figures['first']:.4f}", f"{figures['second']:.4f}", f"{figures['seconds']:.1f}"
    table.add_row(label, *measured, rate, f"{figures['peak_mb']:.0f}", chosen)


def _race(python: Path, path: Path, mode: str, names: list[str], repeats: int) -> Table:
    """Ours and the peer's in turn, one BLAS thread each; the medians and their ratio."""
    table = Table(
        title=f"whole fits with 64 factors, in turn, medians of {repeats}; M samples/s (ALS: rows · iterations)"
    )
    quality = MODES[mode][0]
    for column in ("ours", "peer", "ours/s", "peer/s", "ratio", f"ours {quality}", f"peer {quality}"):
        table.add_column(column, justify="left" if column in ("ours", "peer") else "right")
    for name in names:
        ours, label = RACES[name]
        if label not in PEERS[mode]:
            continue
        method, settings = PEERS[mode][label]
        pairs = [
            (run_ours(path, ours, blas_threads=1), run_peer(python, path, method, **settings)) for _ in range(repeats)
        ]
        if any("failed" in figures for pair in pairs for figures in pair):
            table.add_row(name, label, "failed")
            continue
        our_rate, peer_rate = (median(pair[side]["rate"] for pair in pairs) / 1e6 for side in (0, 1))
        ratio = median(pair[0]["rate"] / pair[1]["rate"] for pair in pairs)
        shown = (f"{pairs[0][side]['first']:.4f}" for side in (0, 1))
        table.add_row(name, label, f"{our_rate:.2f}", f"{peer_rate:.2f}", f"{ratio:.2f}", *shown)
    return table
