"""What a command that changes the champion needs: the dataset, settled, and one way to make the change."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands import Registered
from flows.config import Settings
from tasks.errors import Busy, ConfigError, RunFailed
from tasks.publish.config import RecommendConfig
from tasks.store.lease import lease
from tasks.store.store import Store
from tasks.tracking import history as past
from tasks.tracking.history import Event, Kind

if TYPE_CHECKING:
    from tasks.store.refs import ChampionRef

RECENT = 50  # versions whose tags are looked at, and that a refusal names
NOTHING_YET = "run encore retrain first, or name the dataset: --ingest.name=NAME"


@dataclass(frozen=True)
class Keeper:
    """A command that holds a dataset; it runs the nights' steps as plain functions."""

    dataset: str
    name: str  # of the registered model
    settings: Settings
    settled: tuple[str, ...] = ()  # what was found half done, or done by hand

    @property
    def store(self) -> Store:
        return self.settings.store

    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        return getattr(work, "fn", work)(*args)


@contextmanager
def holding(config: Registered, settings: Settings) -> Iterator[Keeper]:
    """The dataset, settled. Raises ConfigError for one that does not exist, Busy while a night runs."""
    settings = settings.resolved()
    store, uri, name = settings.store, settings.tracking_uri, config.model
    refuse_unregistered(uri, name)
    if not any(store.path(f"{place}/{config.dataset}").exists() for place in ("lake", "published")):
        raise ConfigError(f"there is no dataset {config.dataset!r} in {store.root}", "set --data_dir or --ingest.name")
    try:
        with lease(store, config.dataset):
            from flows.crown import settle  # torch and Prefect: seconds, which a refusal does not need

            held = Keeper(config.dataset, name, settings)
            yield Keeper(config.dataset, name, settings, tuple(settle(held, name)))
    except Busy as error:
        hint = "wait for it, or stop it: a night can be killed at any time, and the next one goes on where it was"
        raise Busy(error.message, hint) from error


def put_right(dataset: str, name: str, settings: Settings) -> list[str]:
    """What `settle` does, for a night in which nothing changed; at once where alias, history and lists agree. Where
    another run holds the dataset, that one does it."""
    from tasks.publish.pointer import owner, shown

    store, uri = settings.store, settings.tracking_uri
    events, alias, shows = past.read_history(uri, name), past.alias_of(uri, name), shown(store, dataset)
    is_shown = alias is None or owner(store, dataset) not in (None, name) or (shows is not None and shows[0] == alias)
    if is_shown and past.pending(uri, name) is None and (events[-1].version if events else "") == (alias or ""):
        return []
    from flows.crown import settle

    with suppress(Busy), lease(store, dataset):
        return settle(Keeper(dataset, name, settings), name)
    return []


def change(
    held: Keeper,
    version: "ChampionRef",
    kind: Kind,
    reason: str,
    asked: RecommendConfig,
    takes_over: bool = False,
) -> dict[str, Any]:
    """Crowns the version once it is known that it can be loaded and that its lists are there."""
    from flows.crown import crown
    from flows.republish import lists_of
    from tasks.tracking.registry import load_champion

    try:
        load_champion(held.settings.tracking_uri, version, held.dataset)
        lists = lists_of(held, version, asked=asked)
    except RunFailed as error:
        raise RunFailed(
            error.message.replace("the champion (", "the version ("), "name another version, by --to for a rollback"
        ) from error
    now, before = datetime.now(UTC).isoformat(timespec="milliseconds"), champion_of(held)
    ours = (version.name, version.version, before, kind, reason, getpass.getuser(), now, held.dataset, lists)
    event = Event(*ours, _gain(version, before), takes_over=takes_over)
    crown(held, event)
    return told(held, event)


def _gain(version: "ChampionRef", before: str | None) -> float | None:
    """By how much the version is better than the champion that it replaces, where the gate has measured that and let it
    wait for a person: the chain of gains, by which the anchor is found, goes on. Who overrules the gate begins anew."""
    tags = version.tags
    waited = tags.get("decision") == "waiting" and tags.get("champion") == (before or "")
    return float(tags["gain"]) if waited and tags.get("gain") else None


def find(held: Keeper, version: str) -> "ChampionRef":
    """Raises ConfigError for a version that does not exist, or is of another dataset."""
    from tasks.tracking.registry import find_version

    found = find_version(held.settings.tracking_uri, held.name, version)
    if found is None:
        known = past.recent(held.settings.tracking_uri, held.name, RECENT)
        raise ConfigError(f"{held.name} has no version {version!r}", f"the latest are {', '.join(known) or 'none'}")
    if (dataset := found.tags.get("dataset", held.dataset)) != held.dataset:
        raise ConfigError(
            f"version {version} of {held.name} was trained on {dataset!r}, not on {held.dataset!r}",
            "name its dataset by --ingest.name",
        )
    return found


def champion_of(held: Keeper) -> str | None:
    """The champion's version; None where there is none."""
    from tasks.tracking.registry import find_champion

    found = find_champion(held.settings.tracking_uri, held.name)
    return found.version if found else None


def told(held: Keeper, event: Event | None) -> dict[str, Any]:
    """The result of a change; without an event nothing was changed."""
    from flows.crown import other_owner
    from tasks.publish.pointer import published

    lists = published(held.store, held.dataset)
    return {
        **about(held, held.settings),
        "champion": champion_of(held),
        "changed": asdict(event) if event else None,
        "settled": list(held.settled),
        "warnings": other_owner(held.store, held.dataset, held.name),
        "frozen": past.frozen(held.settings.tracking_uri, held.name),
        "published": str(held.store.path(lists)) if lists else None,
    }


def about(one: Registered | Keeper, settings: Settings) -> dict[str, Any]:
    """What every result begins with."""
    name = one.name if isinstance(one, Keeper) else one.model
    return {"dataset": one.dataset, "registered_model": name, "data_dir": str(settings.data_dir)}


def refuse_unregistered(uri: str, name: str) -> None:
    """Raises ConfigError where no night has registered such a model: before a database is made, too."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ConfigError(f"there is no tracking database {uri}", "set --tracking_uri, or run encore retrain first")
    known = past.registered_names(uri)
    if name not in known:
        shown = f"registered are {', '.join(known)}: name one by --ingest.name or --registered_model"
        raise ConfigError(f"no model {name!r} is registered", shown if known else NOTHING_YET)
