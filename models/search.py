"""What a search may try for one setting: a range of numbers, or a few choices."""

import math
from typing import Any, Self

from pydantic import model_validator

from .frozen import Frozen


class Real(Frozen):
    """Any number from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    """Draw by its logarithm: as often between .001 and .01 as between .01 and .1."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check(self.low, self.high, self.log)
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The extremes: where they make sense, so does what lies between."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class Whole(Frozen):
    """Any whole number from `low` to `high`."""

    low: int
    high: int
    log: bool = False
    """Draw by its logarithm."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check(self.low, self.high, self.log)
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The extremes: where they make sense, so does what lies between."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


class Choice(Frozen):
    """One of these, in no order. Two or more; words, numbers, true, false or null."""

    values: tuple[bool | int | float | str | None, ...]

    @model_validator(mode="after")
    def _is_a_choice(self) -> Self:
        if len(self.values) < 2 or len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError("a choice is of two values or more, all different")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def holds(self, value: Any) -> bool:
        return any(value == one and type(value) is type(one) for one in self.values)


Space = Real | Whole | Choice


def _check(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low of {low} is not below high of {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithm needs a low above 0, not {low}")


def parse_space(told: Any, whole: bool) -> Space:
    """A list is a choice; `{low, high, log}` a range, of whole numbers where only these are understood.

    Raises ValueError for anything else."""
    if isinstance(told, list | tuple):
        return Choice(values=tuple(told))
    if isinstance(told, dict) and {"low", "high"} <= set(told) <= {"low", "high", "log"}:
        return Whole.model_validate(told) if whole else Real.model_validate(told)
    raise ValueError("write a list as [32, 64], or a range as {low: 0.001, high: 0.1, log: true}")
