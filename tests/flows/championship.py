"""A dataset with registered versions, for tests of what is done with champions."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pyarrow.parquet as pq

from flows.config import Settings
from flows.crown import crown
from flows.keeper import Keeper
from tasks.publish.config import RecommendConfig
from tasks.publish.pointer import shown
from tasks.publish.task import recommend_champion
from tasks.store.store import Store
from tasks.tracking import registry
from tasks.tracking.history import Event, read_history
from tasks.tracking.registry import find_champion
from tasks.tracking.runs import Run, start_run
from tests.factories import Killed, make_bundle

NAME, OTHER = "encore-d", "trial"
K = 3  # of the lists that the nights made


@dataclass(frozen=True)
class Site:
    """A data folder and an MLflow database: versions 1 to 4 of `encore-d`, version 1 of `trial`, all of dataset d."""

    settings: Settings
    kept: Path = Path()

    @property
    def store(self) -> Store:
        return self.settings.store

    @property
    def uri(self) -> str:
        return self.settings.tracking_uri

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.uri)

    def night(self, version: str, name: str = NAME, keeper: type[Keeper] = Keeper, gain: float = 0.01) -> None:
        """What a night does at its end, where its version passed."""
        crown(keeper("d", name, self.settings), self.event(version, name, gain))

    def event(self, version: str, name: str = NAME, gain: float = 0.01) -> Event:
        before = find_champion(self.uri, name)
        at = f"2026-03-0{version}T03:00:00+00:00"
        was = before.version if before else None
        return Event(name, version, was, "night", "it is better", "ann", at, "d", self.lists(version, name), gain)

    def lists(self, version: str, name: str = NAME) -> str:
        """The folder that the version's night wrote."""
        return f"recommendations/run={self.client.get_model_version(name, version).run_id}"

    def alias(self, version: str | None, name: str = NAME) -> None:
        """Somebody moves or removes it in MLflow."""
        if version is None:
            self.client.delete_registered_model_alias(name, "champion")
        else:
            self.client.set_registered_model_alias(name, "champion", version)

    def champion(self, name: str = NAME) -> str | None:
        """The version on which alias and history agree, and what production shows agrees with them."""
        found = find_champion(self.uri, name)
        version = found.version if found else None
        past = read_history(self.uri, name)
        assert (past[-1].version or None if past else None) == version
        if version is not None:
            assert self.shows() == (version, name)
        return version

    def shows(self) -> tuple[str, str] | None:
        """The version that is in the published rows, and the registered model that the manifest names."""
        found = shown(self.store, "d")
        if found is not None:
            rows = pq.read_table(self.store.path("published/d/recommendations.parquet"), partitioning=None)
            assert set(rows["model_version"].to_pylist()) == {found[0]}
        return found

    def tags(self, version: str, name: str = NAME) -> dict[str, str]:
        return dict(self.client.get_model_version(name, version).tags)


def found(root: Path) -> Site:
    """Four nights and a trial, and nobody is the champion yet. Version 2 has its own files, the others share theirs."""
    settings = Settings(data_dir=root / "data", tracking_uri=tracking_database(root)).resolved()
    store = settings.store
    store.path("lake/d").mkdir(parents=True)
    bundle = replace(make_bundle("popularity", "u"), dataset="d")
    folder = store.path("checkpoints/k/bundle")
    folder.mkdir(parents=True)
    bundle.save(folder)
    models = [registry.log_model(_run(settings), folder, False, "u10") for _ in range(2)]
    for name, model_id in zip((NAME, NAME, NAME, NAME, OTHER), (0, 1, 0, 0, 0), strict=True):
        run = _run(settings)
        run.log_params({"recommend.k": K, "recommend.seen": "exclude", "split.repeats": "drop_from_test"})
        version = registry.register(run, name, models[model_id], {"dataset": "d", "decision": "refused"})
        recommend_champion(store, bundle, version, f"run={run.run_id}", RecommendConfig(k=K), name)
    run.client.create_model_version(NAME, "file:///nowhere", run.run_id, tags={"dataset": "elsewhere"})
    return Site(settings)


def keep(site: Site, kept: Path) -> None:
    """Remembers what the data folder and the database hold."""
    root = site.settings.data_dir.parent
    shutil.copytree(root / "data", kept / "data", symlinks=True)
    shutil.copyfile(root / "mlflow.db", kept / "mlflow.db")


def put_back(site: Site, kept: Path) -> None:
    """What was remembered. MLflow holds its database open, so that one is refilled."""
    root = site.settings.data_dir.parent
    shutil.rmtree(root / "data")
    shutil.copytree(kept / "data", root / "data", symlinks=True)
    with closing(connect(kept / "mlflow.db")) as full, closing(connect(root / "mlflow.db")) as used:
        used.execute("PRAGMA synchronous = OFF")
        full.backup(used)


def _run(settings: Settings) -> Run:
    return start_run(settings.tracking_uri, "d", "night", {"dataset": "d"})


def tracking_database(folder: Path) -> str:
    """An empty one in the folder; to make one takes seconds, so it is made once. Returns its address."""
    (folder / "mlflow.db").write_bytes(_empty_database())
    return f"sqlite:///{folder}/mlflow.db"


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as folder:
        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        return (Path(folder) / "mlflow.db").read_bytes()


def killed_at(n: int, after: bool) -> type[Keeper]:
    """Who is killed at the n-th step, before it or right after it."""
    steps = 0

    class Mortal(Keeper):
        def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == n and not after:
                raise Killed
            done = super().step(name, work, *args)
            if steps == n:
                raise Killed
            return done

    return Mortal
