"""A new champion, in an order that can be cut short anywhere: announced, crowned, published, concluded.

Alias, history and what production serves agree after every `settle`, whatever was killed or done by hand before.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from flows.republish import Around, lists_of
from flows.typed import promote_command
from tasks.errors import EncoreError, RunFailed
from tasks.promote.task import announce, conclude, promote
from tasks.publish.pointer import owner, serves_a_champion, shown
from tasks.publish.task import publish
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.tracking.history import Event, frozen, let_wait, pending, read_history, withdraw
from tasks.tracking.registry import find_champion, find_version
from tasks.tracking.reigns import age_alarm

LOG = logging.getLogger("encore.crown")
BEFORE_THE_HISTORY = "champion since before the history began"
MOVED = "the alias `champion` was moved in MLflow"
TAKEN = "the alias `champion` was taken away in MLflow"


def crown(around: Around, event: Event) -> None:
    """Makes the version the champion, and its lists what production serves. Doing it twice changes nothing.

    Raises RunFailed for a night whose champion was changed, or frozen, by hand while it ran: a person's word counts
    for more, and it was judged beside another one.
    """
    uri = around.settings.tracking_uri
    if why := _overtaken(uri, event):
        _give_up(uri, event, why)
        raise RunFailed(
            f"version {event.version} was to be the champion, but meanwhile {why}: nothing was changed, and it waits",
            f"to let it out all the same: {promote_command(event.dataset, event.name, event.version)}",
        )
    around.step("promote", announce, uri, event)
    _carry_out(around, event)


def settle(around: Around, name: str) -> list[str]:
    """Finishes what a killed run announced, writes down what was done by hand in MLflow, and lets production serve the
    champion's lists where it does not. Returns a sentence for each; mostly there is none."""
    told = [*_finish(around, name), *_follow(around, name), *_show(around, name)]
    for sentence in told:
        LOG.warning(sentence)
    return told


def alarms(around: Around, name: str, max_age_days: float, now: datetime) -> list[str]:
    """What a person should know of the champion: that it is old, or that production shows another model's lists."""
    age = age_alarm(read_history(around.settings.tracking_uri, name), now, max_age_days)
    return [*([age] if age else []), *other_owner(around.store, around.dataset, name)]


def other_owner(store: Store, dataset: str, name: str) -> list[str]:
    """A sentence where production shows the lists of another registered model: no night takes its place."""
    shows = owner(store, dataset)
    if shows in (None, name):
        return []
    return [
        f"published/{dataset} shows the lists of the registered model {shows!r} and stays with it; to hand it over: "
        f"{promote_command(dataset, name, 'VERSION')} --take_over"
    ]


def needs_a_floor(around: Around, name: str) -> bool:
    """Whether a floor's lists are to go out: there is no champion, and none is served but one that was taken away."""
    uri, store, dataset = around.settings.tracking_uri, around.store, around.dataset
    if _current(uri, name) or other_owner(store, dataset, name):
        return False
    return bool(read_history(uri, name)) or not serves_a_champion(store, dataset)


def _carry_out(around: Around, event: Event) -> None:
    uri, store = around.settings.tracking_uri, around.store
    if event.version:
        around.step("promote", promote, uri, event)
    if event.lists and (event.takes_over or not other_owner(store, around.dataset, event.name)):
        around.step("recommend", publish, store, around.dataset, event.lists)
    around.step("promote", conclude, uri, event)


def _overtaken(uri: str, event: Event) -> str | None:
    """What was done by hand since the event's champion was looked up; None where that is still the champion, or the
    event is carried out already. A freeze stops nights only."""
    current = _current(uri, event.name)
    if current == event.version:
        return None
    if current != (event.before or ""):
        return f"the champion was changed by hand to {f'version {current}' if current else 'nobody'}"
    reason = frozen(uri, event.name) if event.kind == "night" else None
    return f"the champion was frozen: {reason}" if reason is not None else None


def _finish(around: Around, name: str) -> Iterator[str]:
    """What was announced and not concluded: carried out, unless somebody has decided otherwise since."""
    uri = around.settings.tracking_uri
    if (event := pending(uri, name)) is None:
        return
    if not event.version or any(one.is_same(event) for one in read_history(uri, name)):
        around.step("promote", conclude, uri, event)  # all that was left
        return
    version = find_version(uri, name, event.version)
    lists, problem = _lists(around, version, event.lists) if version else ("", "it is gone")
    moved = _current(uri, name) == event.version
    begun = f"the {event.kind} of version {event.version} at {event.at} was cut short"
    if why := _overtaken(uri, event) or (None if moved else problem):
        _give_up(uri, event, why)
        yield f"{begun} and stays undone: {why}"
        return
    _carry_out(around, replace(event, lists=lists))
    yield f"{begun} and is finished now" + (f", but {problem}" if problem else "")


def _give_up(uri: str, event: Event, why: str) -> None:
    if event.kind == "night":
        let_wait(uri, event, why)
    withdraw(uri, event.name)


def _follow(around: Around, name: str) -> Iterator[str]:
    """The alias was moved or taken away in MLflow, or is older than the history: a change like every other."""
    uri = around.settings.tracking_uri
    champion, past = find_champion(uri, name), read_history(uri, name)
    last = past[-1].version if past else ""
    version = champion.version if champion else ""
    if version == last:
        return
    lists, problem = _lists(around, champion) if champion else ("", None)
    reason = (MOVED if past else BEFORE_THE_HISTORY) if champion else TAKEN
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    crown(around, Event(name, version, last or None, "by hand", reason, "unknown", now, around.dataset, lists))
    if past:
        told = f"{reason}: {f'version {version}' if version else 'nobody'} is the champion"
        yield told + (f", but {problem}" if problem else "")


def _show(around: Around, name: str) -> Iterator[str]:
    """Production serves the champion's lists, but for those of another registered model."""
    champion = find_champion(around.settings.tracking_uri, name)
    store, dataset = around.store, around.dataset
    if champion is None or other_owner(store, dataset, name):
        return
    serves = shown(store, dataset)
    if serves is not None and serves[0] == champion.version:
        return
    lists, problem = _lists(around, champion)
    if lists:
        around.step("recommend", publish, store, dataset, lists)
    was = f"showed version {serves[0]}" if serves else "showed nothing"
    yield f"published/{dataset} {was}: " + (problem or f"it shows the champion, version {champion.version}, again")


def _lists(around: Around, version: ChampionRef, told: str = "") -> tuple[str, str | None]:
    """The folder of a version's lists; empty, and why, where they cannot be made: then what is out stays."""
    try:
        return lists_of(around, version, told), None
    except EncoreError as error:
        return "", f"its lists are gone and cannot be made again: {error}"


def _current(uri: str, name: str) -> str:
    """The champion's version; empty where there is none."""
    champion = find_champion(uri, name)
    return champion.version if champion else ""
