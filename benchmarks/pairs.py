"""Quality and speed of every pair model on a file of pairs, beside peers that run in the same command.

`python -m benchmarks pairs --data=FILE.parquet [--judge=full]` (columns user_id and item_id; how rows are held out is
said in `_split.py`). Every model runs in a process of its own, with its defaults: fitted with the validation rows, then
fitted anew with what was chosen on all rows but the test's. Training seconds are of both, without compilation. Peers
get those rows and good settings, so they pay for no search.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks._split import MODES, write_split
from benchmarks._tables import MILLIONS, Race, add_model, describe, models_table, options, races_table
from benchmarks._workers import Ours, Peer, peer_python, run_ours, run_peer
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
    parser = options("pairs", __doc__, "user_id and item_id")
    parser.add_argument("--judge", choices=list(PEERS), default="candidates", help="how held-out rows are ranked")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    if given.data is None:
        print("pairs: left out; it needs --data=FILE.parquet", file=sys.stderr)
        return
    names = given.models.split(",") if given.models else [name for name in MODELS if name not in EXCLUDED]
    console, mode = Console(width=140), given.judge
    with tempfile.TemporaryDirectory(prefix="encore-pairs-") as folder:
        path = Path(folder) / "split.npz"
        write_split(given.data, path, mode, given.seed)
        table = models_table(f"{given.data.stem}, judged by {mode}", MODES[mode], "samples", MILLIONS)
        for ours in [Ours(name) for name in names] + [also for also in ALSO[mode] if also.name in names]:
            add_model(table, describe(ours), run_ours(path, ours), MILLIONS)
        peer = peer_python()
        for label, other in PEERS[mode].items() if peer and given.peers else ():
            assert peer
            add_model(table, label, run_peer(peer, path, other), MILLIONS)
        console.print(table)
        races = [RACES[name] for name in names if name in RACES]
        if peer and given.repeats and races and mode == "candidates":
            console.print(races_table(peer, path, races, given.repeats, MILLIONS))
