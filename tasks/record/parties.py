"""Whom a night judged, as references."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.store.refs import ChampionRef, EvaluatedRef, TrainedRef


@dataclass(frozen=True)
class Beside:
    """A version that has been in production, and both models' scores on the rows that may judge both."""

    ref: ChampionRef
    scores: EvaluatedRef


@dataclass(frozen=True)
class Parties:
    """The night's model as it was judged, and all that it was judged beside."""

    trained: TrainedRef
    scores: EvaluatedRef
    floors: Mapping[str, EvaluatedRef]
    """By name; popularity is among them."""
    rivals: Mapping[str, Beside] = field(default_factory=dict)
    """`champion` and `anchor`, as far as there are such."""
