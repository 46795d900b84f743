"""One cut in time for everyone: the past trains, the newest window judges, the window before it chooses the epoch."""

import numpy as np

from tasks.errors import ConfigError
from tasks.split.config import SplitConfig
from tasks.split.parts import Log, Part, PartArray


def temporal(log: Log, config: SplitConfig) -> PartArray:
    """[R] part of each row. Rows of one instant are never on both sides of a cut."""
    if log.time_R is None:
        raise ConfigError("the temporal split needs timestamps", "use --split.protocol=random or leave_last_out")
    n = len(log)
    n_test, n_valid = round(n * config.test_share), round(n * config.valid_share)
    first_test = log.time_R[min(n - 1, n - n_test)]
    first_valid = log.time_R[max(0, min(n - 1, n - n_test - n_valid))]
    part_R = np.full(n, Part.TRAIN, dtype=np.int8)
    part_R[log.time_R >= first_valid] = Part.VALID
    part_R[log.time_R >= first_test] = Part.TEST
    return part_R
