"""The anchor: the best champion of the last nights, which a refit may not fall behind, night after night."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tasks.store.refs import ChampionRef
from tasks.tracking.history import Event, read_history
from tasks.tracking.registry import find_version


def find_anchor(tracking_uri: str, champion: ChampionRef, night: datetime, nights: int) -> ChampionRef | None:
    """None where the champion itself is the best, or nothing is known of the others, or of how it became champion."""
    history = read_history(tracking_uri, champion.name)
    version = best_version(history, night, nights)
    if version is None or version == champion.version or history[-1].version != champion.version:
        return None
    return find_version(tracking_uri, champion.name, version)


def best_version(history: Sequence[Event], night: datetime, nights: int) -> str | None:
    """The best of those that were champion in the last `nights` days, by the chain of measured gains.

    None without nights or history. Versions that a change without a measured gain lies between cannot be compared:
    only those on the present champion's side of it count. One that somebody rolled back from has been judged by a
    person: it counts again only if it became champion again."""
    if not history or not nights:
        return None
    quality = chain(history)
    since = night - timedelta(days=nights)
    ends = [*(_moment(event.at) for event in history[1:]), datetime.max.replace(tzinfo=UTC)]
    recent = {event.version for event, end in zip(history, ends, strict=True) if end >= since}
    able = recent & quality.keys() - withdrawn(history) - {""}  # an empty version: nobody was champion
    newest_first = [version for version in reversed(quality) if version in able]
    return max(newest_first, key=lambda version: quality[version], default=None)


def chain(history: Sequence[Event]) -> dict[str, float]:
    """How good each version is, as far as it can be compared with the present champion; the zero is arbitrary."""
    quality: dict[str, float] = {}
    for event in history:
        if event.version in quality:  # it is champion again, and as good as it was
            continue
        if event.gain is None or event.before not in quality:
            quality = {event.version: 0.0}
        else:
            quality[event.version] = quality[event.before] + event.gain
    return quality


def withdrawn(history: Sequence[Event]) -> set[str]:
    """Versions that somebody rolled back from, and that did not become champion since."""
    gone: set[str] = set()
    for event in history:
        if event.kind == "rollback" and event.before is not None:
            gone.add(event.before)
        gone.discard(event.version)
    return gone


def _moment(at: str) -> datetime:
    moment = datetime.fromisoformat(at)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
