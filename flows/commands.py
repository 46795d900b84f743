"""What the commands that look after the data are told; a night's configuration is in `config.py`."""

from typing import Any

from pydantic import Field, model_validator

from models.frozen import Frozen
from tasks.ingest.config import NAME, IngestConfig
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


COMMANDS: dict[str, type[Any]] = {"inspect": InspectConfig, "quarantine": QuarantineConfig, "erase": EraseConfig}
POSITIONAL = {"inspect": "path", "erase": "user"}
"""What may be given without its name: `encore inspect PATH`."""
