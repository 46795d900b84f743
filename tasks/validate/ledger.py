"""The ledger of a dataset: which source contents make it up, in their order, and its last good nights.

`lake/<dataset>/ledger.json` is the one file of the lake that changes. It is replaced whole, and last of all: what a
killed night left in the lake is in no ledger, and the next night finds or makes the same again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from tasks.errors import RunFailed
from tasks.store.atomic import new_file
from tasks.store.store import Store

KEPT_NIGHTS = 30
"""More than any expectation looks back."""


class Content(NamedTuple):
    """A source file as it was on some night."""

    table: str  # interactions | users | items
    label: str  # the file as a person calls it
    sha256: str  # of its bytes

    @property
    def is_mended(self) -> bool:
        """Refused rows that a person has mended: few, and no sign of how sound the feed is."""
        return self.label.startswith("mended/")


@dataclass(frozen=True)
class Entry:
    """A content that the dataset consists of."""

    content: Content
    partition: str  # its folder in the lake
    rules: str  # hash of the rules that its rows were held against


@dataclass(frozen=True)
class GoodNight:
    """A night that brought something new and was accepted."""

    as_of: datetime
    snapshot: str  # folder of its snapshot
    rows: int
    new_rows: int  # accepted from the files that this night brought
    newest: int | None  # microseconds since 1970; None: no row has a time


@dataclass(frozen=True)
class Ledger:
    """Empty before the first good night."""

    entries: tuple[Entry, ...] = ()
    nights: tuple[GoodNight, ...] = ()  # the newest last
    checked: str = ""  # folder of the judgement that accepted these entries

    @property
    def contents(self) -> tuple[Content, ...]:
        return tuple(entry.content for entry in self.entries)


@dataclass(frozen=True)
class Delivery:
    """What tonight's files mean for the dataset."""

    contents: tuple[Content, ...]  # that the dataset shall consist of, in order: interactions, users, items
    changed: tuple[str, ...] = ()  # known files with a new content, which replaces the old one
    repeated: tuple[str, ...] = ()  # files with the content of another one, not taken in


def plan(store: Store, dataset: str, tonight: Iterable[tuple[str, str, str]], appends: bool) -> Delivery:
    """What tonight's files, as (table, label, sha256), come to beside what was taken in before."""
    return arrange(read_ledger(store, dataset).contents, tonight, appends)


def arrange(known: Iterable[Content], tonight: Iterable[tuple[str, str, str]], appends: bool) -> Delivery:
    """What was taken in and what came tonight, put together.

    Where files append, interactions stay in the order in which their files were first taken in, a file that changed
    keeps its place, and what is no longer delivered stays. Else tonight's files are all there is, in their order; users
    and items always are. A content counts once, under the name that comes first.
    """
    came = [Content(*one) for one in tonight]
    ours = [content for content in came if content.table == "interactions"]
    changed: list[str] = []
    if appends:
        newest = {content.label: content for content in ours}
        before = [content for content in known if content.table == "interactions"]
        changed = [
            old.label
            for old in before
            if old.sha256 != newest.get(old.label, old).sha256 and not old.is_mended  # those change where one is erased
        ]
        ours = [newest.pop(old.label, old) for old in before] + list(newest.values())
    arranged = [*ours, *(one for table in ("users", "items") for one in came if one.table == table)]
    first: dict[tuple[str, str], Content] = {}
    for content in arranged:
        first.setdefault((content.table, content.sha256), content)
    kept = set(first.values())
    return Delivery(tuple(first.values()), tuple(changed), tuple(one.label for one in came if one not in kept))


def ledger_path(dataset: str) -> str:
    return f"lake/{dataset}/ledger.json"


def read_ledger(store: Store, dataset: str) -> Ledger:
    """Raises RunFailed where the file is damaged: guessing what was taken in would lose rows or take them in twice."""
    path = store.path(ledger_path(dataset))
    if not path.is_file():
        return Ledger()
    try:
        return TypeAdapter(Ledger).validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunFailed(f"{path} is damaged", "restore it, or delete it to take all files in anew") from error


def write_ledger(store: Store, dataset: str, ledger: Ledger) -> None:
    with new_file(store.path(ledger_path(dataset))) as temporary:
        temporary.write_bytes(TypeAdapter(Ledger).dump_json(ledger, indent=2) + b"\n")
