"""Limits of the contract that fit a log: the scale on which its people rate, the day on which it begins."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from tasks.store.engine import Engine

EDGE = 0.01
"""Share of the values at either end that do not count: a few wrong ones must not stretch a limit."""
FIRST_EPOCH_US = 10**8 * 10**6
"""1973-03-03: times before it are ordinals, or clocks that were never set."""
SCALES = (
    (0.0, 1.0), (1.0, 5.0), (0.5, 5.0), (0.0, 5.0), (1.0, 10.0), (0.5, 10.0), (0.0, 10.0), (-10.0, 10.0), (0.0, 100.0),
)  # fmt: skip
"""On which people rate, the narrowest first."""
MOST_STEPS = 101


@dataclass(frozen=True)
class Limits:
    """None where the log tells none."""

    scale: tuple[float, float] | None
    earliest: date | None  # only where it lies before the usual limit


def limits_of(engine: Engine, rows: str, usual: date) -> Limits:
    """`rows` stands behind FROM; `usual` is the earliest day unless something says otherwise."""
    low, high, steps, first_us = engine.one(
        f"SELECT approx_quantile(rating, {EDGE}), approx_quantile(rating, {1 - EDGE}), approx_count_distinct(rating), "
        f"approx_quantile(epoch_us(timestamp), {EDGE}) FROM {rows} WHERE rating IS NULL OR isfinite(rating)"
    )
    scale = scale_of(low, high, steps) if low is not None else None
    return Limits(scale, _earliest(first_us, usual))


def scale_of(low: float, high: float, steps: int) -> tuple[float, float] | None:
    """The narrowest scale that holds all, if at least half of it is used."""
    if steps > MOST_STEPS or steps < 2:
        return None
    fitting = [scale for scale in SCALES if scale[0] <= low and high <= scale[1]]
    used = [scale for scale in fitting if high - low >= 0.5 * (scale[1] - scale[0])]
    return min(used, key=lambda scale: scale[1] - scale[0], default=None)


def _earliest(first_us: int | None, usual: date) -> date | None:
    """The first of January of the year in which the log begins, where that is before the usual day."""
    if first_us is None or first_us < FIRST_EPOCH_US:
        return None
    began = date(datetime.fromtimestamp(first_us / 1e6, tz=UTC).year, 1, 1)
    return began if began < usual else None
