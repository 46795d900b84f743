"""The anchor: the best champion of the last nights, which a refit may not fall behind, night after night."""

from collections.abc import Sequence
from datetime import datetime

from tasks.store.refs import ChampionRef
from tasks.tracking.history import Event, read_history
from tasks.tracking.registry import find_version


def find_anchor(tracking_uri: str, champion: ChampionRef, night: datetime, nights: int) -> ChampionRef | None:
    """None where the champion itself is the best, or nothing is known of the others."""
    version = best_version(read_history(tracking_uri, champion.name), night, nights)
    if version is None or version == champion.version:
        return None
    return find_version(tracking_uri, champion.name, version)


def best_version(history: Sequence[Event], night: datetime, nights: int) -> str | None:
    """The champion of the last `nights` days that was best by the chain of measured gains."""
    return None
