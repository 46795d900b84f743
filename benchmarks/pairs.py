"""Quality and speed of every pair model on a file of pairs, beside peers that run in the same command.

`python -m benchmarks pairs --data=FILE.parquet` (columns user_id and item_id). Of each user with three rows or more
one random row is held out for the test, one for validation, each beside 99 items that the user has in no row. Every
model runs in a process of its own, with its defaults: fitted with the validation rows, then fitted anew with what was
chosen on all rows but the test's. Training seconds are of both, without compilation. Peers get those rows and good
settings, so they pay for no search.

U users, N candidates, R rows
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from models.base import FitSession, IntArray, Query, Ragged, Recommender, TrainingData
from models.config import TrainerConfig
from models.fitting.samplers import SeenItems, stream, uniform_negatives
from models.registry import MODELS, build, make_config

EXCLUDED = {"markov", "mind", "youtube_dnn", "sasrec", "gru4rec", "caser", "blend"}
"""Models of sequences, which have nothing to go by here, and of other models."""
N_NEGATIVES = 99
ITERATIONS = {"als": 15, "bpr": 100, "ease": 1}
RACES = {
    "bpr_mf": ("bpr", {"epochs": 20}, {}),
    "ials": ("als", {}, {"iterations": 15, "unobserved": 0.1, "l2": 0.01}),
}
"""Ours: the peer's method that it is timed against, trainer fields and model fields. Both with 64 factors."""

PEERS = Path(__file__).parent / "peers"
PEER_ENVIRONMENT = Path(__file__).parent.parent / ".venv-peers"

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pairs", description=__doc__)
    parser.add_argument("--data", type=Path, help="Parquet file with the columns user_id and item_id")
    parser.add_argument("--models", help="only these, by commas; all pair models if left out")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing against a peer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args([word for word in sys.argv[1:] if word.startswith("-")])
    if options.data is None:
        print("pairs: left out; it needs --data=FILE.parquet", file=sys.stderr)
        return
    names = options.models.split(",") if options.models else [name for name in MODELS if name not in EXCLUDED]
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="encore-pairs-") as folder:
        path = Path(folder) / "split.npz"
        write_split(options.data, path, options.seed)
        table = Table(title=f"{options.data.stem}: one held-out row a user among {N_NEGATIVES} unseen items")
        for column in ("model", "HR@10", "NDCG@10", "training s", "M samples/s", "peak MB", "chosen"):
            table.add_column(column, justify="left" if column in ("model", "chosen") else "right")
        for name in names:
            _add(table, name, _run_ours(path, name, {}, {}, validate=True))
        peer = peer_python()
        if peer:
            for method in ITERATIONS:
                label = "EASE, numpy" if method == "ease" else f"{method.upper()}, implicit"
                _add(table, label, _run_peer(peer, path, method))
        console.print(table)
        if peer:
            console.print(_race(peer, path, [name for name in names if name in RACES], options.repeats))


def write_split(data: Path, path: Path, seed: int) -> None:
    """Deals the file's pairs into rows to fit, validation rows and test rows with candidates; the first is the test's.

    A pair that occurs twice counts once: its second row must not tell the test."""
    pairs = pq.read_table(data, columns=["user_id", "item_id"]).group_by(["user_id", "item_id"]).aggregate([])
    users_R, items_R = (
        pc.rank(pairs[name], tiebreaker="dense").to_numpy().astype(np.int64) - 1 for name in ("user_id", "item_id")
    )
    n_users, n_items = int(users_R.max()) + 1, int(items_R.max()) + 1
    # Sorted first, so that the order in the file plays no part; then in a random order within each user.
    order_R = np.lexsort((items_R, users_R))
    order_R = order_R[stream(seed, "pairs", "order").permutation(len(order_R))]
    every = Ragged.from_pairs(users_R[order_R], items_R[order_R], n_users)
    users_U = np.flatnonzero(every.lengths_U >= 3)
    known, fitted = _without(every, users_U), _without(_without(every, users_U), users_U)
    test_U = every.items_R[every.offsets_U1[users_U + 1] - 1]
    valid_U = known.items_R[known.offsets_U1[users_U + 1] - 1]
    seen = SeenItems(every, n_items)

    def among_unseen(items_U: IntArray, purpose: str) -> IntArray:
        """[U, N] these items, each followed by items that the user has in no row at all."""
        rng = stream(seed, "pairs", purpose)
        draw = uniform_negatives(np.repeat(users_U, N_NEGATIVES), seen, n_items, rng)
        return np.concatenate([items_U[:, None], draw.reshape(len(users_U), N_NEGATIVES)], axis=1, dtype=np.int64)

    np.savez(
        path, n_items=n_items, users_U=users_U,
        valid_candidates_UN=among_unseen(valid_U, "valid"), candidates_UN=among_unseen(test_U, "test"),
        known_offsets_U1=known.offsets_U1, known_items_R=known.items_R,
        fitted_offsets_U1=fitted.offsets_U1, fitted_items_R=fitted.items_R,
    )  # fmt: skip


def peer_python() -> Path | None:
    """The Python of the peers' environment, which is made at first use; None, with a word why, where it cannot be."""
    python, done = PEER_ENVIRONMENT / "bin" / "python", PEER_ENVIRONMENT / "complete"
    if done.exists():
        return python
    print(f"setting up {PEER_ENVIRONMENT.name} for the peers", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(PEER_ENVIRONMENT)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(PEERS / "requirements.txt")], check=True)
    except subprocess.CalledProcessError as error:
        print(f"no peers: they could not be installed ({error}); going on with ours alone", file=sys.stderr)
        return None
    done.touch()
    return python


def fit_ours(
    path: Path, name: str, trainer: dict[str, Any], fields: dict[str, Any], validate: bool
) -> tuple[Recommender, FitSession, float, float]:
    """Fits by the split's validation rows where `validate`, and always on all known rows.

    Returns the last model, its session, the seconds of both fits, and those of the last one alone."""
    split = np.load(path)
    n_items = int(split["n_items"])
    known, fitted = (
        TrainingData(n_items, Ragged(split[f"{part}_offsets_U1"], split[f"{part}_items_R"]))
        for part in ("known", "fitted")
    )
    config, settings = make_config(name, **fields), TrainerConfig(**trainer)
    _compile(name, config)
    start = time.perf_counter()
    if validate:
        rows = fitted.histories, split["users_U"], split["valid_candidates_UN"]
        session = FitSession(settings, lambda model: judge(model, *rows))
        config = build(name, config, fitted).fit(fitted, session).config
        settings = settings.model_copy(update={"epochs": session.best_epoch or settings.epochs})
    session, again = FitSession(settings), time.perf_counter()
    model = build(name, config, known).fit(known, session)
    end = time.perf_counter()
    return model, session, end - start, end - again


def judge(model: Recommender, histories: Ragged, users_U: IntArray, candidates_UN: IntArray) -> dict[str, float]:
    """HR@10 and NDCG@10 of the first candidate; another with an equal score counts as better."""
    place_U = np.empty(len(users_U), dtype=np.int64)
    for start in range(0, len(users_U), 500):
        block = slice(start, start + 500)
        score_UI = model.score(Query(users_U[block].astype(np.int64), histories.take(users_U[block]))).numpy()
        score_UN = np.take_along_axis(score_UI, candidates_UN[block], axis=1)
        place_U[block] = (score_UN[:, 1:] >= score_UN[:, :1]).sum(axis=1)
    gain_U = np.where(place_U < 10, 1 / np.log2(place_U + 2), 0)
    return {"hit_at_10": float((place_U < 10).mean()), "ndcg_at_10": float(gain_U.mean())}


def peak_mb() -> float:
    """Most memory that this process ever held. `getrusage` would count the process that started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _without(histories: Ragged, users_U: npt.NDArray[np.int64]) -> Ragged:
    """The lists, the last item of these users left out."""
    keep_R = np.ones(len(histories.items_R), dtype=bool)
    keep_R[histories.offsets_U1[users_U + 1] - 1] = False
    return Ragged.from_pairs(histories.users_R[keep_R], histories.items_R[keep_R], len(histories))


def _compile(name: str, config: Any) -> None:
    """A fit on a handful of rows, so that compiling is over before the clock starts."""
    users_R, items_R = np.divmod(np.arange(600), 20)
    few = TrainingData(40, Ragged.from_pairs(users_R, items_R * 2 % 39, 30))
    build(name, config, few).fit(few, FitSession(TrainerConfig(epochs=1))).score(Query(np.array([0]), few.histories))


def _worker() -> None:
    """`python -m benchmarks.pairs JSON`: one fit of ours, its figures as JSON on the last line."""
    task = json.loads(sys.argv[1])
    path = Path(task.pop("path"))
    model, session, seconds, last_seconds = fit_ours(path, **task)
    split = np.load(path)
    known = Ragged(split["known_offsets_U1"], split["known_items_R"])
    metrics = judge(model, known, split["users_U"], split["candidates_UN"])
    samples = sum(epoch.samples for epoch in session.history)
    chosen = model.config.model_dump(exclude_unset=True, exclude={"name"}) if task["validate"] else {}
    figures = {
        "hit": metrics["hit_at_10"], "ndcg": metrics["ndcg_at_10"], "seconds": seconds,
        "rate": samples / last_seconds if samples else None,
        "peak_mb": peak_mb(),
        "chosen": {key: value for key, value in chosen.items() if value is not None} | (
            {"epochs": session.trainer.epochs} if session.trainer.epochs and not chosen else {}
        ),
    }  # fmt: skip
    print(json.dumps(figures))


def _run_ours(
    path: Path, name: str, trainer: dict[str, Any], fields: dict[str, Any], validate: bool, blas_threads: int = 0
) -> Figures:
    task = {"path": str(path), "name": name, "trainer": trainer, "fields": fields, "validate": validate}
    return _run([sys.executable, "-m", "benchmarks.pairs", json.dumps(task)], blas_threads)


def _run_peer(python: Path, path: Path, method: str) -> Figures:
    # implicit's own threads call BLAS, so it asks for one thread there; EASE is BLAS.
    command = [str(python), str(PEERS / "run_implicit.py"), str(path), method, str(ITERATIONS[method])]
    return _run(command, 0 if method == "ease" else 1)


def _run(command: list[str], blas_threads: int) -> Figures:
    """Runs a worker on all cores, and BLAS on `blas_threads` of them (0: all). Returns its last line."""
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": cores, "NUMBA_NUM_THREADS": cores, "OPENBLAS_NUM_THREADS": blas_threads or cores}
    environment = {**os.environ, **{name: str(n) for name, n in threads.items()}}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"failed": f"exit status {done.returncode}"}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _add(table: Table, label: str, figures: Figures) -> None:
    if "failed" in figures:
        table.add_row(label, "", "", "", "", "", f"failed: {figures['failed']}")
        return
    rate = f"{figures['rate'] / 1e6:.2f}" if figures["rate"] else ""
    chosen = ", ".join(f"{key} {value}" for key, value in figures.get("chosen", {}).items())
    measured = f"{figures['hit']:.4f}", f"{figures['ndcg']:.4f}", f"{figures['seconds']:.1f}"
    table.add_row(label, *measured, rate, f"{figures['peak_mb']:.0f}", chosen)


def _race(python: Path, path: Path, names: list[str], repeats: int) -> Table:
    """Ours and the peer's in turn, one BLAS thread each; the medians and their ratio."""
    table = Table(
        title=f"whole fits with 64 factors, in turn, medians of {repeats}; M samples/s (ALS: rows · iterations)"
    )
    for column in ("ours", "peer", "ours/s", "peer/s", "ratio", "ours HR@10", "peer HR@10"):
        table.add_column(column, justify="left" if column in ("ours", "peer") else "right")
    for name in names:
        method, trainer, fields = RACES[name]
        pairs = [
            (_run_ours(path, name, trainer, fields, validate=False, blas_threads=1), _run_peer(python, path, method))
            for _ in range(repeats)
        ]
        if any("failed" in figures for pair in pairs for figures in pair):
            table.add_row(name, f"implicit {method}", "failed")
            continue
        ours, peer = (median(pair[side]["rate"] for pair in pairs) / 1e6 for side in (0, 1))
        ratio = median(pair[0]["rate"] / pair[1]["rate"] for pair in pairs)
        quality = (f"{pairs[0][side]['hit']:.4f}" for side in (0, 1))
        table.add_row(name, f"implicit {method}", f"{ours:.2f}", f"{peer:.2f}", f"{ratio:.2f}", *quality)
    return table


if __name__ == "__main__":
    _worker()
