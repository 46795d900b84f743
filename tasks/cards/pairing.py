"""Two nights compared: what their test users and lists say of the difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.cards.changed import ChangedLists, changed_lists
from tasks.cards.sides import Side
from tasks.differences import SHOWN, Differences, differences
from tasks.store.store import Store

Pairing = Literal["same test", "beside", "none"]


@dataclass(frozen=True)
class Diff:
    """`other` compared with `one`, the earlier."""

    one: Side
    other: Side
    pairing: Pairing
    differences: Differences
    """`other - one`. User by user where they are paired; else of the means, without a p-value."""
    n_users: int | None
    """Users of both that the differences are over; None where they are not paired."""
    lists: ChangedLists | None
    """None where a side's lists are gone."""


def make_diff(store: Store, one: Side, other: Side, samples: int) -> Diff:
    """Paired where the same test rows judged both, or where one was judged beside the other."""
    pairing, found, n_users = paired(store, one, other, samples)
    return Diff(one, other, pairing, found, n_users, changed_lists(store, one, other))


def paired(store: Store, one: Side, other: Side, samples: int) -> tuple[Pairing, Differences, int | None]:
    """How the differences were taken, the differences, and over how many users."""
    results = (other.result, one.result)
    new, old = (store.path(f"{result['evaluated']['test']}/test.parquet") for result in results)
    same = len({result["test_fingerprint"] for result in results}) == 1
    if same and new.is_file() and old.is_file():
        found = differences(new, old, samples, other.result["level"])
        return "same test", found, other.scores["users"]["test"]
    for later, earlier, sign in ((results[0], results[1], 1), (results[1], results[0], -1)):
        if (whom := judged_beside(later, earlier)) is not None:
            found = {name: _turned(by, sign) for name, by in later["differences"][whom].items()}
            return "beside", found, later["beside"][whom]["users"]
    return "none", unpaired(one.scores, other.scores), None


def judged_beside(new: Mapping[str, Any], old: Mapping[str, Any]) -> str | None:
    """As whom, `champion` or `anchor`, the older version was judged beside the newer on the newer's night."""
    if new["model"]["name"] != old["model"]["name"]:
        return None
    whoms = [whom for whom, rival in new["beside"].items() if rival["version"] == old["model"]["version"]]
    return next((whom for whom in whoms if whom in new["differences"]), None)


def unpaired(one: Mapping[str, Any], other: Mapping[str, Any], metrics: Sequence[str] = SHOWN) -> Differences:
    """Differences of two means from their own intervals, as if no user were in both tests.

    Source: Zou & Donner, Construction of confidence limits about effect measures, 2008 (square and add)."""
    found: Differences = {}
    for metric in metrics:
        name = f"test/{metric}"
        if name in one["intervals"] and name in other["intervals"]:
            before, after = one["means"][name], other["means"][name]
            (low_1, high_1), (low_2, high_2) = one["intervals"][name], other["intervals"][name]
            mean = after - before
            low = mean - math.hypot(after - low_2, high_1 - before)
            high = mean + math.hypot(high_2 - after, before - low_1)
            found[metric] = {"mean": mean, "low": low, "high": high}
    return found


def _turned(one: Mapping[str, float], sign: int) -> dict[str, float]:
    """A difference the other way round where the sign is -1."""
    low, high = sorted((sign * one["low"], sign * one["high"]))
    return {**one, "mean": sign * one["mean"], "low": low, "high": high}
