"""Which version was champion when, and why: kept as tags of the registered model, beside the alias that it explains.

A change of the champion is announced before anything moves and concluded once all has moved, so that one that was cut
short is told, and finished, by whoever comes next.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from tasks.tracking.runs import connect, unreachable

CHAMPION = "champion"
PENDING = "champion.pending"
EVENT = "champion.{number:06d}"
FROZEN = "frozen"
DESCRIPTION = "Champion: "  # begins our paragraph of the registered model's description; the others are the reader's
MAX_REASON = (
    1000  # a database other than SQLite refuses a tag of more than 5000 characters, and a reason is one of many
)

Kind = Literal["night", "promote", "rollback", "by hand"]


@dataclass(frozen=True)
class Event:
    """One change of the champion."""

    name: str  # of the registered model
    version: str  # empty: nobody, the alias was taken away
    before: str | None  # the champion that it replaced
    kind: Kind
    reason: str
    by: str
    at: str  # when, ISO 8601 in UTC
    dataset: str
    lists: str  # folder of the lists that go out with it, relative to the data folder; empty: none do
    gain: float | None = None  # mean difference in NDCG@10 to the one before, user by user; None: not measured
    number: int = 0  # in the history, from 1; 0: not in it yet
    takes_over: bool = False  # production is to show it, also where it shows another registered model's lists

    def is_same(self, other: "Event") -> bool:
        return (self.version, self.at, self.kind) == (other.version, other.at, other.kind)


def read_history(tracking_uri: str, name: str) -> list[Event]:
    """All changes of the champion, the oldest first; empty where the model is not registered."""
    tags = _tags(tracking_uri, name)
    numbered = sorted(key for key in tags if key.startswith("champion.") and key.removeprefix("champion.").isdigit())
    return [Event(**json.loads(tags[key])) for key in numbered]


def pending(tracking_uri: str, name: str) -> Event | None:
    """A change that was announced and not concluded: somebody was killed in between."""
    text = _tags(tracking_uri, name).get(PENDING)
    return Event(**json.loads(text)) if text else None


def announce(tracking_uri: str, event: Event) -> None:
    """Writes down what is going to be done. Doing it twice changes nothing."""
    connect(tracking_uri).set_registered_model_tag(event.name, PENDING, _as_text(_short(event)))


def withdraw(tracking_uri: str, name: str) -> None:
    """Takes back what was announced."""
    with suppress(MlflowException):  # it was taken back already
        connect(tracking_uri).delete_registered_model_tag(name, PENDING)


def let_wait(tracking_uri: str, event: Event, why: str) -> None:
    """A night's version that passed, and whose promotion somebody has got ahead of, waits for a person from now on."""
    client = connect(tracking_uri)
    with suppress(MlflowException):  # it is gone
        for key, value in {"decision": "waiting", "check: undisturbed": f"FAILED: {why}"}.items():
            client.set_model_version_tag(event.name, event.version, key, value)


def conclude(tracking_uri: str, event: Event) -> None:
    """Puts the change into the history, once, tells it where analysts look, and takes back the announcement."""
    client, past, event = connect(tracking_uri), read_history(tracking_uri, event.name), _short(event)
    if not any(one.is_same(event) for one in past):
        event = replace(event, number=past[-1].number + 1 if past else 1)
        client.set_registered_model_tag(event.name, EVENT.format(number=event.number), _as_text(event))
    _tell_versions(client, event)
    _describe(client, event)
    withdraw(tracking_uri, event.name)


def frozen(tracking_uri: str, name: str) -> str | None:
    """Why no night may change the champion at present; None where they may."""
    return _tags(tracking_uri, name).get(FROZEN)


def freeze(tracking_uri: str, name: str, reason: str | None) -> None:
    """From now on no night changes the champion; a reason of None lifts that."""
    client = connect(tracking_uri)
    if reason is not None:
        client.set_registered_model_tag(name, FROZEN, reason[:MAX_REASON])
    elif FROZEN in _tags(tracking_uri, name):
        client.delete_registered_model_tag(name, FROZEN)


def alias_of(tracking_uri: str, name: str) -> str | None:
    """The version that has the champion's alias; None where none has. Cheaper than to find the champion itself."""
    found = _registered(tracking_uri, name)
    version = found.aliases.get(CHAMPION) if found else None
    return None if version is None else str(version)


def registered_names(tracking_uri: str) -> list[str]:
    """Of all registered models."""
    client, token, names = connect(tracking_uri), None, []
    try:
        while True:
            page = client.search_registered_models(page_token=token)
            names += [model.name for model in page]
            if not (token := page.token):
                return sorted(names)
    except MlflowException as error:
        raise unreachable(error) from error


def recent(tracking_uri: str, name: str, n: int) -> dict[str, dict[str, str]]:
    """The tags of the last `n` versions by their number, the newest first."""
    found = connect(tracking_uri).search_model_versions(f"name = '{name}'", n, ["version_number DESC"])
    return {str(one.version): dict(one.tags) for one in found}


def _short(event: Event) -> Event:
    return replace(event, reason=" ".join(event.reason.split())[:MAX_REASON])


def _as_text(event: Event) -> str:
    return json.dumps(asdict(event), ensure_ascii=False)  # escaped, a Russian reason would be six times as long


def _tell_versions(client: MlflowClient, event: Event) -> None:
    """On the new champion since when and why it is one, on the last one until when it was."""
    new = {
        "decision": "promoted",
        "promoted_at": event.at,
        "promoted_by": event.by,
        "promotion_reason": f"{event.kind}: {event.reason}",
    }
    old = {"replaced_at": event.at, "replaced_by": event.version or "nobody"}
    told = {event.version: new} if event.version else {}
    if event.before not in (None, event.version):
        told[str(event.before)] = old
    for version, tags in told.items():
        with suppress(MlflowException):  # it is gone by now
            for key, value in tags.items():
                client.set_model_version_tag(event.name, version, key, value)
    for key in old if event.version else ():
        with suppress(MlflowException):  # it was not there
            client.delete_model_version_tag(event.name, event.version, key)


def _describe(client: MlflowClient, event: Event) -> None:
    """The registered model's page says who the champion is."""
    since = f"since {event.at[:16].replace('T', ' ')} UTC ({event.kind}, {event.by}: {event.reason})"
    ours = f"{DESCRIPTION}{f'version {event.version}' if event.version else 'nobody'} {since}"
    before = f"; before it version {event.before}" if event.before not in (None, event.version) else ""
    text = client.get_registered_model(event.name).description or ""
    others = [part for part in text.split("\n\n") if part and not part.startswith(DESCRIPTION)]
    client.update_registered_model(event.name, "\n\n".join([f"{ours}{before}.", *others]))


def _tags(tracking_uri: str, name: str) -> Mapping[str, str]:
    found = _registered(tracking_uri, name)
    return found.tags if found else {}


def _registered(tracking_uri: str, name: str) -> RegisteredModel | None:
    """None where no such model is registered."""
    try:
        return connect(tracking_uri).get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise unreachable(error) from error
