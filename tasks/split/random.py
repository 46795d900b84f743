"""Rows drawn at random: for logs without time, where no honest order exists."""

import numpy as np

from tasks.split.config import SplitConfig
from tasks.split.parts import Log, Part, PartArray


def random(log: Log, config: SplitConfig) -> PartArray:
    """[R] part of each row; exact shares, drawn from the seed."""
    n = len(log)
    n_test, n_valid = round(n * config.test_share), round(n * config.valid_share)
    drawn_R = np.random.default_rng([config.seed, n]).permutation(n)
    part_R = np.full(n, Part.TRAIN, dtype=np.int8)
    part_R[drawn_R[:n_test]] = Part.TEST
    part_R[drawn_R[n_test : n_test + n_valid]] = Part.VALID
    return part_R
