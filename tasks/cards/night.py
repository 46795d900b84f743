"""All that the pages of a night show of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FLOOR = "popularity"


@dataclass(frozen=True)
class Rival:
    """A version that the night's model was judged beside."""

    version: str
    scores: Mapping[str, Any]
    """What the evaluation says of both on the rows that neither was fitted on."""


@dataclass(frozen=True)
class NightFacts:
    """The night's result, and what the folders of its training and its evaluations say."""

    result: Mapping[str, Any]
    training: Mapping[str, Any]
    scores: Mapping[str, Any]
    floors: Mapping[str, Mapping[str, Any]]
    """What the evaluation says of each floor, by name; popularity is among them."""
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    """`champion` and `anchor`, as far as there are such."""

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.result["model"]["config"]["name"])

    @property
    def others(self) -> Mapping[str, Mapping[str, Any]]:
        """The floors that are not the model itself."""
        return {name: scores for name, scores in self.floors.items() if name != self.name}

    @property
    def differences(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """By whom, by metric: how much better the model is, user by user, with interval and p-value."""
        found: Mapping[str, Mapping[str, Mapping[str, float]]] = self.result["differences"]
        return found

    def called(self, rival: str) -> str:
        """`champion` as `champion, version 3`; a floor by its name."""
        return f"{rival}, version {self.rivals[rival].version}" if rival in self.rivals else rival
