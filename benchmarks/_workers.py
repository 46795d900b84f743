"""Fits in processes of their own, ours and the peers', so that each has its own memory, threads and start."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._memory import peak_bytes
from benchmarks._split import MODES, read_split
from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.registry import build, make_config

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent
PEER_ENVIRONMENT = ROOT / ".venv-peers"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Ours:
    """One model of ours to be fitted on a split."""

    name: str
    trainer: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    validate: bool = True
    """Fit by the validation rows first, then anew with what they chose; false: only on all known rows."""


def run_ours(path: Path, ours: Ours, blas_threads: int = 0) -> Figures:
    task = {"path": str(path), **vars(ours)}
    return run_worker([sys.executable, "-m", "benchmarks._workers", json.dumps(task)], blas_threads)


@dataclass(frozen=True)
class Peer:
    """One method of another system."""

    script: str
    method: str
    settings: dict[str, Any]

    @property
    def blas_threads(self) -> int:
        """implicit's own threads call BLAS, so it asks for one there; the others' BLAS takes all."""
        return 1 if self.method in ("als", "bpr") else 0


def run_peer(python: Path, path: Path, peer: Peer) -> Figures:
    return run_worker(
        [str(python), str(PEERS / f"{peer.script}.py"), str(path), peer.method, json.dumps(peer.settings)],
        peer.blas_threads,
    )


def peer_python() -> Path | None:
    """The Python of the peers' environment, which is made at first use; None, with a word why, where it cannot be."""
    needs = PEERS / "requirements.txt"
    done = PEER_ENVIRONMENT / f"complete-{hashlib.sha256(needs.read_bytes()).hexdigest()[:16]}"
    python = PEER_ENVIRONMENT / "bin" / "python"
    if done.exists():
        return python
    print(f"setting up {PEER_ENVIRONMENT.name} for the peers", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(PEER_ENVIRONMENT)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(needs)], check=True)
    except subprocess.CalledProcessError as error:
        print(f"no peers: they could not be installed ({error}); going on with ours alone", file=sys.stderr)
        return None
    done.touch()
    return python


def run_worker(command: list[str], blas_threads: int) -> Figures:
    """Runs a worker on all cores, and BLAS on `blas_threads` of them (0: all). Returns its last line."""
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": cores, "NUMBA_NUM_THREADS": cores, "OPENBLAS_NUM_THREADS": blas_threads or cores}
    # Threads that wait actively slow each other down several times where anything else runs: unfair to the peers.
    quiet = {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **{name: str(n) for name, n in threads.items()}, **quiet}
    with tempfile.TemporaryDirectory(prefix="encore-peer-") as folder:  # RecBole writes logs where it runs
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"failed": f"exit status {done.returncode}"}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _fit(path: Path, ours: Ours) -> tuple[Recommender, FitSession, float, float]:
    """Returns the last model, its session, the seconds of both fits, and those of the last one alone."""
    valid, test = read_split(path)
    config, settings = make_config(ours.name, **ours.fields), TrainerConfig(**ours.trainer)
    sampling = SamplingConfig(**ours.sampling)
    _compile(ours.name, config)
    start = time.perf_counter()
    if ours.validate:
        session = FitSession(settings, valid.judge, sampling=sampling)
        config = build(ours.name, config, valid.fitted).fit(valid.fitted, session).config
        settings = settings.model_copy(update={"epochs": session.best_epoch or settings.epochs})
    session, again = FitSession(settings, sampling=sampling), time.perf_counter()
    model = build(ours.name, config, test.fitted).fit(test.fitted, session)
    end = time.perf_counter()
    return model, session, end - start, end - again


def _compile(name: str, config: Any) -> None:
    """A fit on a handful of rows, so that compiling is over before the clock starts."""
    users_R, items_R = np.divmod(np.arange(600), 20)
    few = TrainingData(40, Ragged.from_pairs(users_R, items_R * 2 % 39, 30))
    users_U = np.array([0])
    query = Query(users_U, few.histories.take(users_U))
    build(name, config, few).fit(few, FitSession(TrainerConfig(epochs=1))).score(query)


def _sha256(model: Recommender) -> str:
    """Of all that was learned."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.weights().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _worker() -> None:
    """`python -m benchmarks._workers JSON`: one fit of ours, its figures as JSON on the last line."""
    task = json.loads(sys.argv[1])
    path = Path(task.pop("path"))
    ours = Ours(**task)
    model, session, seconds, last_seconds = _fit(path, ours)
    _, test = read_split(path)
    metrics = test.judge(model)
    mode = str(np.load(path)["mode"])
    first, second = MODES[mode]
    samples = sum(epoch.samples for epoch in session.history)
    if mode == "next":  # targets; a user's first row counts for nobody, as most peers do not train on it
        samples = len(session.history) * int(np.maximum(test.fitted.histories.lengths_U - 1, 0).sum())
    chosen = model.config.model_dump(exclude_unset=True, exclude={"name"}) if ours.validate else {}
    chosen = {key: value for key, value in chosen.items() if value is not None and key not in ours.fields}
    if session.trainer.epochs and session.history and not chosen:
        chosen = {"epochs": session.trainer.epochs}
    figures = {
        "first": metrics[first], "second": metrics[second], "seconds": seconds, "peak_mb": peak_bytes() / 2**20,
        "rate": samples / last_seconds if samples else None, "chosen": chosen,
        "weights": _sha256(model),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    _worker()
