"""Kinds of events: what a misspelt name in `ingest.events` would leave out without a word."""

from collections.abc import Mapping, Sequence

from tasks.split.config import Positives
from tasks.store.engine import engine
from tasks.store.refs import DatasetRef
from tasks.store.store import Store


def notes(store: Store, refs: Sequence[DatasetRef], positives: Positives) -> list[str]:
    """A sentence where `ingest.events` names a kind that no row is of; nothing else is odd."""
    if not positives.events:
        return []
    with engine(store) as sql:
        counted = sql.table(f"SELECT event, count(*) AS rows FROM {sql.rows(refs)} GROUP BY event ORDER BY rows DESC")
    return misnamed(
        positives.events, dict(zip(*(counted[name].to_pylist() for name in ("event", "rows")), strict=True))
    )


def misnamed(events: Mapping[str, float], rows: Mapping[str | None, int]) -> list[str]:
    """`rows`: how many rows there are of each kind; None is a row without one."""
    absent = [kind for kind in events if kind not in rows]
    if not absent:
        return []
    left_out = {kind: n for kind, n in rows.items() if kind not in events}
    listed = ", ".join(f"{kind or 'none'} ({n:,})" for kind, n in list(left_out.items())[:5])
    also = f"; rows of other kinds are left out: {listed}" if left_out else ""
    return [f"no row is of the kind {', '.join(absent)} that ingest.events names{also}"]
