"""Which epoch is the best so far, and how long ago the last progress was."""

from collections.abc import Sequence
from typing import NamedTuple

from ..base import Epoch
from ..config import StoppingConfig


class Standing(NamedTuple):
    """Where a fit is, told from its history alone: so it is the same after a restart."""

    best: int
    """The epoch whose weights are kept, from 1."""
    waited: int
    """Epochs from the last progress to the last that was judged."""


def look_back(history: Sequence[Epoch], stopping: StoppingConfig, judged: bool) -> Standing:
    """Of equal epochs the earliest is the best. Until one is judged, and if none ever is, the last one is kept."""
    best, progress, last_judged = history[-1].number, 0, 0
    best_value: float | None = None
    for epoch in history if judged else ():
        value = monitored(epoch, stopping)
        if value is None:
            continue
        last_judged = epoch.number
        if best_value is None or stopping.sign * (value - best_value) > stopping.min_delta:
            best, best_value = epoch.number, value
            if stopping.baseline is None or stopping.sign * (value - stopping.baseline) > stopping.min_delta:
                progress = epoch.number
    return Standing(best if stopping.restore_best_weights else history[-1].number, last_judged - progress)


def monitored(epoch: Epoch, stopping: StoppingConfig) -> float | None:
    """What the epoch is judged by; None where it was not validated."""
    return epoch.loss if stopping.monitor == "loss" else epoch.metrics.get(stopping.monitor)
