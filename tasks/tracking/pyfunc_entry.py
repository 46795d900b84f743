"""The model artefact's entry: user ids in, recommendations out. MLflow runs this file from inside the artefact.

The code travels inside the artefact as a package with a private name, which holds the hash of that code: a stranger's
package called `models` cannot get in its way, and two versions can be loaded side by side. Where the very same code is
installed, that is used instead: its kernels are compiled already.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


def private_name(package: Path) -> str:
    """The name under which this code travels: equal names mean equal code."""
    files = sorted(package.rglob("*.py"))
    digest = hashlib.sha256(b"".join(str(f.relative_to(package)).encode() + f.read_bytes() for f in files))
    return f"encore_models_{digest.hexdigest()[:32]}"


def code_package(name: str) -> str:
    """What to import: `models` where it is installed with the code that this private name stands for, else the name."""
    try:
        spec = importlib.util.find_spec("models")
    except ValueError:  # something that is no package has taken the name
        return name
    places = spec.submodule_search_locations if spec else None
    return "models" if places and private_name(Path(next(iter(places)))) == name else name


def feature_columns(names: Iterable[str]) -> list[str]:
    """Of the features, those that can be told of a user: the others have the name of a column with another meaning."""
    return [name for name in names if name not in ("user_id", "history")]


class RecommenderModel(PythonModel):
    """Top K for users, by raw ids."""

    def load_context(self, context: PythonModelContext) -> None:
        package = code_package(context.model_config["package"])
        folder = Path(context.artifacts["bundle"])
        number = folder.parents[1] / "version.txt"  # written when the model was registered
        self.version = number.read_text(encoding="utf-8").strip() if number.is_file() else ""
        self.bundle = importlib.import_module(f"{package}.bundle").Bundle.load(folder)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per user and rank. `history` (lists of item ids, oldest first) replaces what is known of a user, and
        columns called like the features that the model was trained with tell of users whom it does not know."""
        k = int((params or {}).get("k", 10))
        users = model_input["user_id"]
        histories = _histories(model_input["history"]) if "history" in model_input.columns else None
        names = feature_columns(self.bundle.features.names)
        features = {name: model_input[name].tolist() for name in names if name in model_input.columns}
        items_UK, score_UK, reason_U = self.bundle.recommend(users.to_numpy(), k, histories, features=features)
        width = items_UK.shape[1]
        table = pd.DataFrame(
            {
                "user_id": np.repeat(users.astype(str).to_numpy(), width),
                "rank": np.tile(np.arange(1, width + 1), len(users)),
                "item_id": items_UK.reshape(-1),
                "score": score_UK.reshape(-1),
                "model_version": self.version,
                "reason": np.repeat(reason_U, width),
            }
        )
        shown: pd.DataFrame = table[np.isfinite(table["score"])].reset_index(drop=True)
        return shown


def _histories(column: pd.Series) -> tuple[Any, Any]:
    lists = [[] if one is None or np.ndim(one) == 0 else [str(item) for item in one] for one in column]
    offsets = np.cumsum([0, *map(len, lists)])
    return offsets.astype(np.int64), np.array([item for one in lists for item in one], dtype=np.str_)


if __name__ != "tasks.tracking.pyfunc_entry":  # run by MLflow, not imported by a test
    assert mlflow.__version__
    set_model(RecommenderModel())
