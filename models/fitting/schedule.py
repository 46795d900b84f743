"""The learning rate of each epoch."""

from math import cos, pi

from .config import ScheduleConfig


def share_of_rate(schedule: ScheduleConfig, epoch: int) -> float:
    """What part of the learning rate the epoch (from 1) gets. Cosine: Loshchilov and Hutter, ICLR 2017, no restarts."""
    if epoch <= schedule.warmup:
        return epoch / (schedule.warmup + 1)
    since = epoch - 1 - schedule.warmup
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "step":
        return schedule.factor ** (since // schedule.every)
    assert schedule.epochs is not None  # filled by the model's configuration
    done = min(1.0, since / (schedule.epochs - schedule.warmup))
    left = 1 - done if schedule.kind == "linear" else (1 + cos(pi * done)) / 2
    return schedule.end + (1 - schedule.end) * left
