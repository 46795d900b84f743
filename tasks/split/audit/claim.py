"""What a split says of itself, against which its written tables are held."""

from dataclasses import dataclass

from tasks.split.config import Positives, SplitConfig
from tasks.split.parts import Part
from tasks.store.refs import SnapshotRef


@dataclass(frozen=True)
class Claim:
    """How it was made, and how many rows went where."""

    protocol: str
    snapshot: SnapshotRef
    config: SplitConfig
    positives: Positives
    dropped: dict[Part, int]  # repeats, by the part that they were dropped from
    left_out: int  # training rows of too little activity

    @property
    def is_ordered(self) -> bool:
        """Whether the test rows of a user come after all that is known."""
        return self.protocol in ("temporal", "leave_last_out")
