"""Which column is the user, the item, the rating, the instant, the event: by what was told, by name, by content."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.inspect import guess
from tasks.inspect.columns import Column

FIELDS = ("user_id", "item_id", "rating", "timestamp", "event")
REQUIRED = ("user_id", "item_id")
Sure = Literal["told", "by name", "likely", "guess"]


@dataclass(frozen=True)
class Proposal:
    """One of our fields, and the column that it may be."""

    field: str
    column: str
    sure: Sure
    why: str
    doubt: str = ""  # what speaks against it, for a person to look at


@dataclass(frozen=True)
class Proposed:
    """What was found, and what was not."""

    proposals: tuple[Proposal, ...]
    missing: tuple[str, ...]

    def column(self, field: str) -> str | None:
        return next((one.column for one in self.proposals if one.field == field), None)


def propose(
    columns: Sequence[Column],
    named: Mapping[str, str],
    told: Mapping[str, str],
    headers: Sequence[Collection[str]],
    spread: Callable[[str], float],
) -> Proposed:
    """Every field that some column may be, the surest way first.

    `named`: theirs to ours, for names that a night recognises; `told`: the user's own, theirs to ours; `headers`: the
    names in each file; `spread`: the share of the rows that a column's commonest value has, asked for only where
    nothing else tells users from items.
    """
    by_name = {column.name: column for column in columns}
    found: dict[str, Proposal] = {}
    for theirs, ours in told.items():
        if theirs in by_name:
            found[ours] = Proposal(ours, theirs, "told", "ingest.columns says so", guess.doubt(ours, by_name[theirs]))
    for field in FIELDS:
        names = [name for name, ours in named.items() if ours == field and name in by_name and name not in told]
        if field not in found and names:
            found[field] = _named(field, [by_name[name] for name in names], headers)
    for field in ("timestamp", "event", "rating"):
        if field not in found and (best := _best(field, _left(columns, found, named))) is not None:
            found[field] = best
    found |= _ids(_left(columns, found, named), found, spread)
    return Proposed(
        tuple(found[field] for field in FIELDS if field in found),
        tuple(field for field in FIELDS if field not in found),
    )


def to_write(mapping: Proposed, named: Mapping[str, str], headers: Sequence[Collection[str]]) -> dict[str, str]:
    """What `ingest.columns` must say, yours: ours, for a night to come to the same; names it knows are left out."""
    return {
        one.column: one.field
        for one in mapping.proposals
        if named.get(one.column) != one.field or _rivals(one.field, named, headers)
    }


def _left(columns: Sequence[Column], found: Mapping[str, Proposal], named: Mapping[str, str]) -> list[Column]:
    """Columns that are nothing yet. One with a usual name is nothing else."""
    taken = {one.column for one in found.values()}
    return [column for column in columns if column.name not in taken and column.name not in named]


def _rivals(field: str, named: Mapping[str, str], headers: Sequence[Collection[str]]) -> list[str]:
    """Names of one file that a night would take for the same field, and so for none."""
    names = [name for name, ours in named.items() if ours == field]
    return next((there for header in headers if len(there := [n for n in names if n in header]) > 1), [])


def _named(field: str, columns: list[Column], headers: Sequence[Collection[str]]) -> Proposal:
    """Of several with usual names the one that fits best: our own name, no doubts, an id before a name."""

    def quality(column: Column) -> tuple[bool, bool, bool, int]:
        spelt = re.sub(r"[^a-z0-9]", "", column.name.lower())
        return column.name == field, not guess.doubt(field, column), spelt.endswith("id"), column.distinct

    chosen = max(columns, key=quality)
    together = [header for header in headers if sum(column.name in header for column in columns) > 1]
    others = [column.name for column in columns if column is not chosen]
    why = f"a usual name for the {field}"
    if together:
        return Proposal(field, chosen.name, "likely", why, f"so is {' and '.join(others)}")
    return Proposal(field, chosen.name, "by name", why, guess.doubt(field, chosen))


def _best(field: str, columns: list[Column]) -> Proposal | None:
    judged = [(found, column) for column in columns if (found := guess.LOOKS[field](column)) is not None]
    if not judged:
        return None
    found, column = max(judged, key=lambda one: (one[0].points, one[1].distinct))
    return Proposal(field, column.name, "likely" if found.points >= guess.LIKELY else "guess", found.why)


def _ids(columns: list[Column], found: Mapping[str, Proposal], spread: Callable[[str], float]) -> dict[str, Proposal]:
    """The fields among user and item that are open, from the columns that may be ids."""
    fields = [field for field in REQUIRED if field not in found]
    proposed: dict[str, Proposal] = {}
    for field in fields:  # names that half tell, first
        hinted = [column for column in columns if guess.hints(field, column.name) and guess.may_be_id(column, True)]
        if hinted:
            chosen = max(hinted, key=lambda column: (guess.hints(field, column.name), column.distinct))
            why = f"its name sounds like the {field}, and its values repeat"
            proposed[field] = Proposal(field, chosen.name, "likely", why)
            columns = [column for column in columns if column is not chosen]
    rest = [field for field in fields if field not in proposed]
    ids = sorted((column for column in columns if guess.may_be_id(column)), key=lambda column: -column.distinct)
    chosen_ids = [column for column in columns if column in ids[: len(rest)]]  # in the file's order
    if len(rest) == len(chosen_ids) == 2:
        return proposed | _told_apart(chosen_ids[0], chosen_ids[1], spread)
    for field, column in zip(rest, ids, strict=False):
        if len(rest) == 2:
            break  # one id column alone: whose it is cannot be told
        proposed[field] = Proposal(
            field, column.name, "guess", f"an id column that is left, of {column.distinct:,} values"
        )
    return proposed


def _told_apart(first: Column, second: Column, spread: Callable[[str], float]) -> dict[str, Proposal]:
    """Two of three signs say which is the user: it stands first, it has more values, its commonest value is rarer."""
    signs = (
        ("stands first", first),
        ("has more values", first if first.distinct >= second.distinct else second),
        ("has no value as common as the other's", first if spread(first.name) <= spread(second.name) else second),
    )
    votes = [column for _, column in signs]
    user = first if votes.count(first) >= 2 else second
    item = second if user is first else first
    why = " and ".join(sign for sign, column in signs if column is user)
    return {
        "user_id": Proposal("user_id", user.name, "guess", f"of two id columns, the one that {why}"),
        "item_id": Proposal("item_id", item.name, "guess", "the other id column"),
    }
