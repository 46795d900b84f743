"""Search spaces: what they hold, what is none, and that every model's own makes sense."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.fitting.config import NO_WISH, TrainerConfig
from models.registry import MODELS, make_config, model_class
from models.search import Choice, Real, Space, Whole, parse_space

TUNABLE = [name for name in MODELS if model_class(name).Config.search]


def draw(space: Space, rng: np.random.Generator) -> Any:
    """A value from anywhere in it, its ends among them."""
    if isinstance(space, Choice) or rng.random() < 0.3:
        return space.ends[rng.integers(len(space.ends))]
    value = rng.uniform(space.low, space.high)
    return round(value) if isinstance(space, Whole) else float(value)


def test_only_what_nobody_tunes_has_no_space() -> None:
    assert set(MODELS) - set(TUNABLE) == {"popularity", "blend"}


@pytest.mark.parametrize("name", TUNABLE)
def test_whatever_is_drawn_from_a_models_space_is_a_configuration(name: str) -> None:
    space, rng = model_class(name).Config.search, np.random.default_rng(0)
    for _ in range(100):
        drawn = {option: draw(one, rng) for option, one in space.items()}
        own = {option.removeprefix("model."): value for option, value in drawn.items() if option.startswith("model.")}
        told = {option.removeprefix("trainer."): value for option, value in drawn.items() if "trainer." in option}
        config = make_config(name, **own)
        for field, value in own.items():
            assert getattr(config, field) == value
        complete = config.complete(TrainerConfig(**told), config.complete_sampling(NO_WISH))
        assert [getattr(complete, field) for field in told] == list(told.values())
        assert len(own) + len(told) == len(space)


@pytest.mark.parametrize("name", TUNABLE)
def test_the_default_lies_inside_unless_it_is_left_to_the_fit(name: str) -> None:
    config = make_config(name)
    trainer = config.complete(TrainerConfig())
    for option, space in model_class(name).Config.search.items():
        section, field = option.split(".")
        value = getattr({"model": config, "trainer": trainer}[section], field)
        if value is None:
            assert section == "model"
        else:
            assert space.holds(value), f"{option}: {value}"


def test_a_range_holds_its_ends_and_nothing_beyond() -> None:
    real, whole = Real(low=0.5, high=2), Whole(low=2, high=5)
    assert [real.holds(value) for value in (0.5, 2, 2.0, 0.499, 2.001, True, None, "1")] == [True] * 3 + [False] * 5
    assert [whole.holds(value) for value in (2, 5, 1, 6, 3.0, True, None)] == [True, True] + [False] * 5
    assert (real.ends, whole.ends) == ((0.5, 2.0), (2, 5))


def test_a_choice_tells_one_from_true_and_from_one_point_nought() -> None:
    choice = Choice(values=(1, "a", None))
    assert [choice.holds(value) for value in (1, "a", None, True, 1.0, "b")] == [True] * 3 + [False] * 3
    assert choice.ends == (1, "a", None)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Real, {"low": 1, "high": 1}, "low of 1.0 is not below high of 1.0"),
        (Whole, {"low": 3, "high": 2}, "low of 3 is not below high of 2"),
        (Real, {"low": 0, "high": 1, "log": True}, "a logarithm needs a low above 0"),
        (Whole, {"low": 0, "high": 8, "log": True}, "a logarithm needs a low above 0"),
        (Whole, {"low": 1.5, "high": 8}, "valid integer"),
        (Real, {"low": 0, "high": float("inf")}, "finite"),
        (Choice, {"values": (1,)}, "two values or more"),
        (Choice, {"values": (1, 2, 1)}, "all different"),
    ],
)
def test_what_is_no_space_is_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind(**fields)


def test_a_space_as_it_is_written() -> None:
    assert parse_space([32, 64], whole=True) == Choice(values=(32, 64))
    assert parse_space(["sgd", "adam"], whole=False) == Choice(values=("sgd", "adam"))
    assert parse_space({"low": 1, "high": 8, "log": True}, whole=True) == Whole(low=1, high=8, log=True)
    assert parse_space({"low": 1, "high": 8}, whole=False) == Real(low=1, high=8)
    for wrong in (7, "1 to 2", {"low": 1}, {"low": 1, "high": 2, "step": 1}, None):
        with pytest.raises(ValueError, match=r"write a list as \[32, 64\]"):
            parse_space(wrong, whole=False)
