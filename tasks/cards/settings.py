"""What differs between two nights in what they were told, saw, and ran on."""

from collections.abc import Mapping
from typing import Any

from tasks.cards.numbers import NONE, in_words
from tasks.cards.sides import Side

Rows = dict[str, tuple[str, str]]
"""By name, the value of the one and of the other, as text."""
ROWS = {
    "accepted": "accepted rows",
    "quarantined": "quarantined",
    "duplicates": "exact duplicates",
    "train": "training rows",
    "valid": "validation rows",
    "test": "test rows",
    "users": "users",
    "items": "items",
}
SHORT = 12  # letters of a hash


def changed_settings(one: Side, other: Side) -> Rows:
    """Every field of the configuration that is not the same in both, as it was used, the model's first.

    What one has not is a dash."""
    told = [_flat({**side.config, "model": side.result["model"]["config"]}) for side in (one, other)]
    told = [
        {**flat, **_flat({"trainer": side.training["trainer"]})} for flat, side in zip(told, (one, other), strict=True)
    ]
    names = sorted(dict.fromkeys([*told[0], *told[1]]), key=lambda name: not name.startswith("model."))
    found = {name: (told[0].get(name, NONE), told[1].get(name, NONE)) for name in names}
    return {name: values for name, values in found.items() if values[0] != values[1]}


def changed_data(one: Side, other: Side) -> Rows:
    """When each night was, the rows that it saw, and whether they are the same."""
    sides = (one.result, other.result)
    rows = {
        "night": tuple(side["as_of"][:16].replace("T", " ") for side in sides),
        "snapshot": tuple(side["snapshot"][:SHORT] for side in sides),
        "split": tuple(side["protocol"] for side in sides),
        **{title: tuple(f"{side['rows'][name]:,}" for side in sides) for name, title in ROWS.items()},
    }
    return {name: (values[0], values[1]) for name, values in rows.items()}


def changed_environment(one: Side, other: Side) -> Rows:
    """Code, libraries and machine, as far as they are not the same."""
    told = [_flat(dict(side.environment)) for side in (one, other)]
    names = sorted(set(told[0]) & set(told[1]))
    return {name: (told[0][name], told[1][name]) for name in names if told[0][name] != told[1][name]}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested sections as `section.field`, values in words; nothing of what is unset."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = in_words(value)
    return flat
