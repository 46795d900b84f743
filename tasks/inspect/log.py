"""A profile of the interactions as a night would accept them: who, what, how often, when."""

from dataclasses import dataclass

from tasks.store.engine import Engine, quoted

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
MOST_RATINGS = 25
MOST_EVENTS = 20
NEWEST = 0.9
"""The moment after which a tenth of the rows lies, where a split by time cuts."""


@dataclass(frozen=True)
class Activity:
    """How many rows each user, or each item, has."""

    count: int
    least: int
    quantiles: tuple[float, ...]  # of QUANTILES
    most: int
    commonest_share: float  # of the rows, that the one with the most has

    @property
    def median(self) -> float:
        return self.quantiles[QUANTILES.index(0.5)]


@dataclass(frozen=True)
class Log:
    """What stands in the accepted rows. Times are texts, because data holds years that Python's datetime does not."""

    rows: int
    users: Activity
    items: Activity
    timestamp_share: float
    first: str | None
    last: str | None
    seconds: float  # from the first to the last
    duplicates: int  # rows equal to an earlier one in all but their place
    repeats: int  # rows whose user had that item before, exact duplicates among them
    known_share: float | None  # of the newest tenth of the rows, those whose user has earlier ones; None without times
    ratings: tuple[tuple[str, int], ...]  # value or range, and its rows
    events: tuple[tuple[str | None, int], ...]

    @property
    def repeat_share(self) -> float:
        """Exact duplicates left out: they are dropped."""
        return (self.repeats - self.duplicates) / max(self.rows - self.duplicates, 1)


def profile_log(engine: Engine, rows: str) -> Log:
    """Of all rows, exact but for one thing: rows are told from each other by 64 bits of hash, so that of a hundred
    million, one passes for a duplicate by chance in one log of four thousand. `rows` stands behind FROM."""
    n, timed, first, last, seconds = engine.one(
        f"SELECT count(*), count(timestamp), strftime(min(timestamp), '%Y-%m-%d %H:%M:%S'), "
        f"strftime(max(timestamp), '%Y-%m-%d %H:%M:%S'), (epoch_us(max(timestamp)) - epoch_us(min(timestamp))) / 1e6 "
        f"FROM {rows}"
    )
    return Log(
        n,
        _activity(engine, rows, "user_id"),
        _activity(engine, rows, "item_id"),
        timed / n if n else 0.0,
        first,
        last,
        float(seconds or 0),
        _twice(engine, rows, "user_id, item_id, rating, timestamp, event"),
        _twice(engine, rows, "user_id, item_id"),
        _known_share(engine, rows) if timed else None,
        _ratings(engine, rows),
        _events(engine, rows),
    )


def facts_of(log: Log, quarantined: int, read: int) -> dict[str, float]:
    """The facts about all files that are known without earlier nights."""
    return {
        "rows": log.rows - log.duplicates,
        "users": log.users.count,
        "items": log.items.count,
        "timestamp_share": log.timestamp_share,
        "quarantined_share": quarantined / max(read, 1),
        "duplicate_share": log.duplicates / max(read, 1),
    }


def _activity(engine: Engine, rows: str, column: str) -> Activity:
    wanted = f"[{', '.join(map(str, QUANTILES))}]"
    count, least, quantiles, most, total = engine.one(
        f"SELECT count(*), min(n), quantile_cont(n, {wanted}), max(n), sum(n) FROM "
        f"(SELECT count(*) AS n FROM {rows} WHERE {quoted(column)} IS NOT NULL GROUP BY {quoted(column)})"
    )
    if not count:
        return Activity(0, 0, (0.0,) * len(QUANTILES), 0, 0.0)
    return Activity(count, least, tuple(map(float, quantiles)), most, most / float(total))


def _twice(engine: Engine, rows: str, columns: str) -> int:
    """Rows that are equal in these columns to another, the first of each left out."""
    (n,) = engine.one(
        f"SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM {rows} GROUP BY hash({columns}))"
    )
    return int(n)


def _known_share(engine: Engine, rows: str) -> float:
    """Where this is small, a cut in time leaves most users without a past."""
    (cut,) = engine.one(f"SELECT approx_quantile(epoch_us(timestamp), {NEWEST}) FROM {rows}")
    new, known = engine.one(
        f"SELECT sum(n_new), coalesce(sum(n_new) FILTER (n_old > 0), 0) FROM (SELECT "
        f"count(*) FILTER (epoch_us(timestamp) > {int(cut)}) AS n_new, "
        f"count(*) FILTER (epoch_us(timestamp) <= {int(cut)}) AS n_old FROM {rows} GROUP BY user_id)"
    )
    return float(known) / float(new) if new else 1.0


def _ratings(engine: Engine, rows: str) -> tuple[tuple[str, int], ...]:
    low, high, different = engine.one(f"SELECT min(rating), max(rating), approx_count_distinct(rating) FROM {rows}")
    if low is None:
        return ()
    if different <= MOST_RATINGS:
        found = engine.table(f"SELECT rating, count(*) AS n FROM {rows} WHERE rating IS NOT NULL GROUP BY 1 ORDER BY 1")
        return tuple((f"{row['rating']:g}", row["n"]) for row in found.to_pylist())
    width = (high - low) / BINS or 1.0
    found = engine.table(
        f"SELECT least(floor((rating - {low!r}) / {width!r}), {BINS - 1}) AS bin, count(*) AS n FROM {rows} "
        "WHERE rating IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return tuple(
        (f"{low + row['bin'] * width:.3g} to {low + (row['bin'] + 1) * width:.3g}", row["n"])
        for row in found.to_pylist()
    )


def _events(engine: Engine, rows: str) -> tuple[tuple[str | None, int], ...]:
    """The commonest; none where no row has one."""
    found = engine.table(
        f"SELECT event, count(*) AS n FROM {rows} GROUP BY 1 ORDER BY n DESC, event LIMIT {MOST_EVENTS}"
    ).to_pylist()
    counts: tuple[tuple[str | None, int], ...] = tuple((row["event"], row["n"]) for row in found)
    return () if all(event is None for event, _ in counts) else counts
