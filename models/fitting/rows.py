"""Whose the rows of a model's tables are: what a fit that begins with an earlier one's weights goes by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Whose the rows of a table are."""

    whose: str
    """users, items, or what `of_feature` gives: a name in `WarmStart.places`."""
    first: int = 0
    """The row of index 0. Rows before it and behind the last index are nobody's: padding, or what is unknown."""


USERS, ITEMS = Rows("users"), Rows("items")


def of_feature(name: str) -> str:
    """What the values of this user feature are called in `WarmStart.places`."""
    return f"feature {name}"
