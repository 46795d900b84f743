"""Each user's last row judges, the one before it chooses the epoch."""

import numpy as np

from tasks.split.parts import Log, Part, PartArray


def leave_last_out(log: Log) -> PartArray:
    """[R] part of each row. A user with fewer than three rows only trains."""
    from_end_R, enough_R = log.from_end(), log.counts() >= 3
    part_R = np.full(len(log), Part.TRAIN, dtype=np.int8)
    part_R[enough_R & (from_end_R == 0)] = Part.TEST
    part_R[enough_R & (from_end_R == 1)] = Part.VALID
    return part_R
