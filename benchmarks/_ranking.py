"""`python -m benchmarks._ranking VECTORS.npz NAME LISTS.npy`: one run of ours for `ranking`, its figures as JSON.

U users, I items, D vector length, K places, R seen items of all users in one array
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._memory import peak_bytes
from models.base import Query, Ragged, TrainingData
from models.bpr_mf.model import BPRMF, BPRMFConfig
from models.ranking.top_k import BLOCK_SCORES, BLOCK_USERS, MANY_ITEMS, recommend

Ints = npt.NDArray[np.int64]


def main() -> None:
    path, name, lists = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    given = np.load(path)
    user_UD, item_ID, k = given["user_UD"], given["item_ID"], int(given["k"])
    seen = Ragged(given["offsets_U1"], given["items_R"])
    model = BPRMF.build(BPRMFConfig(dim=user_UD.shape[1]), TrainingData(len(item_ID), seen))
    with torch.no_grad():
        model.user_UD.copy_(torch.from_numpy(user_UD))
        model.item_ID.copy_(torch.from_numpy(item_ID))
        model.fitted_U.fill_(True)
    size = BLOCK_USERS if len(item_ID) >= MANY_ITEMS else BLOCK_SCORES // len(item_ID)

    def ranked(users_U: Ints) -> None:
        items_UK, _ = recommend(model, Query(users_U, seen.take(users_U)), seen.take(users_U), k)
        np.save(lists, items_UK)

    def product(users_U: Ints) -> None:
        for start in range(0, len(users_U), size):
            users_B = users_U[start : start + size]
            model.score(Query(users_B, seen.take(users_B)))

    def numpy_product(users_U: Ints) -> None:
        for start in range(0, len(users_U), size):
            user_UD[users_U[start : start + size]] @ item_ID.T

    works = {"ours": ranked, "our product": product, "numpy's product": numpy_product}
    print(json.dumps({**rates(works[name], len(user_UD)), "peak_mb": peak_bytes() / 2**20}))


def rates(work: Callable[[Ints], None], n_users: int) -> dict[str, float]:
    """Users a second, and a second of a core's, of one pass over all; before it some, so that nothing is compiled or
    started meanwhile."""
    users_U = np.arange(n_users)
    work(users_U[:400])
    start, busy = time.perf_counter(), time.process_time()
    work(users_U)
    return {"rate": n_users / (time.perf_counter() - start), "core_rate": n_users / (time.process_time() - busy)}


if __name__ == "__main__":
    main()
