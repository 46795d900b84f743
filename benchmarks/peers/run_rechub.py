"""Times an epoch of torch-rechub's MIND or YoutubeDNN on the split that `benchmarks/_split.py` wrote; figures as JSON.

`python run_rechub.py SPLIT.npz MIND|YoutubeDNN JSON`: the JSON holds dim, length, negatives, epochs, batch_size, for
MIND interests and for YoutubeDNN tower. Nothing of Encore is imported. Its own preparation writes the padded rows one
by one in Python; here NumPy writes the same rows, and the time is not counted. A sample is a row that has a history.

I items, R rows, S samples, L history length, N negatives
"""

import json
import sys
import tempfile
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from run_implicit import peak_mb
from torch_rechub.basic.features import SequenceFeature, SparseFeature  # type: ignore[import-not-found]
from torch_rechub.models.matching import MIND, YoutubeDNN  # type: ignore[import-not-found]
from torch_rechub.trainers import MatchTrainer  # type: ignore[import-not-found]
from torch_rechub.utils.data import MatchDataGenerator  # type: ignore[import-not-found]


def main() -> None:
    path, method, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    split = np.load(path)
    torch.manual_seed(0)
    rows = samples(split["known_o"], split["known_i"], int(split["n_items"]), settings)
    n_users, n_items = len(split["known_o"]), int(split["n_items"]) + 1  # 0 is padding
    model = (mind if method == "MIND" else youtube_dnn)(n_users, n_items, settings)
    data = MatchDataGenerator(rows, np.zeros(len(rows["user_id"]), dtype=np.int64))
    batches, _, _ = data.generate_dataloader(rows, rows, settings["batch_size"], num_workers=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = MatchTrainer(
            model, mode=2, n_epoch=settings["epochs"], device="cpu", model_path=folder,
            optimizer_params={"lr": 0.001, "weight_decay": 0.0},
        )  # fmt: skip
        start = time.perf_counter()
        trainer.fit(batches)
        seconds = time.perf_counter() - start
    rate = len(rows["user_id"]) * settings["epochs"] / seconds
    print()  # it shows its progress on the last line
    print(json.dumps({"seconds": seconds, "rate": rate, "peak_mb": peak_mb()}))


def samples(
    offsets_U1: npt.NDArray[np.int64], items_R: npt.NDArray[np.int32], n_items: int, settings: dict[str, Any]
) -> dict[str, npt.NDArray[np.int64]]:
    """Every row with a history: its user and item, the items before it padded on the left, and negatives drawn once."""
    users_R = np.repeat(np.arange(len(offsets_U1) - 1), np.diff(offsets_U1))
    row_S = np.flatnonzero(np.arange(len(items_R)) > offsets_U1[users_R])
    before_SL = row_S[:, None] - np.arange(settings["length"], 0, -1)
    there_SL = before_SL >= offsets_U1[users_R[row_S]][:, None]
    shape = len(row_S), settings["negatives"]
    return {
        "user_id": users_R[row_S],
        "item_id": items_R[row_S].astype(np.int64) + 1,
        "history": np.where(there_SL, items_R[np.maximum(before_SL, 0)] + 1, 0),
        "negatives": np.random.default_rng(0).integers(1, n_items + 1, size=shape),
    }


def items_of(n_items: int, dim: int, pooling: str) -> tuple[Any, Any, Any]:
    """The history, the target and its negatives, of one table."""
    history, negatives = (
        SequenceFeature(name, n_items, dim, pooling=how, shared_with="item_id", padding_idx=0)
        for name, how in (("history", pooling), ("negatives", "concat"))
    )
    return history, SparseFeature("item_id", n_items, dim, padding_idx=0), negatives


def mind(n_users: int, n_items: int, settings: dict[str, Any]) -> Any:
    """It must have a user feature: the user's own number."""
    history, item, negatives = items_of(n_items, settings["dim"], "concat")
    user = SparseFeature("user_id", n_users, settings["dim"])
    return MIND([user], [history], [item], [negatives], settings["length"], interest_num=settings["interests"])


def youtube_dnn(n_users: int, n_items: int, settings: dict[str, Any]) -> Any:
    history, item, negatives = items_of(n_items, settings["dim"], "mean")
    user = SparseFeature("user_id", n_users, settings["dim"])
    return YoutubeDNN([user, history], [item], [negatives], {"dims": settings["tower"]})


if __name__ == "__main__":
    main()
