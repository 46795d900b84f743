"""Ranks the users of `benchmarks/ranking.py` by a peer, its figures as JSON.

`python run_ranking.py VECTORS.npz faiss|implicit LISTS.npy`. Nothing of Encore is imported: it runs in the peers' own
environment.

U users, B users in a batch, I items, D vector length, K places, N items asked for
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from run_implicit import peak_mb

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
BATCH = 1024
"""Users searched for at once."""


def main() -> None:
    path, name, lists = sys.argv[1:]
    given = np.load(path)
    user_UD, item_ID, offsets_U1, items_R = (given[key] for key in ("user_UD", "item_ID", "offsets_U1", "items_R"))
    rank = {"faiss": by_faiss, "implicit": by_implicit}[name](user_UD, item_ID, offsets_U1, items_R, int(given["k"]))
    users_U = np.arange(len(user_UD))
    rank(users_U[:400])
    start, busy = time.perf_counter(), time.process_time()
    items_UK = rank(users_U)
    seconds, core_seconds = time.perf_counter() - start, time.process_time() - busy
    np.save(Path(lists), items_UK)
    figures = {"rate": len(users_U) / seconds, "core_rate": len(users_U) / core_seconds, "peak_mb": peak_mb()}
    print(json.dumps(figures))


def by_faiss(
    user_UD: Floats, item_ID: Floats, offsets_U1: Ints, seen_R: npt.NDArray[np.int32], k: int
) -> Callable[[Ints], Ints]:
    """The exact index. A batch asks for k and for as many as any of its users has seen."""
    import faiss

    index: Any = faiss.IndexFlatIP(item_ID.shape[1])
    index.add(item_ID)
    lengths_U = np.diff(offsets_U1)
    keys_R = np.repeat(np.arange(len(user_UD)), lengths_U) * len(item_ID) + seen_R  # ascending

    def rank(users_U: Ints) -> Ints:
        top_UK = np.full((len(users_U), k), -1, dtype=np.int64)
        order_U = np.argsort(lengths_U[users_U], kind="stable")
        for start in range(0, len(users_U), BATCH):
            rows_B = order_U[start : start + BATCH]
            users_B = users_U[rows_B]
            _, items_BN = index.search(user_UD[users_B], k + int(lengths_U[users_B].max()))
            key_BN = users_B[:, None] * len(item_ID) + items_BN
            at_BN = np.minimum(np.searchsorted(keys_R, key_BN), len(keys_R) - 1)
            unseen_BN = keys_R[at_BN] != key_BN
            place_BN = np.cumsum(unseen_BN, axis=1) - 1
            row_N, column_N = np.nonzero(unseen_BN & (place_BN < k))
            top_UK[rows_B[row_N], place_BN[row_N, column_N]] = items_BN[row_N, column_N]
        return top_UK

    return rank


def by_implicit(
    user_UD: Floats, item_ID: Floats, offsets_U1: Ints, seen_R: npt.NDArray[np.int32], k: int
) -> Callable[[Ints], Ints]:
    import scipy.sparse
    from implicit.cpu.topk import topk

    ones_R = np.ones(len(seen_R), dtype=np.float32)
    liked = scipy.sparse.csr_matrix((ones_R, seen_R, offsets_U1), shape=(len(user_UD), len(item_ID)))

    def rank(users_U: Ints) -> Ints:
        items_UK: Ints = topk(item_ID, user_UD[users_U], k, filter_query_items=liked[users_U])[0]
        return items_UK

    return rank


if __name__ == "__main__":
    main()
