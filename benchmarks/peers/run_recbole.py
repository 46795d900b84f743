"""Fits a model of RecBole on the split that `benchmarks/_split.py` wrote and prints its figures as JSON.

`python run_recbole.py SPLIT.npz NeuMF|BPR|GRU4Rec|SASRec|Caser JSON`: the JSON holds RecBole's own settings, and with
`every` 4 only each fourth user is fitted, where a rate is all that is asked for. Nothing of Encore is imported. Samples
are rows as RecBole trains them: a positive, for NeuMF each of its negatives too; for the last three a positive that has
a history.

U users who have rows that judge, I items, N candidates, L history length
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

for gone, still in {"float_": "float64", "complex_": "complex128", "unicode_": "str_"}.items():
    setattr(np, gone, getattr(np, still))  # RecBole 1.2.1 asks NumPy 2 for them

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402
from run_implicit import Score, judge, peak_mb  # noqa: E402

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"
PLAIN = {
    "device": "cpu", "use_gpu": False, "show_progress": False, "state": "ERROR", "eval_step": 0, "save_dataset": False,
}  # fmt: skip
PAIRS = {
    "load_col": {"inter": ["user_id", "item_id"]}, "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "none"},
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
}  # fmt: skip
IN_TIME = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "none", "order": "TO"},
    "loss_type": "CE", "train_neg_sample_args": None,
}  # fmt: skip


def main() -> None:
    path, method, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    split, every = np.load(path), settings.pop("every", 1)
    in_time = str(split["mode"]) == "next"
    model, dataset, seconds = fitted(split, method, {**PLAIN, **(IN_TIME if in_time else PAIRS), **settings}, every)
    model.eval()
    first, second = judge(split, (next_scores if in_time else candidate_scores)(split, model, dataset))
    samples = len(split["known_i"]) * (2 if method == "NeuMF" else 1)  # BPR takes a row and its negative as one sample
    if in_time:
        samples = int(np.maximum(np.diff(split["known_o"])[::every] - 1, 0).sum())
    rate = samples * settings["epochs"] / seconds
    print(json.dumps({"first": first, "second": second, "seconds": seconds, "rate": rate, "peak_mb": peak_mb()}))


def fitted(split: Any, method: str, settings: dict[str, Any], every: int) -> tuple[Any, Any, float]:
    """The model, its data, and the seconds of the fit without preparation."""
    offsets_U1, items_R = split["known_o"], split["known_i"]
    users_R = np.repeat(np.arange(len(offsets_U1) - 1), np.diff(offsets_U1))
    times_R = np.arange(len(items_R)) - offsets_U1[users_R]
    torch.load = _trusting(torch.load)  # RecBole reads its own checkpoint with pickle
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "split").mkdir()
        with (Path(folder) / "split" / "split.inter").open("w", encoding="ascii") as file:
            file.write(HEADER)
            rows = (row for row in zip(users_R, items_R, times_R, strict=True) if row[0] % every == 0)
            file.writelines(f"{user}\t{item}\t{place}\n" for user, item, place in rows)
        sys.argv = sys.argv[:1]  # RecBole reads it
        fixed = {"data_path": folder, "checkpoint_dir": folder, **settings}
        config = Config(model=method, dataset="split", config_dict=fixed)
        init_seed(config["seed"], True)
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        model = get_model(method)(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], method)(config, model)
        start = time.perf_counter()
        trainer.fit(train, saved=False, show_progress=False)
        return model, dataset, time.perf_counter() - start


def candidate_scores(split: Any, model: Any, dataset: Any) -> Score:
    """Each user's candidates; the other items, which nobody looks at, stay 0."""
    user_token_U, item_I = dataset.field2token_id["user_id"], _tokens(dataset, int(split["n_items"]))
    shown_o, shown_i = split["test_candidates_o"], split["test_candidates_i"]

    def score(users_B: Any) -> Any:
        score_BI = np.zeros((len(users_B), len(item_I)), dtype=np.float32)
        for row, user in enumerate(users_B):
            shown_N = shown_i[shown_o[user] : shown_o[user + 1]]
            user_N = torch.full((len(shown_N),), user_token_U[str(user)])
            with torch.no_grad():
                pairs = Interaction({"user_id": user_N, "item_id": torch.from_numpy(item_I[shown_N])})
                score_BI[row, shown_N] = model.predict(pairs).numpy()
        return score_BI

    return score


def next_scores(split: Any, model: Any, dataset: Any) -> Score:
    """All items after each user's latest ones; those that were not fitted come last."""
    user_token_U, item_I = dataset.field2token_id["user_id"], _tokens(dataset, int(split["n_items"]))
    offsets_U1, items_R, length = split["known_o"], split["known_i"], dataset.max_item_list_len

    def score(users_B: Any) -> Any:
        latest_BL, length_B = np.zeros((len(users_B), length), dtype=np.int64), np.zeros(len(users_B), dtype=np.int64)
        for row, user in enumerate(users_B):
            latest = items_R[max(offsets_U1[user], offsets_U1[user + 1] - length) : offsets_U1[user + 1]]
            latest_BL[row, : len(latest)], length_B[row] = item_I[latest], len(latest)
        users = torch.tensor([user_token_U.get(str(user), 0) for user in users_B])
        shown = {
            "user_id": users,
            "item_id_list": torch.from_numpy(latest_BL),
            "item_length": torch.from_numpy(length_B),
        }
        with torch.no_grad():
            score_BI = model.full_sort_predict(Interaction(shown)).view(len(users_B), -1).numpy()[:, item_I]
        score_BI[:, item_I == 0] = -np.inf
        return score_BI

    return score


def _tokens(dataset: Any, n_items: int) -> Any:
    """[I] RecBole's own number of each item; 0 where it has none."""
    item_token_I = dataset.field2token_id["item_id"]
    return np.array([item_token_I.get(str(item), 0) for item in range(n_items)])


def _trusting(load: Any) -> Any:
    return lambda *args, **named: load(*args, **{**named, "weights_only": False})


if __name__ == "__main__":
    main()
