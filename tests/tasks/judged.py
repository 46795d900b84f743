"""Small models, and whom they are judged on, for several test files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.base import Ragged
from models.bundle import Bundle
from models.fitting.config import TrainerConfig
from models.ids import IdMap
from models.registry import make_config
from tasks.evaluate.beyond import Catalogue
from tasks.judging import make_judges
from tasks.sample.task import sample
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.task import train
from tests.factories import FixedScores, make_snapshot, tiny_log


def rows_of(*rows: tuple[str, str, int, int]) -> pa.Table:
    names = ("user_id", "item_id", "user_idx", "item_idx")
    types = (pa.string(), pa.string(), pa.int32(), pa.int32())
    return pa.table(
        {n: pa.array([row[k] for row in rows], t) for k, (n, t) in enumerate(zip(names, types, strict=True))}
    )


def bundle_of(score_UI: object, fitted: list[list[int]], users: Sequence[object], items: Sequence[object]) -> Bundle:
    offsets_U1 = np.cumsum([0, *map(len, fitted)]).astype(np.int64)
    known = Ragged(offsets_U1, np.array([item for one in fitted for item in one], dtype=np.int32))
    return Bundle(
        "tiny", FixedScores(np.asarray(score_UI)), IdMap(np.array(users)), IdMap(np.array(items)), known, known
    )


def catalogue(bundle: Bundle) -> Catalogue:
    return Catalogue(bundle.fitted, len(bundle.items))


# Tonight's world: users a b, items i0..i3; a had i0 and i1, b had i2. Fitted counts: i0 1, i1 1, i2 1, i3 0.
TONIGHT = bundle_of([[9, 8, 1, 2], [1, 2, 9, 3]], [[0, 1], [2]], ["a", "b"], ["i0", "i1", "i2", "i3"])
TEST = make_judges(
    rows_of(("a", "i2", 0, 2), ("b", "i1", 1, 1), ("b", "i9", 1, -1), ("c", "i1", -1, 1)), TONIGHT.fitted, False
)


def night(
    store: Store, candidates: Path | None = None, items: pa.Table | None = None, n_rows: int = 6
) -> tuple[SampleRefs, TrainedRef]:
    """A log in which each user takes so many different items, the last of which is held out; and popularity."""
    rows = [(user, 100 + (user + n * n) % 31, n) for user in range(30) for n in range(n_rows)]
    snapshot = make_snapshot(store, tiny_log(*rows), items=items)
    parts = split.fn(store, snapshot, SplitConfig(protocol="leave_last_out", repeats="keep"))
    samples = sample.fn(store, parts, str(candidates) if candidates else None)
    return samples, train.fn(store, samples, make_config("popularity"), TrainerConfig())
