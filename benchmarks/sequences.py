"""Quality and speed of every sequence model on a log with timestamps, beside peers that run in the same command.

`python -m benchmarks sequences --data=FILE.parquet` (columns user_id, item_id and timestamp): each user's last item is
the test row and the one before it the validation row, ranked among all items that the user had not before; ties in time
by the order in the file; users of fewer than three rows are only fitted. Every model runs in a process of its own, with
its defaults: fitted with the validation rows, then fitted anew for the chosen epochs on all rows but the test's.
Training seconds are of both, without compilation; targets/s are of the last one, whole, its preparation included. A
target is a row that has one of its user before it. Peers get those rows and fixed epochs, so they pay for no search,
and their preparation is not timed.
"""

import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from rich.console import Console

from benchmarks._split import MODES, write_split
from benchmarks._tables import THOUSANDS, Race, add_model, models_table, options, races_table
from benchmarks._workers import Figures, Ours, Peer, peer_python, run_ours, run_peer
from models.registry import MODELS

SHOWN = ("popularity", "item_knn", "markov", "ease", "gru4rec", "sasrec", "caser", "mind", "youtube_dnn")
"""Models of sequences, and what they have to beat."""
GRU4REC = {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.3}
SASREC = {
    "hidden_size": 64, "inner_size": 128, "n_layers": 2, "n_heads": 2, "hidden_dropout_prob": 0.3,
    "attn_dropout_prob": 0.3,
}  # fmt: skip
CASER = {"embedding_size": 64, "nh": 16, "nv": 4, "dropout_prob": 0.5}
LATEST_50 = {"MAX_ITEM_LIST_LENGTH": 50}
LONG = {**LATEST_50, "epochs": 15, "train_batch_size": 512}
PEERS = {
    "GRU4Rec, RecBole": Peer("run_recbole", "GRU4Rec", {**GRU4REC, **LONG, "learning_rate": 0.002}),
    "SASRec, RecBole": Peer("run_recbole", "SASRec", {**SASREC, **LONG, "learning_rate": 0.001}),
}
"""With the softmax over all items, RecBole's own default. Not searched for: one epoch takes minutes."""
ONCE = {"epochs": 1, "batch_size": 2048}
ALL = {"dim": 64, "loss": "softmax"}
"""What RecBole's loss is."""
RECHUB = {"dim": 64, "length": 20, "negatives": 20, "epochs": 1, "batch_size": 2048}
FEW: dict[str, Any] = {"sampling": {"negatives": 20, "shared": False}, "validate": False}
"""torch-rechub compares each row with draws of its own, made before its clock starts; ours draws within the fit."""
WITH_USER = {"dim": 64, "history_length": 20, "features": ["user_id"], "loss": "sampled_softmax"}
"""torch-rechub's MIND cannot do without a vector of the user."""
QUARTER = "targets, its of each 4th user"
"""RecBole pads every row to the full length: whole epochs take minutes."""
RACES = {
    "gru4rec": Race(
        Ours("gru4rec", ONCE, {**ALL, "width": 128, "layers": 1, "history_length": 50}, validate=False),
        Peer("run_recbole", "GRU4Rec", {**GRU4REC, **LATEST_50, "epochs": 1, "train_batch_size": 2048, "every": 4}),
        QUARTER,
    ),
    "sasrec": Race(
        Ours("sasrec", ONCE, {**ALL, "width": 128, "blocks": 2, "heads": 2, "history_length": 50}, validate=False),
        Peer("run_recbole", "SASRec", {**SASREC, **LATEST_50, "epochs": 1, "train_batch_size": 2048, "every": 4}),
        QUARTER,
    ),
    "caser": Race(
        Ours("caser", ONCE, {**ALL, "horizontal": 16, "vertical": 4, "history_length": 8}, validate=False),
        Peer("run_recbole", "Caser", {**CASER, "MAX_ITEM_LIST_LENGTH": 8, "epochs": 1, "train_batch_size": 2048}),
        "targets",
    ),
    "mind": Race(
        Ours("mind", ONCE, {**WITH_USER, "interests": 4}, **FEW),
        Peer("run_rechub", "MIND", {**RECHUB, "interests": 4}),
        "targets",
    ),
    "youtube_dnn": Race(
        Ours("youtube_dnn", ONCE, {**WITH_USER, "tower": [128, 64]}, **FEW),
        Peer("run_rechub", "YoutubeDNN", {**RECHUB, "tower": [128, 64]}),
        "targets",
    ),
}


def main() -> None:
    parser = options("sequences", __doc__, "user_id, item_id and timestamp")
    parser.add_argument("--seeds", default="0", help="by commas; metrics are means over them, ± a standard deviation")
    given = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    if given.data is None:
        print("sequences: left out; it needs --data=FILE.parquet", file=sys.stderr)
        return
    names = given.models.split(",") if given.models else [name for name in SHOWN if name in MODELS]
    races = [RACES[name] for name in names if name in RACES] if given.repeats else []
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="encore-sequences-") as folder:
        path = Path(folder) / "split.npz"
        write_split(given.data, path, "next", seed=0)
        table = models_table(f"{given.data.stem}, each user's last item", MODES["next"], "targets", THOUSANDS)
        for name in names:
            add_model(table, name, _over_seeds(path, name, [int(seed) for seed in given.seeds.split(",")]), THOUSANDS)
        peer = peer_python() if given.peers or races else None
        for label, other in PEERS.items() if peer and given.peers else ():
            assert peer
            add_model(table, label, run_peer(peer, path, other), THOUSANDS)
        console.print(table)
        if peer and races:
            console.print(races_table(peer, path, races, given.repeats, THOUSANDS))


def _over_seeds(path: Path, name: str, seeds: list[int]) -> Figures:
    """The mean of each figure, and the standard deviation of the second metric over more than one seed.

    What has no rate draws nothing: it is fitted once."""
    runs: list[Figures] = []
    for seed in seeds:
        runs.append(run_ours(path, Ours(name, {"seed": seed})))
        if runs[-1].get("rate") is None:
            return runs[-1]
    chosen = {key: "/".join(str(run["chosen"].get(key)) for run in runs) for key in runs[0]["chosen"]}
    means = {key: mean(run[key] for run in runs) for key in ("first", "second", "seconds")}
    spread = {"spread": stdev(run["second"] for run in runs)} if len(runs) > 1 else {}
    rate, peak_mb = median(run["rate"] for run in runs), max(run["peak_mb"] for run in runs)
    return {**means, **spread, "rate": rate, "peak_mb": peak_mb, "chosen": chosen}
