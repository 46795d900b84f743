"""One cut in time for everyone: the past trains, the newest window judges, the window before it chooses the epoch."""

from dataclasses import dataclass

import numpy as np

from tasks.errors import ConfigError
from tasks.split.config import SplitConfig
from tasks.split.log import Log
from tasks.split.parts import Block, Part, PartArray

BUCKETS = 1 << 16


@dataclass(frozen=True)
class Cuts:
    """The first instants of the validation and of the test, in microseconds since 1970."""

    valid: int
    test: int


def temporal(block: Block, cuts: Cuts) -> PartArray:
    """[R] part of each row. Rows of one instant are never on both sides of a cut."""
    assert block.time_R is not None
    part_R = np.where(block.time_R >= cuts.valid, np.int8(Part.VALID), np.int8(Part.TRAIN))
    return np.where(block.time_R >= cuts.test, np.int8(Part.TEST), part_R)


def find_cuts(log: Log, config: SplitConfig) -> Cuts:
    """Where the newest rows of the configured shares begin. Raises ConfigError for a log without timestamps."""
    if not log.is_timed:
        raise ConfigError("the temporal split needs timestamps", "use --split.protocol=random or leave_last_out")
    n = log.rows
    n_test, n_valid = round(n * config.test_share), round(n * config.valid_share)
    return Cuts(nth_time(log, max(0, min(n - 1, n - n_test - n_valid))), nth_time(log, min(n - 1, n - n_test)))


def nth_time(log: Log, n: int) -> int:
    """The instant of the positive row that has n rows before it in the order of time: counted in ever smaller buckets,
    so that no row is kept."""
    low, high = log.engine.one("SELECT min(epoch_us(timestamp)), max(epoch_us(timestamp)) FROM log WHERE liked")
    while low < high:
        width = (high - low) // BUCKETS + 1
        counts = log.engine.table(
            f"SELECT (epoch_us(timestamp) - {low}) // {width} AS bucket, count(*) AS n FROM log "
            f"WHERE liked AND epoch_us(timestamp) BETWEEN {low} AND {high} GROUP BY bucket ORDER BY bucket"
        )
        until_B = np.cumsum(counts["n"].to_numpy())
        bucket = int(np.searchsorted(until_B, n, side="right"))
        n -= int(until_B[bucket - 1]) if bucket else 0
        low += counts["bucket"][bucket].as_py() * width
        high = min(high, low + width - 1)
    return int(low)
