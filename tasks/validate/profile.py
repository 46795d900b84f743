"""What a file's accepted rows are like: small numbers that stand beside a partition, so that no later night has to scan
its rows again."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.store.engine import Engine

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_ROUNDED = "CASE WHEN value = 0 THEN 0 ELSE round(value, 1 - floor(log10(abs(value)))::INTEGER) END"
"""To two digits: 90 values a power of ten at most, the same in every file, and exact for all usual scales."""


@dataclass(frozen=True)
class Span:
    """Of a file's interactions: how many there are, how many have a time, and from when to when, in microseconds since
    1970."""

    rows: int = 0
    timed: int = 0
    first: int | None = None
    last: int | None = None

    def overlaps(self, other: "Span") -> bool:
        """Whether the two may share rows, as far as their times tell."""
        if not self.rows or not other.rows:
            return False
        ours, theirs = self._ends, other._ends
        return ours is None or theirs is None or (ours[0] <= theirs[1] and theirs[0] <= ours[1])

    @property
    def _ends(self) -> tuple[int, int] | None:
        """None where some row has no time: it may be a row of any file."""
        if self.timed < self.rows or self.first is None or self.last is None:
            return None
        return self.first, self.last


@dataclass(frozen=True)
class Profile:
    """Of a file's accepted interactions."""

    span: Span = Span()
    late: int = 0  # rows older than the newest of the night before
    ratings: Mapping[str, int] = field(default_factory=dict)  # rows by rating
    hours: Mapping[str, int] = field(default_factory=dict)  # rows by hour of the day, UTC; empty for mere ordinals

    @property
    def rows(self) -> int:
        return self.span.rows


def profiles(engine: Engine, rows: str, dated: Iterable[int], newest: int | None) -> dict[int, Profile]:
    """By file, from a query of the accepted rows of these files. `dated`: files whose times are times.

    Leaves the tables `new_users` and `new_items` (file, id, rows) behind.
    """
    for table, column in (("new_users", "user_id"), ("new_items", "item_id")):
        counts = f"SELECT file, {column} AS id, count(*) AS rows FROM ({rows}) GROUP BY ALL"
        engine.run(f"CREATE OR REPLACE TEMP TABLE {table} AS {counts} ORDER BY file, id")
    late = "0" if newest is None else f"count(*) FILTER (epoch_us(timestamp) < {newest})"
    sql = (
        "SELECT file, count(*) AS rows, count(timestamp) AS timed, min(epoch_us(timestamp)) AS first, "
        f"max(epoch_us(timestamp)) AS last, {late} AS late FROM ({rows}) GROUP BY file"
    )
    totals = engine.table(sql).to_pylist()
    ratings = _histograms(engine, f"SELECT file, rating AS value FROM ({rows}) WHERE isfinite(rating)", _ROUNDED)
    numbers = ", ".join(map(str, sorted(dated))) or "NULL"
    time = f"(epoch_us(timestamp) % {DAY_US} + {DAY_US}) % {DAY_US}"  # before 1970 the remainder is negative
    hours = _histograms(engine, f"SELECT file, {time} // {HOUR_US} AS value FROM ({rows}) WHERE file IN ({numbers})")
    none: dict[str, int] = {}
    return {
        row["file"]: Profile(
            Span(row["rows"], row["timed"], row["first"], row["last"]),
            row["late"],
            ratings.get(row["file"], none),
            hours.get(row["file"], none),
        )
        for row in totals
    }


def _histograms(engine: Engine, values: str, shown: str = "value") -> dict[int, dict[str, int]]:
    """Equal values are counted first, and only then made what is shown of them: that is ten times faster."""
    counts = f"SELECT file, value, count(*) AS rows FROM ({values}) WHERE value IS NOT NULL GROUP BY file, value"
    sql = f"SELECT file, {shown} AS shown, sum(rows)::BIGINT AS rows FROM ({counts}) GROUP BY ALL ORDER BY ALL"
    found: dict[int, dict[str, int]] = {}
    for row in engine.table(sql).to_pylist():
        found.setdefault(row["file"], {})[f"{row['shown']:g}"] = row["rows"]
    return found


def merged(parts: Iterable[Profile]) -> Profile:
    """Of several files together."""
    every = list(parts)
    spans = [part.span for part in every]
    span = Span(
        sum(span.rows for span in spans),
        sum(span.timed for span in spans),
        min((span.first for span in spans if span.first is not None), default=None),
        max((span.last for span in spans if span.last is not None), default=None),
    )
    late = sum(part.late for part in every)
    return Profile(span, late, _added(part.ratings for part in every), _added(part.hours for part in every))


def _added(histograms: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(sorted(total.items(), key=lambda entry: float(entry[0])))
