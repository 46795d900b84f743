"""The step: histories as they were known before the validation, before the test and tonight; the evaluation candidates.

U users in the id map, R rows
"""

from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.base import Ragged
from tasks.ids import index_in
from tasks.pairs_file import content_hash, read_candidates
from tasks.schema import CANDIDATES, HISTORIES
from tasks.store.histories import histories_table
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, SampleRefs, SplitRefs
from tasks.store.store import Store, Writer


@task(cache_policy=NO_CACHE)
def sample(store: Store, split: SplitRefs, candidates: str | None = None) -> SampleRefs:
    """Freezes what training and judging read, or finds it."""
    key = make_key(__name__, split.key, content_hash(candidates, "evaluate.candidates"))

    def write(writer: Writer) -> dict[str, Any]:
        train, valid, test = (store.read(ref) for ref in (split.train, split.valid, split.test))
        made = make_histories(train, valid, test, split.users.rows, ingested_test=split.protocol != "given")
        made |= make_masks(made, store.read(split.rated))
        parts = {name: writer.table(name, histories_table(one), HISTORIES) for name, one in made.items()}
        if candidates is not None:
            rows = code_candidates(read_candidates(candidates), store.read(split.users), store.read(split.items))
            parts["candidates"] = writer.table("candidates", rows, CANDIDATES)
        return {"parts": {name: vars(ref) for name, ref in parts.items()}}

    built = store.build(f"prepared/{key}", write)
    parts: dict[str, Any] = {name: DatasetRef(**ref) for name, ref in built.manifest["parts"].items()}
    return SampleRefs(key, split, **parts, cached=built.cached)


def make_histories(
    train: pa.Table, valid: pa.Table, test: pa.Table, n_users: int, ingested_test: bool
) -> dict[str, Ragged]:
    """Each user's items, oldest first, at three moments.

    fitted: training rows. known: and validation rows, all that may be known when the test rows are judged.
    served: and the test rows where they were ingested; what is masked in the lists that go out.
    """
    fitted = _histories([train], n_users)
    known = _histories([train, valid], n_users)
    served = _histories([train, valid, test], n_users) if ingested_test else known
    return {"fitted": fitted, "known": known, "served": served}


def make_masks(histories: dict[str, Ragged], rated: pa.Table) -> dict[str, Ragged]:
    """What rankings leave out: the histories, and the items that a user rated too low for a positive."""
    before = rated.filter(rated["before_test"])
    return {
        "seen_known": _joined(histories["known"], before),
        "seen_served": _joined(histories["served"], rated),
    }


def _joined(histories: Ragged, rated: pa.Table) -> Ragged:
    users_R = np.concatenate([histories.users_R, rated["user_idx"].to_numpy()])
    items_R = np.concatenate([histories.items_R, rated["item_idx"].to_numpy()])
    return Ragged.from_pairs(users_R, items_R, len(histories)).as_sets()


def _histories(tables: list[pa.Table], n_users: int) -> Ragged:
    users_R = np.concatenate([table["user_idx"].to_numpy() for table in tables])
    items_R = np.concatenate([table["item_idx"].to_numpy() for table in tables])
    place_R = np.concatenate([table["place"].to_numpy() for table in tables])
    order_R = np.argsort(place_R)  # parts may interleave in time
    order_R = order_R[(users_R[order_R] >= 0) & (items_R[order_R] >= 0)]
    return Ragged.from_pairs(users_R[order_R], items_R[order_R], n_users)


def code_candidates(rows: pa.Table, users: pa.Table, items: pa.Table) -> pa.Table:
    """The candidates with indices, -1 where an id is unknown."""
    user_idx = index_in(rows["user_id"], users["user_id"].combine_chunks())
    item_idx = index_in(rows["item_id"], items["item_id"].combine_chunks())
    columns = [user_idx, item_idx, rows["user_id"], rows["item_id"], rows["relevant"]]
    return pa.table(columns, schema=CANDIDATES)
