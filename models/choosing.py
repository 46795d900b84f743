"""How a closed-form model picks what its configuration leaves open."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from .base import FitSession, Recommender
from .config import ModelConfig

Config = TypeVar("Config", bound=ModelConfig)

METRIC = "ndcg_at_10"
"""By what models without epochs choose what their configuration leaves open."""


def choose(
    config: Config,
    grid: Mapping[str, Sequence[Any]],
    defaults: Mapping[str, Any],
    session: FitSession,
    fitted: Callable[[Config], Recommender],
) -> Config:
    """The configuration with every field of `grid` that is None filled in.

    Without validation rows by its default. With them by climbing from the defaults: one field after the other is moved
    along its values while validation NDCG@10 rises, until no single move helps. No point is fitted twice; of equal
    points the one met first wins. Fields whose change is dear to fit should come last in the grid."""
    unset = {name: values for name, values in grid.items() if getattr(config, name) is None}
    best = config.model_copy(update={name: defaults[name] for name in unset})
    validate = session.validate
    if validate is None or not unset:
        return best
    known: dict[tuple[Any, ...], float] = {}

    def measure(point: Config) -> float:
        key = tuple(getattr(point, name) for name in unset)
        if key not in known:
            known[key] = validate(fitted(point)).get(METRIC, 0.0)
        return known[key]

    score, moved = measure(best), True
    while moved:
        moved = False
        for name, values in unset.items():
            for direction in (values, values[::-1]):
                following = dict(pairwise(direction))
                rising = False
                while (value := following.get(getattr(best, name))) is not None:
                    point = best.model_copy(update={name: value})
                    if not measure(point) > score:
                        break
                    best, score, moved, rising = point, measure(point), True, True
                if rising:
                    break  # it would only lead back
    return best
