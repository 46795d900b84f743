"""Fits one peer on the split that `benchmarks/pairs.py` wrote and prints its figures as JSON.

`python run_implicit.py SPLIT.npz als|bpr|ease ITERATIONS`: ALS and BPR of implicit, EASE in plain numpy. Nothing of
Encore is imported: it runs in the peers' own environment.

U users, I items, D vector length, N candidates
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def main() -> None:
    path, method, iterations = sys.argv[1], sys.argv[2], int(sys.argv[3])
    split = np.load(path)
    offsets_U1, items_R = split["known_offsets_U1"], split["known_items_R"]
    candidates_UN, users_U, n_items = split["candidates_UN"], split["users_U"], int(split["n_items"])
    if method == "ease":
        score_UN, seconds = ease(offsets_U1, items_R, n_items, users_U, candidates_UN)
    else:
        score_UN, seconds = factors(method, iterations, offsets_U1, items_R, n_items, users_U, candidates_UN)
    place_U = (score_UN[:, 1:] >= score_UN[:, :1]).sum(axis=1)
    figures = {
        "hit": float((place_U < 10).mean()),
        "ndcg": float(np.where(place_U < 10, 1 / np.log2(place_U + 2), 0).mean()),
        "seconds": seconds,
        "rate": None if method == "ease" else len(items_R) * iterations / seconds,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(figures))


def peak_mb() -> float:
    """Most memory that this process ever held. `getrusage` would count the process that started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def factors(
    method: str, iterations: int, offsets_U1: Ints, items_R: Ints, n_items: int, users_U: Ints, candidates_UN: Ints
) -> tuple[Floats, float]:
    """implicit's ALS or BPR with 64 factors, at the settings that were best for it among those tried."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    ones_R = np.ones(len(items_R), dtype=np.float32)
    rows = scipy.sparse.csr_matrix((ones_R, items_R, offsets_U1), shape=(len(offsets_U1) - 1, n_items))
    model: Any
    if method == "als":
        model = AlternatingLeastSquares(64, regularization=60, alpha=10, iterations=iterations, random_state=0)
    else:
        model = BayesianPersonalizedRanking(
            64, learning_rate=0.05, regularization=0.02, iterations=iterations, random_state=0
        )
    start = time.perf_counter()
    model.fit(rows, show_progress=False)
    seconds = time.perf_counter() - start
    user_UD, item_ID = model.user_factors[users_U], model.item_factors
    score_UN = np.stack([item_ID[items_N] @ user_D for user_D, items_N in zip(user_UD, candidates_UN, strict=True)])
    return score_UN, seconds


def ease(offsets_U1: Ints, items_R: Ints, n_items: int, users_U: Ints, candidates_UN: Ints) -> tuple[Floats, float]:
    """EASE (Steck, WWW 2019) with λ 1000, as its paper prints it."""
    table_UI = np.zeros((len(offsets_U1) - 1, n_items), dtype=np.float32)
    table_UI[np.repeat(np.arange(len(offsets_U1) - 1), np.diff(offsets_U1)), items_R] = 1
    start = time.perf_counter()
    gram_II = table_UI.T @ table_UI
    gram_II[np.diag_indices(n_items)] += 1000
    inverse_II = np.linalg.inv(gram_II)
    weight_II = inverse_II / -np.diag(inverse_II)
    weight_II[np.diag_indices(n_items)] = 0
    seconds = time.perf_counter() - start
    return np.take_along_axis((table_UI @ weight_II)[users_U], candidates_UN, axis=1), seconds


if __name__ == "__main__":
    main()
