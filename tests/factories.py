"""Small data whose right answer is known.

U users, R rows
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from models.base import Callback, Epoch, FitSession, Query, Ragged, Recommender, TrainingData
from models.bundle import Bundle
from models.config import ModelConfig
from models.fitting.config import TrainerConfig
from models.fitting.opponents import PairBatch
from models.ids import IdMap
from models.registry import build, make_config
from tasks.schema import INTERACTIONS
from tasks.store.keys import make_hash
from tasks.store.refs import DatasetRef, SnapshotRef
from tasks.store.store import Store
from tasks.store.tables import fingerprint


def two_communities(n_users: int = 120, n_items: int = 60) -> tuple[TrainingData, Ragged]:
    """Even users like even items, odd users odd ones; each user has seen all items of their kind but one.

    Returns the data and each user's hidden item: of all unseen items the one that a good model ranks first."""
    users, items = np.meshgrid(np.arange(n_users), np.arange(n_items), indexing="ij")
    liked = (users % 2) == (items % 2)
    hidden_U = (2 * np.arange(n_users) // 2 * 2 + np.arange(n_users) % 2) % n_items
    hidden = liked & (items == hidden_U[:, None])
    shown = np.flatnonzero((liked & ~hidden).ravel())
    shown = np.random.default_rng(0).permutation(shown)  # of no order: else what comes later would tell
    histories = Ragged.from_pairs(users.ravel()[shown], items.ravel()[shown], n_users)
    return TrainingData(n_items, histories), Ragged.from_pairs(users[hidden], items[hidden], n_users)


def random_log(n_users: int, n_items: int, n_rows: int, seed: int) -> TrainingData:
    """Rows drawn uniformly, repeats included."""
    rng = np.random.default_rng(seed)
    users_R, items_R = rng.integers(n_users, size=n_rows), rng.integers(n_items, size=n_rows)
    return TrainingData(n_items, Ragged.from_pairs(users_R, items_R, n_users))


def batch_of(
    users: list[int], positives: list[int], negatives: list[Any], dtype: torch.dtype = torch.float32
) -> PairBatch:
    """Rows that all weigh 1, compared with these items; every candidate as likely, none masked."""
    shown = torch.tensor(negatives)
    masked_BC = torch.zeros(len(users), len(negatives) if shown.ndim == 1 else 0, dtype=torch.bool)
    n_candidates = (len(users) + len(negatives),) if shown.ndim == 1 else (len(users), 1 + shown.shape[1])
    return PairBatch(
        torch.tensor(users), torch.tensor(positives), shown, torch.ones(len(users), dtype=dtype),
        torch.zeros(n_candidates, dtype=dtype), masked_BC,
    )  # fmt: skip


def query_of(data: TrainingData) -> Query:
    """All users of the data with the histories that were fitted."""
    return Query(np.arange(data.n_users), data.histories)


def tiny_log(*rows: tuple[object, ...]) -> pa.Table:
    """Accepted interactions from (user, item, seconds or None[, rating[, event]]), in file order."""
    columns = {
        "user_id": [str(row[0]) for row in rows],
        "item_id": [str(row[1]) for row in rows],
        "rating": [row[3] if len(row) > 3 else None for row in rows],
        "timestamp": [None if row[2] is None else int(str(row[2])) * 1_000_000 for row in rows],
        "event": [row[4] if len(row) > 4 else None for row in rows],
        "source_row": list(range(1, len(rows) + 1)),
    }
    return pa.table({name: pa.array(values, INTERACTIONS.field(name).type) for name, values in columns.items()})


def make_snapshot(
    store: Store, *files: pa.Table, users: pa.Table | None = None, items: pa.Table | None = None
) -> SnapshotRef:
    """Writes each table as a partition of the lake; equal tables give an equal snapshot."""

    def write(name: str, table: pa.Table) -> DatasetRef:
        folder = f"lake/tiny/{fingerprint(table)[:16]}"
        return DatasetRef(
            **store.build(folder, lambda writer: {"ref": vars(writer.table(name, table))}).manifest["ref"]
        )

    refs = tuple(write("interactions", table) for table in files)
    features = {
        name: (write(name, table),) for name, table in (("users", users), ("items", items)) if table is not None
    }
    every = [ref.fingerprint for ref in refs] + [ref.fingerprint for one in features.values() for ref in one]
    return SnapshotRef("tiny", make_hash(every), "lake/tiny", refs, **features)


def make_bundle(name: str = "popularity", kind: str = "int", history_length: int | None = None) -> Bundle:
    """A fitted model on two communities; users 10, 11, … and items 100, 101, … as numbers or as text."""
    data, hidden = two_communities(24, 20)
    session = FitSession(TrainerConfig(epochs=3, device="cpu"))
    model = build(name, make_config(name), data).fit(data, session)
    users, items = np.arange(data.n_users) + 10, np.arange(data.n_items) + 100
    served = Ragged.from_pairs(
        np.concatenate([data.histories.users_R, hidden.users_R]),
        np.concatenate([data.histories.items_R, hidden.items_R]),
        data.n_users,
    )
    user_ids, item_ids = (IdMap(one if kind == "int" else np.char.add(kind, one.astype(str))) for one in (users, items))
    return Bundle("tiny", model, user_ids, item_ids, data.histories, served, history_length)


class Killed(BaseException):
    """Stands for a kill: nothing in the program expects it."""


class KillAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        if epoch.number == self.epoch:
            raise Killed


class FixedScores(Recommender):
    """A model that scores by a given table, and unknown users by its first row backwards."""

    Config = ModelConfig

    def __init__(self, score_UI: np.ndarray) -> None:
        self.score_UI = torch.from_numpy(np.asarray(score_UI, dtype=np.float32))

    @classmethod
    def build(cls, config: object, data: TrainingData) -> "FixedScores":
        return cls(np.zeros((data.n_users, data.n_items)))

    def fit(self, data: TrainingData, session: FitSession) -> "FixedScores":
        return self

    def score(self, query: Query) -> torch.Tensor:
        users_U = torch.from_numpy(query.users_U)
        return torch.where((users_U >= 0)[:, None], self.score_UI[users_U], self.score_UI[0].flip(0))

    def weights(self) -> dict[str, torch.Tensor]:
        return {"score_UI": self.score_UI}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> "FixedScores":
        self.score_UI = weights["score_UI"]
        return self
