"""Which version was champion when, and why: kept as tags of the registered model, beside the alias that it explains.

A change of the champion is announced before anything moves and concluded once all has moved, so that one that was cut
short is told, and finished, by whoever comes next.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

from mlflow.exceptions import MlflowException

from tasks.tracking.runs import connect

PENDING = "champion.pending"
EVENT = "champion.{number:06d}"
FROZEN = "frozen"

Kind = Literal["night", "promote", "rollback", "by hand"]


@dataclass(frozen=True)
class Event:
    """One change of the champion."""

    name: str  # of the registered model
    version: str
    before: str | None  # the champion that it replaced
    kind: Kind
    reason: str
    by: str
    at: str  # when, ISO 8601 in UTC
    dataset: str
    lists: str  # folder of the lists that go out with it, relative to the data folder
    gain: float | None = None  # mean difference in NDCG@10 to the one before, user by user; None: not measured
    number: int = 0  # in the history, from 1; 0: not in it yet


def read_history(tracking_uri: str, name: str) -> list[Event]:
    """All changes of the champion, the oldest first; empty where the model is not registered."""
    tags = _tags(tracking_uri, name)
    numbered = sorted(key for key in tags if key.startswith("champion.") and key != PENDING)
    return [Event(**json.loads(tags[key])) for key in numbered]


def pending(tracking_uri: str, name: str) -> Event | None:
    """A change that was announced and not concluded: somebody was killed in between."""
    text = _tags(tracking_uri, name).get(PENDING)
    return Event(**json.loads(text)) if text else None


def announce(tracking_uri: str, event: Event) -> None:
    """Writes down what is going to be done. Doing it twice changes nothing."""
    connect(tracking_uri).set_registered_model_tag(event.name, PENDING, json.dumps(asdict(event)))


def conclude(tracking_uri: str, event: Event) -> None:
    """Puts the change into the history, once, and takes back the announcement."""
    client, past = connect(tracking_uri), read_history(tracking_uri, event.name)
    done = [one for one in past if (one.version, one.at, one.kind) == (event.version, event.at, event.kind)]
    if not done:
        number = past[-1].number + 1 if past else 1
        content = json.dumps({**asdict(event), "number": number})
        client.set_registered_model_tag(event.name, EVENT.format(number=number), content)
    with suppress(MlflowException):  # it was taken back already
        client.delete_registered_model_tag(event.name, PENDING)


def frozen(tracking_uri: str, name: str) -> str | None:
    """Why no night may change the champion at present; None where they may."""
    return _tags(tracking_uri, name).get(FROZEN)


def freeze(tracking_uri: str, name: str, reason: str | None) -> None:
    """From now on no night changes the champion; a reason of None lifts that."""
    client = connect(tracking_uri)
    if reason is not None:
        client.set_registered_model_tag(name, FROZEN, reason)
    elif FROZEN in _tags(tracking_uri, name):
        client.delete_registered_model_tag(name, FROZEN)


def _tags(tracking_uri: str, name: str) -> Mapping[str, str]:
    try:
        tags: Mapping[str, str] = connect(tracking_uri).get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return tags
