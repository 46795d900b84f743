"""What is ingested."""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from models.frozen import Frozen

NAME = r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$"  # empty is the default, and what a form sends back for it


class IngestConfig(Frozen):
    """Where the interactions come from."""

    source: Literal["movielens-100k", "movielens-1m", "movielens-25m", "synthetic", "files"] = "movielens-100k"
    """A public dataset, a made-up log of any size, or your own files."""
    name: str = Field(default="", pattern=NAME)
    """The dataset's name. Default: the source; for files, the stem plus a short hash of the resolved pattern."""
    interactions: tuple[str, ...] = ()
    """Your files: paths, globs, folders or s3:// URLs of CSV, TSV, JSONL or Parquet, compressed or not."""
    users: tuple[str, ...] = ()
    """Files with one row per user and its features."""
    items: tuple[str, ...] = ()
    """Files with one row per item and its features; `title` and `genres` are shown on the run card."""
    columns: dict[str, str] = Field(default={})
    """Your column names: ours (user_id, item_id, rating, timestamp, event). Usual names are recognised without it."""
    delivery: Literal["append", "dump"] | None = None
    """append: what was taken in stays, new files add to it, and a file that changed replaces its earlier content;
    dump: tonight's files are all there is. Unset: append for folders and globs, dump for single files."""
    min_rating: float | None = None
    """Rows rated lower are no positives. Unset: every row counts."""
    events: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """What each kind of event weighs in training, as in {view: 1, cart: 3, purchase: 5}; others are left out.
    Unset: every row weighs the same."""
    rows: PositiveInt = 100_000
    """synthetic: interactions to draw."""
    users_count: PositiveInt = 1_000
    """synthetic: users."""
    items_count: PositiveInt = 2_000
    """synthetic: items."""
    seed: NonNegativeInt = 0
    """synthetic: equal seeds give equal logs."""

    @model_validator(mode="before")
    @classmethod
    def _one_path_or_many(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        if empty := [k for k in ("interactions", "users", "items") if values.get(k) == ""]:
            raise ValueError(f"ingest.{empty[0]} is empty: give a path or glob, or leave it out")
        paths = {k: (v,) for k, v in values.items() if k in ("interactions", "users", "items") and isinstance(v, str)}
        implied = {"source": "files"} if values.get("interactions") and "source" not in values else {}
        return {**values, **implied, **paths}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "files" and not self.interactions:
            raise ValueError("source `files` needs ingest.interactions, a path or glob")
        if self.source != "files" and (self.interactions or self.users or self.items):
            raise ValueError(f"ingest.interactions, users and items go with source `files`, not `{self.source}`")
        return self

    @property
    def appends(self) -> bool:
        """Whether the dataset is all that was ever taken in, and not only tonight's files."""
        if self.delivery is not None or self.source != "files":
            return self.delivery == "append"
        return any(_names_many(path) for path in self.interactions)

    @property
    def dataset(self) -> str:
        """The dataset's name, resolved."""
        if self.name:
            return self.name
        if self.source != "files":
            return self.source
        pattern = "\n".join(_resolved(path) for path in self.interactions)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(self.interactions[0]).name.split(".")[0]).strip("-._") or "files"
        return f"{stem}-{hashlib.sha256(pattern.encode()).hexdigest()[:8]}"


def _resolved(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def _names_many(path: str) -> bool:
    """A folder or a glob: what is in it grows from night to night."""
    if "://" in path:
        return path.endswith("/") or any(mark in path for mark in "*?[")
    return any(mark in path for mark in "*?[") or Path(path).expanduser().is_dir()
