"""`encore history`, `promote`, `rollback` and `freeze`: the champion in daily life, in a person's hands.

Every change is made under the dataset's lease, by the same steps as a night's, without Prefect's server.
"""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flows.championed import print_change, print_freeze, print_history
from flows.commands import FreezeConfig, HistoryConfig, PromoteConfig, RollbackConfig
from flows.config import Settings
from flows.keeper import RECENT, Keeper, about, champion_of, change, find, holding, refuse_unregistered, told
from flows.typed import lift_command, promote_command
from tasks.errors import ConfigError
from tasks.tracking import history as past
from tasks.tracking.history import Event
from tasks.tracking.reigns import earlier, reigns

if TYPE_CHECKING:
    from tasks.store.refs import ChampionRef


def history(config: HistoryConfig, settings: Settings) -> dict[str, Any]:
    """What was champion when, and why; which versions wait, and which were refused of late. Changes nothing."""
    from tasks.publish.pointer import shown

    settings, now = settings.resolved(), datetime.now(UTC)
    refuse_unregistered(settings.tracking_uri, config.model)
    events = past.read_history(settings.tracking_uri, config.model)
    versions = past.recent(settings.tracking_uri, config.model, RECENT)
    begun = past.pending(settings.tracking_uri, config.model)
    shows = shown(settings.store, config.dataset)
    return {
        **about(config, settings),
        "champion": past.alias_of(settings.tracking_uri, config.model),
        "reigns": [{**asdict(one.event), "days": one.lasted / timedelta(days=1)} for one in reigns(events, now)],
        "waiting": _tagged(versions, "waiting"),
        "refused": _tagged(versions, "refused"),
        "frozen": past.frozen(settings.tracking_uri, config.model),
        "pending": asdict(begun) if begun else None,
        "published": {"version": shows[0], "registered_model": shows[1]} if shows else None,
    }


def promote(config: PromoteConfig, settings: Settings) -> dict[str, Any]:
    """Makes a registered version the champion, whatever the gate said, and publishes its lists.

    Raises ConfigError for an unknown version, one of another dataset, and where production shows another registered
    model's lists and nothing is said of it."""
    if not config.reason.strip():
        raise ConfigError("a promotion by hand needs a reason", "--reason='what you know that the gate does not'")
    with holding(config, settings) as held:
        from flows.crown import other_owner

        others = other_owner(held.store, held.dataset, held.name)
        if others and not config.take_over:
            raise ConfigError(*others[0].split("; ", 1))
        version = find(held, config.version)
        if version.version == champion_of(held) and not others:
            return told(held, None)
        return change(held, version, "promote", config.reason, config.recommend, config.take_over)


def rollback(config: RollbackConfig, settings: Settings) -> dict[str, Any]:
    """Makes an earlier champion the champion again, and publishes its lists.

    Raises ConfigError where there is none, or the version that was named never was one."""
    with holding(config, settings) as held:
        events = past.read_history(held.settings.tracking_uri, held.name)
        if config.to and config.to == champion_of(held):
            return told(held, None)
        return change(held, _target(held, events, config.to), "rollback", config.reason, config.recommend)


def freeze(config: FreezeConfig, settings: Settings) -> dict[str, Any]:
    """No night changes the champion until it is lifted. Works while a night runs, and counts for that one, too."""
    settings = settings.resolved()
    uri = settings.tracking_uri
    refuse_unregistered(uri, config.model)
    before = past.frozen(uri, config.model)
    if config.lift and config.reason:
        raise ConfigError("reason and lift exclude each other", lift_command(config.dataset, config.model))
    if not config.lift:
        if not config.reason.strip():
            raise ConfigError("a freeze needs a reason", "--reason='why', or --lift to end one")
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        past.freeze(uri, config.model, f"{' '.join(config.reason.split())} ({getpass.getuser()}, {since})")
    elif before is not None:
        past.freeze(uri, config.model, None)
    return {**about(config, settings), "frozen": past.frozen(uri, config.model), "before": before}


def _target(held: Keeper, events: Sequence[Event], to: str) -> "ChampionRef":
    from tasks.tracking.registry import find_version

    was = list(dict.fromkeys(event.version for event in reversed(events) if event.version))
    if to and to not in was:
        find(held, to)
        raise ConfigError(
            f"version {to} of {held.name} never was the champion; these were: {', '.join(was) or 'none'}",
            f"to let it out all the same: {promote_command(held.dataset, held.name, to)}",
        )
    if to:
        return find(held, to)
    for version in earlier(events):
        if found := find_version(held.settings.tracking_uri, held.name, version):
            return found
    raise ConfigError(
        f"{held.name} has no earlier champion to go back to",
        f"see encore history; any version can be let out: {promote_command(held.dataset, held.name, 'VERSION')}",
    )


def _tagged(versions: Mapping[str, Mapping[str, str]], decision: str) -> list[dict[str, Any]]:
    """Those versions about which the gate decided so, with what it said."""
    return [
        {
            "version": version,
            "as_of": tags.get("as_of", ""),
            "why": [f"{key.removeprefix('check: ')}: {tags[key]}" for key in sorted(tags) if _speaks(key, tags[key])],
        }
        for version, tags in versions.items()
        if tags.get("decision") == decision
    ]


def _speaks(key: str, value: str) -> bool:
    return key.startswith("check: ") and value.startswith("FAILED")


def show_history(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_history(result)


def show_promote(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_change(result)


def show_rollback(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_change(result)


def show_freeze(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_freeze(result)
