"""Which epoch is the best so far, and how long ago the last progress was."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..base import Epoch
from .config import StoppingConfig


class Standing(NamedTuple):
    """Where a fit is, told from its history alone: so it is the same after a restart."""

    best: int
    """The epoch whose weights are kept, from 1."""
    waited: int
    """Epochs from the last progress to the last that was judged."""


def look_back(history: Sequence[Epoch], stopping: StoppingConfig, judged: bool) -> Standing:
    """Of equal epochs the earliest is the best. Until one is judged, and if none ever is, the last one is kept."""
    values = _judged_by(history, stopping) if judged else []
    better = records(values, stopping)
    best = better[-1][0] if better else history[-1].number
    reached = [number for number, value in better if _beats(value, stopping.baseline, stopping)]
    # a fit that begins late has not been waiting since epoch 1
    progress = reached[-1] if reached else max(history[0].number - 1, stopping.start_from_epoch)
    waited = values[-1][0] - progress if values else 0
    return Standing(best if stopping.restore_best_weights else history[-1].number, waited)


def records(
    values: Iterable[tuple[int, float]], stopping: StoppingConfig, first: float | None = None
) -> list[tuple[int, float]]:
    """The epochs that were each better than all before, and than `first`, with their values."""
    found: list[tuple[int, float]] = []
    for number, value in values:
        if _beats(value, found[-1][1] if found else first, stopping):
            found.append((number, value))
    return found


def report(history: Sequence[Epoch], stopping: StoppingConfig) -> str | None:
    """What `stopping.verbose` says of the last epoch; None where it was not judged."""
    values = _judged_by(history, stopping)
    if not values or values[-1][0] != history[-1].number:
        return None
    (number, value), before = values[-1], records(values[:-1], stopping)
    known = f"from {before[-1][1]:.5f}" if before else "from nothing"
    if records(values, stopping) == before:
        return f"epoch {number}: {stopping.monitor} did not improve {known} (it is {value:.5f})"
    return f"epoch {number}: {stopping.monitor} improved {known} to {value:.5f}"


def _judged_by(history: Sequence[Epoch], stopping: StoppingConfig) -> list[tuple[int, float]]:
    values = [(e.number, monitored(e, stopping)) for e in history if e.number > stopping.start_from_epoch]
    return [(number, value) for number, value in values if value is not None]


def _beats(value: float, other: float | None, stopping: StoppingConfig) -> bool:
    return other is None or stopping.sign * (value - other) > stopping.min_delta


def monitored(epoch: Epoch, stopping: StoppingConfig) -> float | None:
    """What the epoch is judged by; None where it was not validated."""
    return epoch.loss if stopping.monitor == "loss" else epoch.metrics.get(stopping.monitor)
