"""What goes out."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, PositiveInt

from models.frozen import Frozen, split_commas


class RecommendConfig(Frozen):
    """Each user's list."""

    k: PositiveInt = 10
    """Items per user."""
    seen: Literal["exclude", "include"] = "exclude"
    """Whether items that the user already had may be shown."""
    users: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = ()
    """`encore recommend`: only these users; unset: all."""
