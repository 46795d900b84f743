"""What the commands that look after the data are told; a night's configuration is in `config.py`."""

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from models.frozen import Frozen
from tasks.ingest.config import NAME, IngestConfig
from tasks.publish.config import RecommendConfig
from tasks.validate.config import ChecksConfig


class InspectConfig(Frozen):
    """A look at data that is not taken in yet."""

    path: str = Field(min_length=1)
    """What to look at: a file, folder, glob or s3:// URL."""
    write: str | None = None
    """A folder for encore.yaml and expectations.yaml, ready for `encore retrain --config=FOLDER/encore.yaml`."""
    ingest: IngestConfig = IngestConfig()
    """How it is read: `ingest.columns`, `ingest.events`, `ingest.users`, `ingest.items` as for a night."""
    checks: ChecksConfig = ChecksConfig()

    @model_validator(mode="before")
    @classmethod
    def _path_is_the_log(cls, values: Any) -> Any:
        """The path as the interactions that a night would ingest, so that all of `ingest` is judged beside it."""
        if not isinstance(values, dict) or not values.get("path") or not isinstance(values.get("ingest", {}), dict):
            return values
        return {**values, "ingest": {**values.get("ingest", {}), "source": "files", "interactions": (values["path"],)}}


class QuarantineConfig(Frozen):
    """Refused rows: listed, handed out to be mended, taken in again."""

    ingest: IngestConfig = IngestConfig()
    """Whose rows: `--ingest.name=NAME`, or the configuration of its nights by --config."""
    reason: str | None = None
    """Only rows whose reason holds this text."""
    export: str | None = None
    """A CSV, JSONL or Parquet file to write the rows to, one column a cell, for somebody to mend."""
    take: str | None = None
    """Such a file, mended: its rows are taken in with the next night."""


class EraseConfig(Frozen):
    """A person who is to be forgotten."""

    user: str = Field(min_length=1)
    """The user id as the log has it."""
    ingest: IngestConfig = IngestConfig()
    """From which dataset: `--ingest.name=NAME`, or the configuration of its nights by --config."""
    registered_model: str = Field(default="", pattern=NAME)
    """The registered model; unset: `encore-<dataset>`."""
    dry_run: bool = False
    """Only say what would be removed."""

    @property
    def model(self) -> str:
        return self.registered_model or f"encore-{self.ingest.dataset}"


class Registered(Frozen):
    """Of commands that deal with registered versions: whose."""

    ingest: IngestConfig = IngestConfig()
    """Of which dataset: `--ingest.name=NAME`, or the configuration of its nights by --config."""
    registered_model: str = Field(default="", pattern=NAME)
    """The registered model; unset: `encore-<dataset>`."""

    @property
    def dataset(self) -> str:
        return self.ingest.dataset

    @property
    def model(self) -> str:
        return self.registered_model or f"encore-{self.dataset}"


class PromoteConfig(Registered):
    """A person lets a version out, whatever the gate said."""

    version: str = Field(min_length=1)
    """The registered version."""
    reason: str = Field(min_length=1)
    """Why: it is kept in the history."""
    take_over: bool = False
    """Production is to show it, also where it shows the lists of another registered model by now."""
    recommend: RecommendConfig = RecommendConfig()
    """How its lists are made where they are not there any more; unset: as its night made them."""


class FreezeConfig(Registered):
    """No night changes the champion until this is lifted; nights still train, judge and register."""

    reason: str = ""
    """Why: every night says it."""
    lift: bool = False
    """Let nights promote again."""


class HistoryConfig(Registered):
    """What was champion when, and why."""


class RollbackConfig(Registered):
    """Back to an earlier champion, its lists published again."""

    to: str = ""
    """The version to go back to; unset: the champion before this one."""
    reason: str = "rolled back by hand"
    """Why: it is kept in the history."""
    recommend: RecommendConfig = RecommendConfig()
    """How its lists are made where they are not there any more; unset: as its night made them."""


class ReproduceConfig(Registered):
    """A registered version is made once more from what its night kept."""

    version: str = Field(min_length=1)
    """The registered version."""


class DiffConfig(Registered):
    """Two runs or versions beside each other, as a page."""

    one: str = Field(min_length=1)
    """A version (a number) or the id of an MLflow run: the earlier one."""
    other: str = Field(min_length=1)
    """What it is compared with: a version or the id of a run."""
    write: str = Field(default="diff.html", min_length=1)
    """The page's file."""
    resamples: PositiveInt = 2000
    """Bootstrap samples of the users behind every interval."""


class GcConfig(Registered):
    """Removes what no champion needs and nobody has looked after for long."""

    keep_days: PositiveInt = 30
    """Runs, versions, snapshots, lists and checkpoints of the last so many days stay."""
    keep_champions: PositiveInt = 3
    """So many champions to go back to stay beside the one of today, with all that they need, however old they are."""
    dry_run: bool = False
    """Only say what would be removed."""


COMMANDS: dict[str, type[Any]] = {
    "inspect": InspectConfig,
    "quarantine": QuarantineConfig,
    "erase": EraseConfig,
    "promote": PromoteConfig,
    "freeze": FreezeConfig,
    "history": HistoryConfig,
    "rollback": RollbackConfig,
    "reproduce": ReproduceConfig,
    "diff": DiffConfig,
    "gc": GcConfig,
}
POSITIONAL: dict[str, tuple[str, ...]] = {
    "inspect": ("path",),
    "erase": ("user",),
    "promote": ("version",),
    "reproduce": ("version",),
    "diff": ("one", "other"),
}
"""What may be given without its name: `encore inspect PATH`."""
