"""Facts about all files of a night together, by the names of `vocabulary.FACTS`: computed once, then judged by rules.

All come from what stands beside partitions, and from tables that the scan of the new files has left in DuckDB:
`new_users`, `new_items` (file, id, rows), `all_users`, `all_items` (id, rows), `repeats`. No old row is read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from pydantic import TypeAdapter

from tasks.expect.contract import microseconds
from tasks.store.engine import Engine
from tasks.store.refs import DatasetRef
from tasks.store.store import Store
from tasks.validate import drift
from tasks.validate.counting import N_EXAMPLES
from tasks.validate.incoming import FIRST_DATE_US
from tasks.validate.lake import COUNTS, Tally
from tasks.validate.ledger import Content, Delivery, GoodNight
from tasks.validate.profile import Profile, merged
from tasks.validate.result import Distribution, Figure
from tasks.validate.text import count_of, one_line
from tasks.validate.vocabulary import ID_COLUMN

DAY_US = 86_400 * 10**6
NIGHTS_COMPARED = 7
NIGHTS_OF_SILENCE = 3
"""Good nights that it takes to say how long this feed is usually silent."""


@dataclass(frozen=True)
class Baseline:
    """The snapshot of the last good night."""

    profile: Profile
    user_counts: DatasetRef
    item_counts: DatasetRef


@dataclass(frozen=True)
class Tonight:
    """What the facts are about: files by their numbers among tonight's contents."""

    contents: Sequence[Content]
    tallies: Mapping[int, Tally]  # of all interactions files
    new: frozenset[int]  # those of them that are new tonight
    kept: str  # a query of the rows that new files keep, and others that were settled anew
    features: Mapping[str, Sequence[DatasetRef]]  # users, items: their files
    delivery: Delivery
    as_of: datetime

    @property
    def profile(self) -> Profile:
        return merged(tally.profile for tally in self.tallies.values())

    @property
    def news(self) -> Profile:
        return merged(self.tallies[number].profile for number in sorted(self.new))


def baseline_of(store: Store, nights: Sequence[GoodNight]) -> Baseline | None:
    """None before the first good night, and where the snapshot is gone."""
    found = store.find(nights[-1].snapshot) if nights else None
    if found is None:
        return None
    refs = {name: DatasetRef(**found.manifest[name]) for name in COUNTS.values()}
    if not all(store.path(ref.path).is_file() for ref in refs.values()):
        return None
    return Baseline(TypeAdapter(Profile).validate_python(found.manifest["profile"]), **refs)


def facts(
    engine: Engine, tonight: Tonight, nights: Sequence[GoodNight], baseline: Baseline | None
) -> dict[str, Figure]:
    known = {**_volume(engine, tonight), **_features(engine, tonight), **_delivery(tonight.delivery)}
    known |= silence(tonight.profile.span.last, nights, tonight.as_of)
    return known if baseline is None else {**known, **_against(engine, tonight, nights, baseline)}


def _volume(engine: Engine, tonight: Tonight) -> dict[str, Figure]:
    new = [tonight.tallies[number] for number in sorted(tonight.new)]
    fed = [tonight.tallies[number] for number in sorted(tonight.new) if not tonight.contents[number].is_mended]
    read, repeated = sum(tally.read for tally in new), sum(tally.duplicates for tally in new)
    files = ", ".join(map(str, sorted(tonight.new))) or "NULL"
    repeats = f"SELECT file, source_row FROM repeats WHERE file IN ({files})"
    return {
        "rows": _plain(tonight.profile.rows),
        **{kind: _plain(engine.one(f"SELECT count(*) FROM all_{kind}")[0]) for kind in COUNTS},
        "timestamp_share": _timestamps(engine, tonight),
        "quarantined_share": _share(sum(tally.quarantined for tally in fed), sum(tally.read for tally in fed)),
        "duplicate_share": _share(repeated, read, _examples(engine, tonight, repeats) if repeated else ()),
    }


def _timestamps(engine: Engine, tonight: Tonight) -> Figure:
    """Where some rows have a time and some have not, the smaller group is the one to look at."""
    span = tonight.profile.span
    share = span.timed / span.rows if span.rows else 1.0
    shown = f"{span.timed:,} of {span.rows:,} rows have one"
    odd = f"SELECT file, source_row FROM ({tonight.kept}) WHERE timestamp IS {'' if share >= 0.5 else 'NOT '}NULL"
    examples = _examples(engine, tonight, odd) if 0 < share < 1 else ()
    return Figure(share, min(span.timed, span.rows - span.timed), span.rows, examples, shown)


def _features(engine: Engine, tonight: Tonight) -> dict[str, Figure]:
    found = {}
    for table, refs in tonight.features.items():
        column = ID_COLUMN[table]
        ids = f"SELECT DISTINCT file_index, {column} AS id FROM {engine.rows(refs)}"
        known = f"SELECT id FROM ({ids}) WHERE id IS NOT NULL"
        n_twice = engine.one(f"SELECT count(*) - count(DISTINCT id) FROM ({known})")[0]
        found[f"{table}_in_two_files"] = _plain(n_twice)
        lacking = engine.one(f"SELECT sum(rows) FROM all_{table} WHERE id NOT IN ({known})")[0] or 0
        rows = f"SELECT file, source_row FROM ({tonight.kept}) WHERE {column} NOT IN ({known})"
        examples = _examples(engine, tonight, rows) if lacking else ()
        found[f"unknown_{table}_share"] = _share(int(lacking), tonight.profile.rows, examples)
    return found


def _delivery(delivery: Delivery) -> dict[str, Figure]:
    listed = {"changed_files": delivery.changed, "repeated_files": delivery.repeated}
    return {name: Figure(len(files), shown=_listed(files)) for name, files in listed.items()}


def silence(newest: int | None, nights: Sequence[GoodNight], as_of: datetime) -> dict[str, Figure]:
    """How long nothing has happened, where times are times. The longest that was usual lies between two good nights."""
    if newest is None or newest < FIRST_DATE_US:
        return {}
    days = (microseconds(as_of) - newest) / DAY_US
    found = {"silent_days": Figure(days, shown=f"{days:.1f} days")}
    times = [night.newest for night in nights if night.newest is not None]
    gaps = [(later - earlier) / DAY_US for earlier, later in pairwise(times)]
    if len(times) >= NIGHTS_OF_SILENCE and max(gaps) > 0:
        shown = f"{days:.1f} days; at most {max(gaps):.1f} between good nights"
        found["silence_ratio"] = Figure(days / max(gaps), shown=shown)
    return found


def _against(engine: Engine, tonight: Tonight, nights: Sequence[GoodNight], baseline: Baseline) -> dict[str, Figure]:
    before, rows = baseline.profile.rows, tonight.profile.rows
    found: dict[str, Figure] = {}
    if before:
        found["volume"] = Figure(rows / before, shown=f"{count_of(rows, 'row')}, {before:,} before")
    for kind, ref in (("users", baseline.user_counts), ("items", baseline.item_counts)):
        lost = f"SELECT count(*) FROM {engine.rows([ref])} WHERE id NOT IN (SELECT id FROM all_{kind})"
        n_lost = engine.one(lost)[0]
        found[f"lost_{kind}_share"] = Figure(n_lost / max(ref.rows, 1), shown=f"{n_lost:,} of {ref.rows:,}")
    news = tonight.news
    if not news.rows:
        return found
    known = f"SELECT id FROM {engine.rows([baseline.item_counts])}"
    unknown = engine.one(f"SELECT sum(rows) FROM ({_new_items(tonight)}) WHERE id NOT IN ({known})")[0] or 0
    found["new_items_row_share"] = _share(int(unknown), news.rows)
    if baseline.profile.span.last is not None:
        found["late_share"] = _share(news.late, news.rows)
    # The first good night brought all that there was, so it says nothing of what is new on a usual one.
    usual = [night.new_rows for night in nights[1:] if night.new_rows][-NIGHTS_COMPARED:]
    if usual:
        shown = f"{count_of(news.rows, 'row')}, usually {median(usual):,.0f}"
        found["new_rows_ratio"] = Figure(news.rows / median(usual), shown=shown)
    return found


def distributions(engine: Engine, tonight: Tonight, baseline: Baseline | None) -> tuple[Distribution, ...]:
    """Tonight's new rows against those of the last good night."""
    news = tonight.news
    if baseline is None or not news.rows:
        return ()
    items = (
        "SELECT b.rows AS before, coalesce(n.rows, 0)::BIGINT AS today "
        f"FROM {engine.rows([baseline.item_counts])} AS b LEFT JOIN ({_new_items(tonight)}) AS n USING (id)"
    )
    rows = engine.table(items)
    before_I, today_I = rows["before"].to_numpy(), rows["today"].to_numpy()
    found = [drift.popularity(before_I, today_I, news.rows - int(today_I.sum()))]
    if news.ratings and baseline.profile.ratings:
        found.append(drift.rating(news.ratings, baseline.profile.ratings))
    if news.hours and baseline.profile.hours:
        found.append(drift.hour(news.hours, baseline.profile.hours))
    return tuple(found)


def _new_items(tonight: Tonight) -> str:
    """A query: how often each item comes up in new files."""
    files = ", ".join(map(str, sorted(tonight.new))) or "NULL"
    return f"SELECT id, sum(rows) AS rows FROM new_items WHERE file IN ({files}) GROUP BY id"


def _plain(value: int) -> Figure:
    return Figure(value, shown=f"{value:,}")


def _share(n_failing: int, n_total: int, examples: tuple[str, ...] = ()) -> Figure:
    share = n_failing / n_total if n_total else 0.0
    return Figure(share, n_failing, n_total, examples, f"{share:.2%}")


def _examples(engine: Engine, tonight: Tonight, rows: str) -> tuple[str, ...]:
    """The first of these rows (file, source_row), such as "log.csv row 17"."""
    first = engine.table(f"SELECT file, source_row FROM ({rows}) ORDER BY ALL LIMIT {N_EXAMPLES}").to_pylist()
    return tuple(f"{_label(tonight, row['file'])} row {row['source_row']}" for row in first)


def _label(tonight: Tonight, file: int) -> str:
    return one_line(tonight.contents[file].label, 200)


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - N_EXAMPLES:,} more" if len(files) > N_EXAMPLES else ""
    return ", ".join(one_line(file, 200) for file in files[:N_EXAMPLES]) + more if files else "none"
