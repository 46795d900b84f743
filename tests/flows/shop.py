"""A log that grows by a day and the nights that are run on it, all in one process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.clock import Clock
from flows.config import PipelineConfig, Settings
from flows.retrain import retrain
from tasks.store.store import Store
from tasks.tracking.registry import find_champion, find_version

START = datetime(2025, 1, 1, tzinfo=UTC)
USERS, ITEMS, ROWS = 60, 30, 100  # rows a day
DAYS = 20  # that have passed before the first night
SMALL: dict[str, Any] = {"name": "bpr_mf", "dim": 4}
FEW = {"epochs": 6, "patience": 0, "device": "cpu"}


def day(number: int) -> pd.DataFrame:
    """Users take items of their own half of the catalogue; every day brings a new user and a new item."""
    rng = np.random.default_rng(number)
    users_R, ranks_R = rng.integers(USERS + number, size=ROWS), rng.geometric(0.1, ROWS) % ((ITEMS + number) // 2)
    times = START + timedelta(days=number) + pd.to_timedelta(np.sort(rng.integers(86_400, size=ROWS)), unit="s")
    return pd.DataFrame({"user_id": users_R, "item_id": 2 * ranks_R + users_R % 2, "timestamp": times})


@dataclass
class Shop:
    """A folder with a log that grows by a file a day, and the nights that are run on it."""

    root: Path
    today: int = DAYS

    def __post_init__(self) -> None:
        (self.root / "log").mkdir()
        pd.concat([day(number) for number in range(self.today)]).to_parquet(self.root / "log" / "past.parquet")

    @property
    def store(self) -> Store:
        return Store(self.root / "data")

    @property
    def settings(self) -> Settings:
        as_of = START + timedelta(days=self.today, hours=3)
        tracking = f"sqlite:///{self.root}/mlflow.db"
        return Settings(data_dir=self.root / "data", tracking_uri=tracking, as_of=as_of).resolved()

    def night(self, **sections: Any) -> dict[str, Any]:
        """After the first, a night follows a day on which rows have arrived."""
        given = {
            "ingest": {"source": "files", "name": "shop", "interactions": (str(self.root / "log" / "*.parquet"),)},
            "model": SMALL,
            "trainer": {**FEW, **sections.pop("trainer", {})},
            # what is tested here is what goes out, not whether
            "gate": {"margin": 1.0, "max_margin": 1.0, "min_overlap": 0, **sections.pop("gate", {})},
        }
        config = PipelineConfig.model_validate(given | sections)
        result: dict[str, Any] = retrain.fn(config, self.settings)
        day(self.today).to_parquet(self.root / "log" / f"day-{self.today:03}.parquet")
        self.today += 1
        return result

    def tags(self, version: str | None = None) -> dict[str, str]:
        """Of a version; unless given, of the champion."""
        of = (self.settings.tracking_uri, "encore-shop")
        found = find_champion(*of) if version is None else find_version(*of, version)
        assert found is not None
        return dict(found.tags)

    def test_rows(self) -> pd.DataFrame:
        """Of the newest split that judges."""
        manifests = sorted(self.store.root.glob("prepared/*/_manifest.json"), key=lambda path: path.stat().st_mtime)
        found = [self.store.manifest(str(path.parent.relative_to(self.store.root))) for path in manifests]
        parts = [one["parts"] for one in found if one.get("protocol") == "temporal"]
        return pd.read_parquet(self.store.path(parts[-1]["test"]["path"]))


def plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps run as plain functions: what Prefect adds has tests of its own."""
    timed: Callable[..., Any] = Clock.__call__
    monkeypatch.setattr(
        Clock, "__call__", lambda clock, step, work, *args: timed(clock, step, getattr(work, "fn", work), *args)
    )
    monkeypatch.setattr("flows.retrain.create_markdown_artifact", lambda *args, **kwargs: None)
