"""Shared by all tests."""

import os
import subprocess
import sys

import pytest

import models  # noqa: F401  (before torch: says how idle threads wait)
from flows.environment import set_defaults
from tasks.store.store import Store

set_defaults(on_terminal=False)


@pytest.fixture(scope="session", autouse=True)
def _own_prefect(tmp_path_factory) -> None:
    """Prefect's database of this test run alone, made once: nobody's own is touched."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    os.environ.pop("PREFECT_API_URL", None)


@pytest.fixture(scope="session")
def prefect_database(_own_prefect) -> None:
    """Made before the first flow runs, as `make setup` does."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def store(tmp_path) -> Store:
    """An empty data folder."""
    return Store(tmp_path / "data")
