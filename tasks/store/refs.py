"""References: what tasks hand over instead of data. Small, frozen, equal where the data is equal."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetRef:
    """A Parquet file. `path` is relative to the data root: the same ref is valid everywhere."""

    path: str
    rows: int
    fingerprint: str  # sha256 of the rows; equal fingerprints mean equal data


@dataclass(frozen=True)
class StagedRef:
    """One source file as parsed, not yet accepted."""

    table: str  # interactions | users | items
    source: str  # what a person calls it: the file's path as given
    sha256: str  # of the source file's bytes
    data: DatasetRef
    unread: DatasetRef | None = None  # rows that could not be read; None where there are none

    @property
    def rows(self) -> int:
        """Rows of the source file."""
        return self.data.rows + (self.unread.rows if self.unread else 0)


@dataclass(frozen=True)
class Staged:
    """All files of a source as parsed, in their order; `cached` where every one of them was there already."""

    files: tuple[StagedRef, ...]
    cached: bool


@dataclass(frozen=True)
class SnapshotRef:
    """The exact rows that a model sees: a list of partitions of the lake with one hash."""

    dataset: str
    hash: str
    path: str  # folder of the snapshot's manifest and validation report
    interactions: tuple[DatasetRef, ...]
    users: tuple[DatasetRef, ...] = ()
    items: tuple[DatasetRef, ...] = ()

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.interactions)

    @property
    def made_from(self) -> dict[str, str]:
        """What a folder's manifest says of the data behind it: whoever erases a person finds by it what has to go."""
        return {"dataset": self.dataset, "snapshot": self.hash}


@dataclass(frozen=True)
class Validated:
    """What validation lets through. The counts are of all the snapshot's interactions: accepted, quarantined and
    duplicates make up what was read."""

    snapshot: SnapshotRef
    cached: bool
    read: int
    accepted: int
    quarantined: int
    duplicates: int
    report: str  # path of the report page, relative to the data root
    warnings: tuple[str, ...] = ()  # sentences of the expectations that failed and are only shown
    reasons: tuple[tuple[str, int], ...] = ()  # why rows are in quarantine, and how many, the commonest first


@dataclass(frozen=True)
class SplitRefs:
    """The parts of a split, and the id maps of the rows before the test."""

    dataset: str
    key: str
    protocol: str
    keeps_repeats: bool  # a user's earlier items may be shown again: nothing is masked
    snapshot: SnapshotRef
    train: DatasetRef
    valid: DatasetRef
    test: DatasetRef
    users: DatasetRef
    items: DatasetRef
    rated: DatasetRef  # rows that are no positives: masked, never learned from
    strangers: DatasetRef | None = None  # users of the users table without a row before the test; None: no such table
    weighted: bool = False  # rows weigh by the kind of their event
    cached: bool = field(default=False, compare=False)  # it was there already


@dataclass(frozen=True)
class WindowRefs:
    """Every row with the items before it and its user's features, for models that are fitted on such rows."""

    fitted: DatasetRef  # of the training rows
    known: DatasetRef  # of training and validation rows


@dataclass(frozen=True)
class SampleRefs:
    """What training, judging and publishing read: each user's items, oldest first, at three moments."""

    key: str
    split: SplitRefs
    fitted: DatasetRef  # training rows only
    known: DatasetRef  # training and validation rows
    served: DatasetRef  # every ingested positive row: what a served model is shown
    seen_known: DatasetRef  # what a test ranking leaves out: known, and what was rated low before the test
    seen_served: DatasetRef  # what published lists leave out: all that was ingested
    candidates: DatasetRef | None = None
    fitted_weights: DatasetRef | None = None  # what each row of `fitted` weighs; None: all the same
    known_weights: DatasetRef | None = None
    windows: WindowRefs | None = None  # None: the model reads none, and so in what all models share
    cached: bool = field(default=False, compare=False)  # it was there already


@dataclass(frozen=True)
class TrainedRef:
    """A fitted model as it will be shipped, and the record of its training (the folder's manifest)."""

    key: str
    path: str  # the bundle's folder
    weights_sha256: str
    cached: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class ChampionRef:
    """A registered version, mostly the one that production serves."""

    name: str  # of the registered model
    version: str
    run_id: str  # the run that made it
    weights_sha256: str
    configuration: str  # key of what it was computed with: equal means a refit of the same on other data
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)  # all that MLflow has of the version


@dataclass(frozen=True)
class EvaluatedRef:
    """The folder with each judged model's metrics per user; its manifest holds the means and intervals."""

    key: str
    path: str
    cached: bool = field(default=False, compare=False)
