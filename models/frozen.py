"""The base of every configuration."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and a misspelt key is an error instead of a silent default. The text under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def split_commas(value: Any) -> Any:
    """`10,20` on a command line is a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
