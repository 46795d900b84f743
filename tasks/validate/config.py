"""What data must look like to be trained on."""

from datetime import date

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from models.frozen import Frozen


class ChecksConfig(Frozen):
    """The limits of the data contract.

    Rows that break a limit of their own go to quarantine. A night that breaks a limit is refused with exit status 3 and
    leaves everything as it was; limits called a warning are only shown.
    """

    suite: str | None = None
    """A file of expectations (YAML) that takes the place of all limits below."""

    earliest: date = date(1990, 1, 1)
    """Interactions before this day go to quarantine: clocks that were never set say 1970, wrong units say so too."""
    future_days: NonNegativeFloat = 1.0
    """Interactions may lie this many days after the night's date (clocks and time zones differ); later ones go to
    quarantine."""
    min_rating: float | None = None
    """Ratings below are out of range and go to quarantine. Unset: no limit."""
    max_rating: float | None = None
    """Ratings above are out of range and go to quarantine. Unset: no limit."""
    max_quarantine_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the rows that may be in quarantine. More of them means a broken feed, and the night is refused."""

    min_rows: PositiveInt = 10
    """Fewer interactions than this are no log to learn from."""
    min_users: PositiveInt = 2
    """Fewer users than this are refused."""
    min_items: PositiveInt = 2
    """Fewer items than this are refused."""
    max_duplicate_share: float = Field(default=0.1, ge=0, le=1)
    """Exact duplicates are dropped and counted; a larger share of them means a broken feed."""
    max_unknown_share: float = Field(default=0.05, ge=0, le=1)
    """Share of interactions whose user or item may be missing from the users or items file, where there is one."""
    min_volume: NonNegativeFloat = 0.5
    """Interactions, as a multiple of those of the last good night; fewer are a dump that was cut off. 0: no limit."""
    max_silent_days: PositiveFloat | None = None
    """Days from the newest interaction to the night's date; more are a feed that stopped. Unset: no limit."""

    min_new_rows: NonNegativeFloat = 0.1
    """Rows that are new tonight, as a multiple of the median of the last seven good nights. A warning."""
    max_new_rows: PositiveFloat = 10.0
    """Rows that are new tonight, as a multiple of the median of the last seven good nights. A warning."""
    max_lost_users: float = Field(default=0.5, ge=0, le=1)
    """Share of the last good night's users who may be gone: more, and ids were coined anew. A warning."""
    max_lost_items: float = Field(default=0.5, ge=0, le=1)
    """Share of the last good night's items that may be gone. A warning."""
    max_new_item_rows: float = Field(default=0.5, ge=0, le=1)
    """Share of tonight's new rows whose item the last good night did not know. A warning."""
    max_silence: PositiveFloat = 3.0
    """Days since the newest interaction, as a multiple of the longest such gap between good nights. A warning."""
    max_changed_files: int = Field(default=0, ge=0)
    """Files whose content changed under their old name. A warning: the newest content counts."""
    max_repeated_files: int = Field(default=0, ge=0)
    """Files with the content of another one. A warning: they are taken in once."""

    max_popularity_drift: PositiveFloat | None = 0.5
    """Kullback-Leibler divergence, in nats, of tonight's new rows over popular and rare items from the last good
    night's rows. A warning. Unset: not looked at. Measured: .01 to .06 between parts of one log (MovieLens 100K and
    synthetic ones), .6 to .9 where popularity flattens or ids are dealt out anew."""
    max_rating_drift: PositiveFloat | None = 0.1
    """The same of ratings: up to .03 between parts of one log, .3 where all ratings rise by 1, 5 where they double."""
    max_hour_drift: PositiveFloat | None = 0.25
    """The same of the hour of the day, UTC: up to .19 between parts of one log, from .29 where clocks move 6 hours."""
