"""Leaks that must not be in any split. What is found here is a fault of ours: it stops the night."""

import numpy as np

from tasks.split.parts import Log, Part, PartArray


class LeakFound(AssertionError):
    """A later part knows something that an earlier part was trained on."""


def audit(log: Log, part_R: PartArray, protocol: str, keeps_repeats: bool) -> None:
    """Raises LeakFound for a pair in two parts, or a row before the cut that it should follow."""
    pair_R = log.pairs()
    if not keeps_repeats:
        for later, earlier in ((Part.VALID, Part.TRAIN), (Part.TEST, Part.TRAIN), (Part.TEST, Part.VALID)):
            shared = np.intersect1d(pair_R[part_R == later], pair_R[part_R == earlier])
            if len(shared):
                raise LeakFound(f"{len(shared)} pairs are in both {earlier.name} and {later.name}")
    if protocol == "temporal" and log.time_R is not None:
        for later, earlier in ((Part.VALID, Part.TRAIN), (Part.TEST, Part.VALID), (Part.TEST, Part.TRAIN)):
            later_T, earlier_T = log.time_R[part_R == later], log.time_R[part_R == earlier]
            if len(later_T) and len(earlier_T) and later_T.min() <= earlier_T.max():
                raise LeakFound(f"a {later.name} row is not later than every {earlier.name} row")
    if protocol == "leave_last_out":
        from_end_R = log.from_end()
        if (from_end_R[part_R == Part.TEST] != 0).any() or (from_end_R[part_R == Part.VALID] != 1).any():
            raise LeakFound("a held-out row is not the user's last")
