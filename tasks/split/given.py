"""The test rows come from a file, as published benchmarks have them; the ingested rows train and choose the epoch."""

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError
from tasks.ids import index_in
from tasks.split.config import SplitConfig
from tasks.split.parts import Log, Part, PartArray


def given(log: Log, config: SplitConfig, valid: pa.Table | None) -> PartArray:
    """[R] part of each ingested row: none of them judges.

    Without validation rows each user's last row is held out (without timestamps: one at random) where the user has
    three or more. Raises ConfigError for a validation row that was not ingested.
    """
    part_R = np.full(len(log), Part.TRAIN, dtype=np.int8)
    if valid is None:
        held_R = log.from_end() == 0 if log.time_R is not None else _one_of_each(log, config.seed)
        part_R[held_R & (log.counts() >= 3)] = Part.VALID
        return part_R
    users_V, items_V = index_in(valid["user_id"], log.user_ids), index_in(valid["item_id"], log.item_ids)
    wanted_V = users_V.astype(np.int64) * len(log.item_ids) + items_V
    strange_V = (users_V < 0) | (items_V < 0) | ~np.isin(wanted_V, log.pairs())
    if strange_V.any():
        row = int(np.argmax(strange_V))
        pair = f"user {valid['user_id'][row]}, item {valid['item_id'][row]}"
        raise ConfigError(
            f"{int(strange_V.sum())} rows of split.valid are not among the ingested rows (such as {pair})",
            "add them to ingest.interactions: validation rows are trained on before the test",
        )
    part_R[np.isin(log.pairs(), wanted_V)] = Part.VALID
    return part_R


def _one_of_each(log: Log, seed: int) -> np.ndarray:
    """[R] True for one random row of every user."""
    order_R = np.random.default_rng([seed, len(log)]).permutation(len(log))
    _, first_U = np.unique(log.users_R[order_R], return_index=True)
    chosen_R = np.zeros(len(log), dtype=bool)
    chosen_R[order_R[first_U]] = True
    return chosen_R
