"""What is old goes, from the folder, the database and the disk; what a champion needs stays, wherever it is killed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flows import gc as module
from flows.champions import rollback
from flows.commands import GcConfig, RollbackConfig
from flows.config import PipelineConfig, Settings
from flows.gc import gc, show_gc
from flows.retrain import retrain
from tasks.errors import ConfigError
from tasks.tracking.registry import find_champion, load_champion
from tasks.tracking.runs import start_run
from tests.flows.nights import as_plain_functions
from tests.tasks.nights import START

LATER = timedelta(days=400)  # all that there is, is old by then
NAME = "encore-shop"


def rows(first_user: int, n_users: int = 120) -> pd.DataFrame:
    """Even users take even items, odd ones odd items; twelve each, at times of their own."""
    users_R = [user for user in range(first_user, first_user + n_users) for _ in range(12)]
    items_R = [(2 * (7 * row + user // 2) + user % 2) % 60 for row, user in enumerate(users_R)]
    times = [START + timedelta(minutes=37 * row % 50_000) for row in range(len(users_R))]
    return pd.DataFrame({"user_id": users_R, "item_id": items_R, "timestamp": times}).drop_duplicates(
        ["user_id", "item_id"]
    )


class World:
    """Four nights of a shop, all of whose models go out, one refused version, and a night of another dataset."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "log").mkdir()
        self.results = [self.night("shop", seed) for seed in range(4)]
        self.refused = self.night("shop", 9, gate={"margin": 1, "min_users": 10**6})
        self.other = self.night("other", 0)
        client = MlflowClient(self.uri)
        client.create_registered_model("by-hand")  # as a person does it in MLflow's pages: without tags
        self.register("by-hand", self.refused)
        self.register(NAME, self.other, dataset="other")  # version 6
        self.deleted = client.create_experiment("somebody may want it back")
        client.delete_experiment(self.deleted)

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"

    def register(self, name: str, night: dict[str, Any], **tags: str) -> None:
        """One more version of a night's model."""
        client = MlflowClient(self.uri)
        model = night["model"]
        source = client.get_model_version(model["name"], model["version"]).source
        client.create_model_version(name, str(source), night["run_id"], tags)

    def settings(self, later: timedelta = LATER) -> Settings:
        return Settings(data_dir=self.root / "data", tracking_uri=self.uri, as_of=datetime.now(UTC) + later)

    def night(self, dataset: str, seed: int, **more: Any) -> dict[str, Any]:
        """A file more, and a night with everything that came so far."""
        folder = self.root / "log" / dataset
        folder.mkdir(exist_ok=True)
        n_files = len(list(folder.iterdir()))
        rows(120 * n_files).to_parquet(folder / f"{n_files}.parquet")
        files = {"source": "files", "name": dataset, "interactions": (f"{folder}/*.parquet",)}
        config = {
            "ingest": files,
            "model": {"name": "bpr_mf", "dim": 8},
            "trainer": {"epochs": 10, "seed": seed},
            "split": {"protocol": "leave_last_out"},
            "gate": {"margin": 1, "max_margin": 1, "too_good": 100, "min_overlap": 0, "max_coverage_loss": 1},
            **more,
        }
        settings = self.settings(timedelta(0)).model_copy(update={"as_of": START + timedelta(days=60)})
        return dict(retrain.fn(PipelineConfig.model_validate(config), settings))

    def gc(self, later: timedelta = LATER, **more: Any) -> dict[str, Any]:
        config = {"ingest": {"name": "shop"}, "keep_champions": 1, **more}
        return gc(GcConfig.model_validate(config), self.settings(later))

    def files(self) -> set[str]:
        """Of data folder and artifacts; databases and leases change with a look at them."""
        found = (path for place in ("data", "mlartifacts") for path in (self.root / place).rglob("*"))
        return {str(path.relative_to(self.root)) for path in found if "leases" not in path.parts}


@dataclass
class Tidied:
    """A world that was tidied: first nothing was old, then it was asked what would go, then it was killed after every
    third thing that went, again and again, until nothing was left to do."""

    world: World
    before: set[str]
    young: dict[str, Any]
    after_young: set[str]
    told: dict[str, Any]
    after_told: set[str]
    kills: int
    seen: list[dict[str, Any]]
    last: dict[str, Any]
    runs: dict[str, str]


class Killed(BaseException):
    """Stands for a process that ends in the middle."""


@pytest.fixture(scope="module")
def tidied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidied]:
    with pytest.MonkeyPatch.context() as patch:
        as_plain_functions(patch)
        world = World(tmp_path_factory.mktemp("gc"))
        assert [one["decision"]["promote"] for one in world.results] == [True] * 4
        assert not world.refused["decision"]["promote"]
        MlflowClient(world.uri).set_model_version_tag(NAME, "2", "keep", "a fine example")
        runs = more_runs(world)
        before = world.files()
        young, after_young = world.gc(timedelta(days=20)), world.files()
        told, after_told = world.gc(dry_run=True), world.files()
        kills, seen = tidy_with_kills(world, patch)
        yield Tidied(world, before, young, after_young, told, after_told, kills, seen, world.gc(dry_run=True), runs)


def more_runs(world: World) -> dict[str, str]:
    """A comparison with a run below it, and a run that is still going on; by what they are, their ids."""
    tags = {"dataset": "shop"}
    old = start_run(world.uri, "shop", "a comparison", tags)
    below = old.child("one of its fits", tags)
    going_on = start_run(world.uri, "shop", "going on", tags)
    for run in (old, below):
        run.finish()
    return {"old": old.run_id, "below": below.run_id, "going on": going_on.run_id}


def tidy_with_kills(world: World, patch: pytest.MonkeyPatch) -> tuple[int, list[dict[str, Any]]]:
    """How often it was killed, and what went. After each kill the champion is whole."""
    seen: list[dict[str, Any]] = []

    def three(traces: Any, *args: Any, **kwargs: Any) -> Any:
        for number, trace in enumerate(traces):
            if number == 3:
                raise Killed
            seen.append({"place": trace.place, "name": trace.name, "bytes": trace.bytes or 0})
            yield trace

    patch.setattr(module, "track", three)
    for kills in range(1000):
        try:
            world.gc()
        except Killed:
            champion = find_champion(world.uri, NAME)
            assert champion is not None
            assert champion.version == "4"
            assert load_champion(world.uri, champion, "shop")
            continue
        return kills, seen
    raise AssertionError("it never ends")


def gone(call: Callable[[], Any]) -> bool:
    try:
        call()
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    return False


@pytest.mark.slow
def test_what_is_young_stays(tidied: Tidied) -> None:
    assert (tidied.young["removed"], tidied.young["kept_versions"]) == ([], ["1", "2", "3", "4", "5"])
    assert tidied.after_young == tidied.before


@pytest.mark.slow
def test_a_dry_run_says_what_a_real_one_does_and_does_nothing(
    tidied: Tidied, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tidied.after_told == tidied.before
    assert len(tidied.told["removed"]) > 9
    assert tidied.told["bytes"] == sum(one["bytes"] for one in tidied.told["removed"]) > 0
    assert tidied.told["kept_versions"] == ["2", "3", "4"]
    show_gc(tidied.told)
    assert "would be removed" in capsys.readouterr().out
    show_gc({**tidied.told, "dry_run": False})
    assert "were removed" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same(tidied: Tidied) -> None:
    def names(removed: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(one["place"], one["name"]) for one in removed}

    assert tidied.kills >= 3
    assert names(tidied.seen) == names(tidied.told["removed"])
    assert tidied.last["removed"] == []
    show_gc(tidied.last)


@pytest.mark.slow
def test_what_goes_is_gone_for_good(tidied: Tidied) -> None:
    client, root, old = MlflowClient(tidied.world.uri), tidied.world.root, tidied.world.results[0]
    assert gone(lambda: client.get_model_version(NAME, "1"))
    assert gone(lambda: client.get_run(old["run_id"]))
    assert not list((root / "mlartifacts").rglob(f"{old['run_id']}*"))
    assert not (root / "data" / "recommendations" / f"run={old['run_id']}").exists()
    assert not (root / "data" / "checkpoints" / old["key"]).exists()
    assert not (root / "data" / "lake" / "shop" / "snapshots" / old["snapshot"]).exists()
    models = [path.name for path in (root / "mlartifacts" / "shop" / "models").iterdir()]
    assert len(models) == 4  # of the versions that stay, and what was registered by hand


@pytest.mark.slow
def test_a_run_goes_with_those_below_it_and_not_while_it_is_going_on(tidied: Tidied) -> None:
    client = MlflowClient(tidied.world.uri)
    assert gone(lambda: client.get_run(tidied.runs["old"]))
    assert gone(lambda: client.get_run(tidied.runs["below"]))
    assert client.get_run(tidied.runs["going on"]).info.status == "RUNNING"


@pytest.mark.slow
def test_other_datasets_and_deleted_experiments_are_not_touched(tidied: Tidied) -> None:
    world, client = tidied.world, MlflowClient(tidied.world.uri)
    assert client.get_experiment(world.deleted).lifecycle_stage == "deleted"  # `mlflow gc` would have removed it
    assert client.get_run(world.other["run_id"]).info.lifecycle_stage == "active"
    assert client.get_model_version("encore-other", "1")
    assert client.get_model_version(NAME, "6").tags == {"dataset": "other"}
    assert (world.root / "data" / "checkpoints" / world.other["key"] / "bundle").is_dir()
    assert Path(world.other["recommendations"]).is_file()
    assert Path(world.other["published"]).is_file()


@pytest.mark.slow
def test_what_a_person_registered_in_mlflow_stays_with_its_run(tidied: Tidied) -> None:
    world, client = tidied.world, MlflowClient(tidied.world.uri)
    assert gone(lambda: client.get_model_version(NAME, "5"))
    assert client.get_run(world.refused["run_id"]).info.lifecycle_stage == "active"
    mlflow.set_tracking_uri(world.uri)
    loaded = mlflow.pyfunc.load_model("models:/by-hand/1")
    assert len(loaded.predict(pd.DataFrame({"user_id": ["3"]}), params={"k": 5})) == 5


@pytest.mark.slow
def test_the_champion_and_the_one_before_it_keep_all_that_they_need(tidied: Tidied) -> None:
    world, champion = tidied.world, tidied.world.results[3]
    root = world.root
    assert MlflowClient(world.uri).get_run(champion["run_id"]).info.lifecycle_stage == "active"
    assert pd.read_parquet(root / "data" / "published" / "shop").model_version.unique().tolist() == ["4"]
    assert (root / "data" / "checkpoints" / champion["key"] / "bundle").is_dir()
    assert (root / "data" / "lake" / "shop" / "snapshots" / champion["snapshot"]).is_dir()
    mlflow.set_tracking_uri(world.uri)
    for number in ("2", "3", "4"):
        loaded = mlflow.pyfunc.load_model(f"models:/{NAME}/{number}")
        assert len(loaded.predict(pd.DataFrame({"user_id": ["3"]}), params={"k": 5})) == 5
    # one can go back, and go on
    back = rollback(RollbackConfig.model_validate({"ingest": {"name": "shop"}}), world.settings())
    assert back["champion"] == "3"
    assert world.night("shop", 4)["model"]["version"] == "7"


def test_an_unknown_dataset_is_one_line(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(ConfigError, match="there is no tracking database"):
        gc(GcConfig.model_validate({"ingest": {"name": "nobody"}}), settings)
