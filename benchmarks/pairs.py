"""Quality and speed of every pair model on a file of pairs, beside peers that run in the same command.

`python -m benchmarks pairs --data=FILE.parquet [--judge=full]` (columns user_id and item_id; how rows are held out is
said in `_split.py`). Every model runs in a process of its own, with its defaults: fitted with the validation rows, then
fitted anew with what was chosen on all rows but the test's. Training seconds are of both, without compilation. Peers
get those rows and good settings, so they pay for no search.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks._split import MODES, write_split
from benchmarks._workers import Figures, Ours, Peer, peer_python, run_ours, run_peer
from models.registry import MODELS

EXCLUDED = {"markov", "mind", "youtube_dnn", "sasrec", "gru4rec", "caser"}
"""Models of sequences, which have nothing to go by here."""
ALSO = {"candidates": [Ours("neumf", fields={"pretrain": True})], "full": [Ours("ials", fields={"dim": 128})]}
"""Beside the defaults."""
RECBOLE = {"mf_embedding_size": 64, "mlp_embedding_size": 64, "mlp_hidden_size": [128, 64], "dropout_prob": 0.1}
PEERS: dict[str, dict[str, Peer]] = {
    "candidates": {
        "ALS, implicit": Peer(
            "run_implicit", "als", {"factors": 64, "regularization": 60, "alpha": 10, "iterations": 15}
        ),
        "BPR, implicit": Peer(
            "run_implicit", "bpr", {"factors": 64, "learning_rate": 0.05, "regularization": 0.02, "iterations": 100}
        ),
        "EASE, numpy": Peer("run_implicit", "ease", {"l2": 1000}),
        "NeuMF, RecBole": Peer("run_recbole", "NeuMF", {**RECBOLE, "epochs": 9, "train_batch_size": 2048}),
    },
    "full": {
        "ALS, implicit": Peer(
            "run_implicit", "als", {"factors": 64, "regularization": 0.01, "alpha": 20, "iterations": 15}
        ),
        "ALS 128, implicit": Peer(
            "run_implicit", "als", {"factors": 128, "regularization": 0.1, "alpha": 10, "iterations": 15}
        ),
    },
}
"""The best settings for each among those tried."""


@dataclass(frozen=True)
class Race:
    """Ours and the peer that it is timed against, at the same sizes."""

    ours: Ours
    peer: Peer
    unit: str
    per_sample: int = 1
    """What one of our samples is in that unit."""


RACES = {
    "bpr_mf": Race(Ours("bpr_mf", {"epochs": 20}, validate=False), PEERS["candidates"]["BPR, implicit"], "samples"),
    "ials": Race(
        Ours("ials", fields={"iterations": 15, "unobserved": 0.1, "l2": 0.01}, validate=False),
        PEERS["candidates"]["ALS, implicit"],
        "rows · iterations",
    ),
    "neumf": Race(
        Ours("neumf", {"epochs": 3}, {"tower": [128, 128, 64], "dropout": 0.1}, {"negatives": 1}, validate=False),
        Peer("run_recbole", "NeuMF", {**RECBOLE, "epochs": 1, "train_batch_size": 2048}),
        "rows, a negative is one too",
        per_sample=2,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pairs", description=__doc__)
    parser.add_argument("--data", type=Path, help="Parquet file with the columns user_id and item_id")
    parser.add_argument("--judge", choices=list(MODES), default="candidates", help="how held-out rows are ranked")
    parser.add_argument("--models", help="only these, by commas; all pair models if left out")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing against a peer; 0: none")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave the peers' own rows out")
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
        for label, other in PEERS[mode].items() if peer and options.peers else ():
            assert peer
            _add(table, label, run_peer(peer, path, other))
        console.print(table)
        races = [name for name in names if name in RACES]
        if peer and options.repeats and races and mode == "candidates":
            console.print(_race(peer, path, races, options.repeats))


def _add(table: Table, label: str, figures: Figures) -> None:
    if "failed" in figures:
        table.add_row(label, "", "", "", "", "", f"failed: {figures['failed']}")
        return
    rate = f"{figures['rate'] / 1e6:.2f}" if figures["rate"] else ""
    chosen = ", ".join(f"{key} {value}" for key, value in figures.get("chosen", {}).items())
    measured = f"{figures['first']:.4f}", f"{figures['second']:.4f}", f"{figures['seconds']:.1f}"
    table.add_row(label, *measured, rate, f"{figures['peak_mb']:.0f}", chosen)


def _race(python: Path, path: Path, names: list[str], repeats: int) -> Table:
    """Ours and the peer's in turn, whole fits; the medians and the median of their ratios."""
    table = Table(title=f"ours and theirs in turn at the same sizes, medians of {repeats}")
    for column in ("ours", "peer", "M a second of", "ours", "peer", "ratio"):
        table.add_column(column, justify="right" if len(table.columns) > 2 else "left")
    for name in names:
        race = RACES[name]
        pairs = [
            (run_ours(path, race.ours, race.peer.blas_threads), run_peer(python, path, race.peer))
            for _ in range(repeats)
        ]
        label = f"{race.peer.method}, {race.peer.script.removeprefix('run_')}"
        if any("failed" in figures for pair in pairs for figures in pair):
            table.add_row(name, label, "failed")
            continue
        rates = [(ours["rate"] * race.per_sample / 1e6, theirs["rate"] / 1e6) for ours, theirs in pairs]
        ratio = median(ours / theirs for ours, theirs in rates)
        our_rate, peer_rate = (median(pair[side] for pair in rates) for side in (0, 1))
        table.add_row(name, label, race.unit, f"{our_rate:.2f}", f"{peer_rate:.2f}", f"{ratio:.2f}")
    return table
