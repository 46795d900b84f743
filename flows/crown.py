"""A new champion, in an order that can be cut short anywhere: announced, crowned, published, concluded."""

from flows.night import Surroundings
from tasks.promote.task import announce, conclude, promote
from tasks.publish.task import publish
from tasks.tracking.history import Event, pending


def crown(around: Surroundings, event: Event) -> None:
    """Makes the version the champion, and its lists what production serves. Doing it twice changes nothing."""
    around.step("promote", announce, around.settings.tracking_uri, event)
    _carry_out(around, event)


def settle(around: Surroundings, name: str) -> None:
    """Finishes what a killed run announced."""
    if (event := pending(around.settings.tracking_uri, name)) is not None:
        _carry_out(around, event)


def _carry_out(around: Surroundings, event: Event) -> None:
    uri = around.settings.tracking_uri
    around.step("promote", promote, uri, event)
    around.step("recommend", publish, around.store, around.dataset, event.lists)
    around.step("promote", conclude, uri, event)
