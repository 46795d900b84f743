"""Fits one peer on the split that `benchmarks/_split.py` wrote and prints its figures as JSON.

`python run_implicit.py SPLIT.npz als|bpr|ease JSON`: ALS and BPR of implicit with the given settings, EASE in plain
numpy. Nothing of Encore is imported: it runs in the peers' own environment.

U users who have rows that judge, I items, D vector length, N candidates, K places, R rows
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Score = Callable[[Ints], Floats]


def main() -> None:
    path, method, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    split = np.load(path)
    offsets_U1, items_R = split["known_o"], split["known_i"]
    fit = ease if method == "ease" else factors
    score, seconds = fit(method, offsets_U1, items_R, int(split["n_items"]), settings)
    first, second = judge(split, score)
    rate = None if method == "ease" else len(items_R) * settings["iterations"] / seconds
    print(json.dumps({"first": first, "second": second, "seconds": seconds, "rate": rate, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Most memory that this process ever held. `getrusage` would count the process that started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def factors(
    method: str, offsets_U1: Ints, items_R: Ints, n_items: int, settings: dict[str, Any]
) -> tuple[Score, float]:
    """implicit's ALS or BPR."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    ones_R = np.ones(len(items_R), dtype=np.float32)
    rows = scipy.sparse.csr_matrix((ones_R, items_R, offsets_U1), shape=(len(offsets_U1) - 1, n_items))
    kind: Any = AlternatingLeastSquares if method == "als" else BayesianPersonalizedRanking
    model = kind(**settings, random_state=0)
    start = time.perf_counter()
    model.fit(rows, show_progress=False)
    seconds = time.perf_counter() - start
    return lambda users_B: model.user_factors[users_B] @ model.item_factors.T, seconds


def ease(method: str, offsets_U1: Ints, items_R: Ints, n_items: int, settings: dict[str, Any]) -> tuple[Score, float]:
    """EASE (Steck, WWW 2019), as its paper prints it."""
    table_UI = np.zeros((len(offsets_U1) - 1, n_items), dtype=np.float32)
    table_UI[np.repeat(np.arange(len(offsets_U1) - 1), np.diff(offsets_U1)), items_R] = 1
    start = time.perf_counter()
    gram_II = table_UI.T @ table_UI
    gram_II[np.diag_indices(n_items)] += settings["l2"]
    inverse_II = np.linalg.inv(gram_II)
    weight_II = inverse_II / -np.diag(inverse_II)
    weight_II[np.diag_indices(n_items)] = 0
    seconds = time.perf_counter() - start
    return lambda users_B: table_UI[users_B] @ weight_II, seconds


def judge(split: Any, score: Score) -> tuple[float, float]:
    """The two metrics that are shown of the split's way of judging."""
    if str(split["mode"]) == "candidates":
        return candidates(split, score)
    return full(split, score, 10 if str(split["mode"]) == "next" else 20)


def candidates(split: Any, score: Score) -> tuple[float, float]:
    """HR@10 and NDCG@10 of the held-out row among its user's candidates; another of the same score counts as better."""
    offsets, items, own = split["test_candidates_o"], split["test_candidates_i"], split["test_i"]
    users_U = np.flatnonzero(np.diff(split["test_o"]))
    place_U = np.empty(len(users_U), dtype=np.int64)
    for start in range(0, len(users_U), 500):
        score_BI = score(users_U[start : start + 500])
        for row, score_I in enumerate(score_BI):
            user, own_score = users_U[start + row], score_I[own[start + row]]
            place_U[start + row] = (score_I[items[offsets[user] : offsets[user + 1]]] >= own_score).sum() - 1
    return float((place_U < 10).mean()), float(np.where(place_U < 10, 1 / np.log2(place_U + 2), 0).mean())


def full(split: Any, score: Score, k: int) -> tuple[float, float]:
    """Recall@k, which of one held-out row is HR@k, and NDCG@k among all items that were not fitted."""
    offsets_U1, items_R, held_o, held_i = (split[name] for name in ("known_o", "known_i", "test_o", "test_i"))
    users_U = np.flatnonzero(np.diff(held_o))
    discount_K = 1 / np.log2(np.arange(2, k + 2))
    recall, ndcg = 0.0, 0.0
    for start in range(0, len(users_U), 500):
        users_B = users_U[start : start + 500]
        for user, score_I in zip(users_B, score(users_B), strict=True):
            score_I[items_R[offsets_U1[user] : offsets_U1[user + 1]]] = -np.inf
            top_K = np.argpartition(-score_I, k)[:k]
            top_K = top_K[np.argsort(-score_I[top_K])]
            relevant = held_i[held_o[user] : held_o[user + 1]]
            hit_K = np.isin(top_K, relevant)
            recall += hit_K.sum() / len(relevant)
            ndcg += (hit_K * discount_K).sum() / discount_K[: len(relevant)].sum()
    return recall / len(users_U), ndcg / len(users_U)


if __name__ == "__main__":
    main()
