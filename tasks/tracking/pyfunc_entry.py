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


def refuse_another(dataset: str, meant: str | None) -> None:
    """Raises ValueError where another dataset is meant: equal ids are other users and items there."""
    if meant is not None and meant != dataset:
        raise ValueError(f"this model was trained on the dataset {dataset!r}, not on {meant!r}")


class RecommenderModel(PythonModel):
    """Top K for users, by raw ids.

    Raises ValueError where whoever loads it (`model_config={"dataset": ...}`) or asks it (parameter `dataset`) means
    another dataset than the model was trained on."""

    def load_context(self, context: PythonModelContext) -> None:
        package = code_package(context.model_config["package"])
        folder = Path(context.artifacts["bundle"])
        number = folder.parents[1] / "version.txt"  # written when the model was registered
        self.version = number.read_text(encoding="utf-8").strip() if number.is_file() else ""
        self.bundle = importlib.import_module(f"{package}.bundle").Bundle.load(folder)
        refuse_another(self.bundle.dataset, context.model_config.get("dataset"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per user and rank. A list in `history` (item ids, oldest first) replaces what is known of the user,
        and an empty cell does not; columns called like the features that the model was trained with tell of users whom
        it does not know. Raises ValueError for a history that is no list."""
        asked = params or {}
        refuse_another(self.bundle.dataset, asked.get("dataset"))
        k = int(asked.get("k", 10))
        users = model_input["user_id"]
        items_UK, score_UK, reason_U = self._lists(model_input, k)
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

    def _lists(self, frame: pd.DataFrame, k: int) -> tuple[Any, Any, Any]:
        """As Bundle.recommend: users with a history of their own and users without are two calls, put together again
        in the order of the frame."""
        told_U = np.array(told(frame["history"]) if "history" in frame.columns else [False] * len(frame), dtype=bool)
        places = [rows for rows in (np.flatnonzero(~told_U), np.flatnonzero(told_U)) if len(rows)]
        if len(places) < 2:
            return self._recommend(frame, k, bool(told_U.any()))
        calls = [self._recommend(frame.iloc[rows], k, given) for rows, given in zip(places, (False, True), strict=True)]
        back_U = np.argsort(np.concatenate(places))
        items, scores, reasons = (np.concatenate(parts)[back_U] for parts in zip(*calls, strict=True))
        return items, scores, reasons

    def _recommend(self, frame: pd.DataFrame, k: int, by_history: bool) -> tuple[Any, Any, Any]:
        histories = as_ragged(frame["history"]) if by_history else None
        names = feature_columns(self.bundle.features.names)
        features = {name: frame[name].tolist() for name in names if name in frame.columns}
        found: tuple[Any, Any, Any] = self.bundle.recommend(
            frame["user_id"].to_numpy(), k, histories, features=features
        )
        return found


LISTS = (list, tuple, np.ndarray, pd.Series)


def told(histories: Iterable[Any]) -> list[bool]:
    """Which cells hold a history. Raises ValueError for one that is neither empty (None, NaN, pandas.NA) nor a list."""
    return [_is_list(cell) for cell in histories]


def _is_list(cell: Any) -> bool:
    if isinstance(cell, LISTS) and getattr(cell, "ndim", 1) == 1 and not any(isinstance(item, LISTS) for item in cell):
        return True
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return False
    raise ValueError(
        f"column `history`: {cell!r} is no history; a list of item ids is, oldest first, as in ['12', '7'],"
        " and an empty cell stands for what the model knows of the user"
    )


def as_ragged(lists: Iterable[Iterable[Any]]) -> tuple[Any, Any]:
    """Offsets [U + 1] and item ids as text, whole numbers without their point; items that are empty are left out."""
    texts = [[_id_text(item) for item in one if not pd.isna(item)] for one in lists]
    offsets = np.cumsum([0, *map(len, texts)])
    return offsets.astype(np.int64), np.array([text for one in texts for text in one], dtype=np.str_)


def _id_text(item: Any) -> str:
    # integers that passed through a frame with gaps
    return str(int(item)) if isinstance(item, float | np.floating) and item.is_integer() else str(item)


if __name__ != "tasks.tracking.pyfunc_entry":  # run by MLflow, not imported by a test
    assert mlflow.__version__
    set_model(RecommenderModel())
