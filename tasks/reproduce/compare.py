"""Then and now, figure by figure: equal means equal to the last digit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OTHERS = ("champion/",)
"""What begins the names of figures of other models, which belong to the nights of those."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was. None stands for what is not there."""

    name: str
    then: Any
    now: Any


@dataclass(frozen=True)
class Comparison:
    """A version beside its repetition."""

    metrics: tuple[Difference, ...]
    n_metrics: int  # how many were compared
    not_repeated: tuple[str, ...]  # names of other models' metrics, which only the night has
    weights: Difference
    environment: tuple[Difference, ...]
    code: Difference
    revision: Difference

    @property
    def is_identical(self) -> bool:
        return self.n_metrics > 0 and not self.metrics and self.weights.then == self.weights.now


def compare(
    then: Mapping[str, float],
    now: Mapping[str, float],
    weights: tuple[str, str],
    environments: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Comparison:
    """`then` and `now`: the metrics by name; `weights` and `environments`: of then and now."""
    of_then, of_now = environments
    apart = ("code", "revision")
    others = tuple(name for name in then if name.startswith(OTHERS) and name not in now)
    rest = [{name: value for name, value in one.items() if name not in apart} for one in environments]
    return Comparison(
        metrics=tuple(differing({name: value for name, value in then.items() if name not in others}, now)),
        n_metrics=len(now),
        not_repeated=others,
        weights=Difference("weights", *weights),
        environment=tuple(differing(flat(rest[0]), flat(rest[1]))),
        code=Difference("code", of_then.get("code"), of_now.get("code")),
        revision=Difference("revision", of_then.get("revision"), of_now.get("revision")),
    )


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """What is not exactly equal, in the order of `then`; a metric that is no number is equal to another such."""
    for name in [*then, *(name for name in now if name not in then)]:
        one, other = then.get(name), now.get(name)
        if one != other and not (one != one and other != other):
            yield Difference(name, one, other)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of plain values as `section.name`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else {f"{name}.{key}": one for key, one in inner.items()}
    return found
