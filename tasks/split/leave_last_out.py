"""Each user's last row judges, the one before it chooses the epoch."""

import numpy as np

from tasks.split.parts import Block, Part, PartArray


def leave_last_out(block: Block) -> PartArray:
    """[R] part of each row. A user with fewer than three rows only trains."""
    from_end_R, enough_R = block.from_end(), block.counts() >= 3
    part_R = np.full(len(block), Part.TRAIN, dtype=np.int8)
    part_R[enough_R & (from_end_R == 0)] = Part.TEST
    part_R[enough_R & (from_end_R == 1)] = Part.VALID
    return part_R
