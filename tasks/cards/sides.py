"""Two nights to be compared, and what their test users and lists say of the difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.cards.changed import ChangedLists, changed_lists
from tasks.differences import SHOWN, Differences, differences
from tasks.store.store import Store
from tasks.tracking.night_files import read_night

Pairing = Literal["same test", "beside", "none"]
NEEDED = ("config", "result", "training", "scores")


@dataclass(frozen=True)
class Side:
    """One of two nights, as its MLflow run keeps it."""

    label: str
    config: Mapping[str, Any]  # resolved
    result: Mapping[str, Any]
    training: Mapping[str, Any]  # the record of the training
    scores: Mapping[str, Any]  # what the evaluation on all test rows says
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the model, to tell the sides apart: `ease, version 3`."""
        return f"{self.result['model']['config']['name']}, {self.label}"


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


def load_side(tracking_uri: str, run_id: str, label: str) -> Side | None:
    """None where the run kept nothing, or is gone."""
    kept = read_night(tracking_uri, run_id)
    if not all(name in kept for name in NEEDED):
        return None
    more = {name: kept[name] for name in ("snapshot", "environment") if name in kept}
    return Side(label, *(kept[name] for name in NEEDED), **more)


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
