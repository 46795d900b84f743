"""What data must look like to be trained on."""

from datetime import date

from pydantic import Field, NonNegativeFloat, PositiveInt

from models.frozen import Frozen


class ChecksConfig(Frozen):
    """The limits of the data contract. A night whose data breaks one is refused with exit status 3."""

    min_rows: PositiveInt = 10
    """Fewer interactions than this are no log to learn from."""
    min_users: PositiveInt = 2
    """Fewer users than this are refused."""
    min_items: PositiveInt = 2
    """Fewer items than this are refused."""
    earliest: date = date(1970, 1, 1)
    """Interactions before this day are refused."""
    future_days: NonNegativeFloat = 1.0
    """Interactions may lie this many days after the night's date (clocks differ)."""
    min_rating: float | None = None
    """Ratings below are out of range. Unset: no limit."""
    max_rating: float | None = None
    """Ratings above are out of range. Unset: no limit."""
    max_duplicate_share: float = Field(default=0.1, ge=0, le=1)
    """Exact duplicates are dropped and counted; a larger share of them means a broken feed."""
    max_unknown_share: float = Field(default=0.05, ge=0, le=1)
    """Share of interactions whose user or item may be missing from the users or items file, where there is one."""
