"""What the history of champions tells: how long each was in production, which one to go back to, how old it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.tracking.history import Event


@dataclass(frozen=True)
class Reign:
    """A champion's time in production."""

    event: Event  # that began it
    lasted: timedelta

    @property
    def ended(self) -> datetime:
        """Of the last one: now."""
        return datetime.fromisoformat(self.event.at) + self.lasted


def reigns(history: Sequence[Event], now: datetime) -> list[Reign]:
    """Each change with the time until the next one; until now for the last."""
    starts = [datetime.fromisoformat(event.at) for event in history]
    ends = [*starts[1:], now]
    none = timedelta(0)  # two machines' clocks may differ
    return [Reign(event, max(end - start, none)) for event, start, end in zip(history, starts, ends, strict=False)]


def earlier(history: Sequence[Event]) -> list[str]:
    """The versions to go back to, the one before first. Whoever was rolled back from, or taken away, is no longer
    among them until promoted again."""
    bad: set[str | None] = set()
    for event in history:
        if event.kind == "rollback" or not event.version:
            bad.add(event.before)
        bad.discard(event.version)
    current = history[-1].version if history else ""
    was = dict.fromkeys(event.version for event in reversed(history))
    return [version for version in was if version and version != current and version not in bad]


def age_alarm(history: Sequence[Event], now: datetime, max_age_days: float) -> str | None:
    """A sentence where the champion has been in production for more than so many days, else None."""
    if not history or not history[-1].version:
        return None
    last = reigns(history, now)[-1]
    days = last.lasted / timedelta(days=1)
    if days <= max_age_days:
        return None
    return (
        f"version {last.event.version} has been the champion for {days:.0f} days, more than gate.max_age_days of "
        f"{max_age_days:g}: no night since has put a better one in its place"
    )
