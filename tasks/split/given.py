"""The test rows come from a file, as published benchmarks have them; the ingested rows train and choose the epoch."""

import numpy as np

from tasks.errors import ConfigError
from tasks.split.log import Log
from tasks.split.parts import Block, Part, PartArray
from tasks.split.random import key_of, numbers_of


def given(block: Block, seed: int) -> PartArray:
    """[R] part of each ingested row: none of them judges.

    Without given validation rows each user's last row is held out (without timestamps: one at random) where the user
    has three or more.
    """
    part_R = np.full(len(block), Part.TRAIN, dtype=np.int8)
    if block.chosen_R is not None:
        part_R[block.chosen_R] = Part.VALID
        return part_R
    from_end_R = block.from_end()
    held_R = from_end_R == 0 if block.time_R is not None else from_end_R == _drawn(block, seed)
    part_R[held_R & (block.counts() >= 3)] = Part.VALID
    return part_R


def _drawn(block: Block, seed: int) -> np.ndarray:
    """[R] for each row a number below the count of its user's rows, the same for all of these."""
    starts_U1 = block.starts()
    lengths_U = np.diff(starts_U1)
    number_U = numbers_of(np.uint64(key_of(seed, "given")), block.users_R[starts_U1[:-1]])
    return np.repeat((number_U % lengths_U.astype(np.uint64)).astype(np.int64), lengths_U)


def check_chosen(log: Log) -> None:
    """Raises ConfigError for a given validation row that was not ingested, or that only judges."""
    missing = log.engine.table(
        "SELECT user_id, item_id FROM chosen_pairs ANTI JOIN (SELECT user_id, item_id FROM log WHERE liked) "
        "USING (user_id, item_id) ORDER BY user_id, item_id"
    )
    if missing.num_rows:
        pair = f"user {missing['user_id'][0]}, item {missing['item_id'][0]}"
        raise ConfigError(
            f"{missing.num_rows} rows of split.valid are not among the ingested rows (such as {pair})",
            "add them to ingest.interactions: validation rows are trained on before the test",
        )
