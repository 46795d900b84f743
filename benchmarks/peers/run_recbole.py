"""Fits RecBole's NeuMF or BPR on the split that `benchmarks/_split.py` wrote and prints its figures as JSON.

`python run_recbole.py SPLIT.npz NeuMF|BPR JSON`: the JSON holds RecBole's own settings. Nothing of Encore is imported.
Samples are rows as RecBole trains them: a positive, and for NeuMF each of its negatives too.

U users who have rows that judge, N candidates
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
from run_implicit import candidates, peak_mb  # noqa: E402

HEADER = "user_id:token\titem_id:token\n"
PLAIN = {
    "device": "cpu", "use_gpu": False, "show_progress": False, "state": "ERROR", "eval_step": 0, "save_dataset": False,
    "load_col": {"inter": ["user_id", "item_id"]}, "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "none"},
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
}  # fmt: skip


def main() -> None:
    path, method, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    split = np.load(path)
    offsets_U1, items_R = split["known_o"], split["known_i"]
    users_R = np.repeat(np.arange(len(offsets_U1) - 1), np.diff(offsets_U1))
    torch.load = _trusting(torch.load)  # RecBole reads its own checkpoint with pickle
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "split").mkdir()
        with (Path(folder) / "split" / "split.inter").open("w", encoding="ascii") as file:
            file.write(HEADER)
            file.writelines(f"{user}\t{item}\n" for user, item in zip(users_R, items_R, strict=True))
        fixed = {**PLAIN, "data_path": folder, "checkpoint_dir": folder, **settings}
        sys.argv = sys.argv[:1]  # RecBole reads it
        config = Config(model=method, dataset="split", config_dict=fixed)
        init_seed(config["seed"], True)
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        model = get_model(method)(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], method)(config, model)
        start = time.perf_counter()
        trainer.fit(train, saved=False, show_progress=False)
        seconds = time.perf_counter() - start
    model.eval()
    user_token_U, item_token_I = dataset.field2token_id["user_id"], dataset.field2token_id["item_id"]
    item_I = np.array([item_token_I.get(str(item), 0) for item in range(int(split["n_items"]))])
    shown_o, shown_i = split["test_candidates_o"], split["test_candidates_i"]

    def score(users_B: Any) -> Any:
        """[B, I] each user's candidates; the other items, which nobody looks at, stay 0."""
        score_BI = np.zeros((len(users_B), len(item_I)), dtype=np.float32)
        for row, user in enumerate(users_B):
            shown_N = shown_i[shown_o[user] : shown_o[user + 1]]
            user_N = torch.full((len(shown_N),), user_token_U[str(user)])
            with torch.no_grad():
                pairs = Interaction({"user_id": user_N, "item_id": torch.from_numpy(item_I[shown_N])})
                score_BI[row, shown_N] = model.predict(pairs).numpy()
        return score_BI

    first, second = candidates(split, score)
    per_row = 2 if method == "NeuMF" else 1  # BPR takes a row and its negative as one sample
    rate = len(items_R) * config["epochs"] * per_row / seconds
    print(json.dumps({"first": first, "second": second, "seconds": seconds, "rate": rate, "peak_mb": peak_mb()}))


def _trusting(load: Any) -> Any:
    return lambda *args, **named: load(*args, **{**named, "weights_only": False})


if __name__ == "__main__":
    main()
