"""Erasing a person from everything, MLflow too: the champion goes on serving everybody else."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from flows import stewardship
from flows.commands import EraseConfig
from flows.config import Settings
from flows.stewardship import erase, show_erase
from models.base import Ragged
from models.bundle import Bundle, Strangers
from models.ids import IdMap
from tasks.errors import Busy, ConfigError, RunFailed
from tasks.expect import suite
from tasks.ingest.config import IngestConfig
from tasks.publish.config import RecommendConfig
from tasks.publish.task import publish, recommend_champion
from tasks.store.lease import lease
from tasks.store.store import Store
from tasks.tracking import registry
from tasks.tracking.forgetting import Files
from tasks.tracking.runs import start_run
from tests.factories import Killed, make_bundle
from tests.tasks.nights import LAX, log, plain_judge, run, stage

WHO = "who-7f3a"
OTHERS = [f"u{n:02}" for n in range(23)]
EXAMPLE = f'<div class="card padded"><h3>user {WHO} <span>3</span></h3><div><div>x</div></div></div>'
PAGE = f"<main>\n{EXAMPLE}\n<p>left</p></main>"


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(suite, "judge", plain_judge)
        yield


def shop(root: Path) -> Settings:
    """A dataset with a champion whose first user is the person, one night of a stranger, and lists that are out."""
    store = Store(root / "data")
    settings = Settings(data_dir=store.root, tracking_uri=f"sqlite:///{root}/mlflow.db").resolved()
    rows = [{**row, "user_id": WHO if row["user_id"] == "u1" else row["user_id"]} for row in log()]
    run(store, stage(store, "a", rows), checks=LAX)
    users = IdMap(np.array([*OTHERS, WHO]))
    whole = replace(make_bundle("ials", "u"), dataset="d", users=users)
    strangers = Strangers(IdMap(np.array([WHO])), Ragged.from_pairs(np.array([0]), np.array([3]), 1), {})
    other = replace(make_bundle("popularity", "u"), dataset="d", strangers=strangers)
    for number, bundle in enumerate((other, whole)):
        folder = store.path(f"checkpoints/{number}/bundle")
        folder.mkdir(parents=True)
        bundle.save(folder)
        tracked = start_run(settings.tracking_uri, "shop", f"night {number}", {"dataset": "d"})
        model_id = registry.log_model(tracked, folder, False, WHO)
        version = registry.register(tracked, "encore-d", model_id, {})
        tracked.log_text(PAGE, "card.html")
        tracked.log_text("<main>nobody</main>", "validation.html")
        tracked.finish("FAILED", f"Failed: a.csv: 1 row breaks it (row 3: user_id='{WHO}')")
    registry.crown(tracked.tracking_uri, "encore-d", version)
    lists = recommend_champion(store, whole, version, "run=1", RecommendConfig(k=3))
    publish.fn(store, "d", lists)
    return settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def site(made: Settings) -> Iterator[Settings]:
    """MLflow knows where its files lie, so they are put back to where they were."""
    root = made.data_dir.parent
    shutil.copytree(root, kept := root.with_name(f"{root.name}-kept"), symlinks=True)
    yield made
    shutil.rmtree(root)
    kept.rename(root)


def config(**told: Any) -> EraseConfig:
    return EraseConfig(user=told.pop("user", WHO), ingest=IngestConfig(name="d"), **told)


def names_the_person(root: Path) -> list[str]:
    """Files that hold the person: as text, in a column, or in a tensor of bytes."""
    found = []
    for path in (path for path in root.rglob("*") if path.is_file()):
        held = WHO.encode() in path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path, partitioning=None)
            held |= any(WHO in map(str, column.to_pylist()) for column in table.columns)
        if path.suffix == ".safetensors":
            held |= any(WHO.encode() in tensor.tobytes() for tensor in load_file(path).values())
        found += [str(path.relative_to(root))] if held else []
    return [name for name in found if not name.startswith("mlflow.db")]


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def champion(settings: Settings) -> Bundle:
    found = registry.find_champion(settings.tracking_uri, "encore-d")
    assert found is not None
    bundle: Bundle = registry.load_champion(settings.tracking_uri, found, "d")
    return bundle


def test_the_person_is_nowhere_and_the_champion_serves_all_others(
    site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    root, store = site.data_dir.parent, site.store
    before, lists = champion(site), pq.read_table(store.path("published/d/recommendations.parquet"), partitioning=None)
    assert len(names_the_person(root)) > 10
    result = erase(config(), site)
    assert names_the_person(root) == []
    after = champion(site)
    for old, new in zip(before.recommend(OTHERS, 5), after.recommend(OTHERS, 5), strict=True):
        assert old.tolist() == new.tolist()
    assert before.recommend([WHO], 5)[2].tolist() == ["model"]
    assert after.recommend([WHO], 5)[2].tolist() == ["fallback"]
    published = pq.read_table(store.path("published/d/recommendations.parquet"), partitioning=None).to_pylist()
    assert published == [row for row in lists.to_pylist() if row["user_id"] != WHO]
    assert {row["user_id"] for row in published} == set(OTHERS)
    anew = recommend_champion(store, after, "2", "run=2", RecommendConfig(k=3))
    assert pq.read_table(store.path(f"{anew}/recommendations.parquet"), partitioning=None).to_pylist() == published
    assert WHO not in json.dumps(result)
    assert result["unreproducible"]["versions"] != []
    show_erase(result)
    shown = " ".join(capsys.readouterr().out.split())
    assert "encore-d version 2, the champion" in shown
    assert "encore retrain" in shown


def test_mlflow_shows_nothing_of_the_person(site: Settings) -> None:
    erase(config(), site)
    client = mlflow.MlflowClient(site.tracking_uri)
    experiment = client.get_experiment_by_name("shop")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [one.data.tags["mlflow.note.content"] for one in runs] == [
        "Failed: a.csv: 1 row breaks it (row 3: user_id=[erased])"
    ] * 2
    for number in ("1", "2"):
        loaded = mlflow.pyfunc.load_model(f"models:/encore-d/{number}")
        example = loaded.input_example
        assert example["user_id"].tolist() == [{"1": "u10", "2": "u00"}[number]]
        assert len(loaded.predict(example)) == 10
    cards = list(site.data_dir.parent.glob("mlartifacts/shop/*/artifacts/card.html"))
    assert [path.read_text() for path in cards] == ["<main>\n<p>left</p></main>"] * 2


def test_a_dry_run_tells_the_same_and_changes_nothing(site: Settings) -> None:
    root = site.data_dir.parent
    before = tree(root / "data") | tree(root / "mlartifacts")
    told = erase(config(dry_run=True), site)
    assert tree(root / "data") | tree(root / "mlartifacts") == before
    done = erase(config(), site)
    assert told["traces"] == done["traces"]
    assert (told["dry_run"], done["dry_run"]) == (True, False)


def test_stopped_at_any_step_it_is_finished_by_the_next_call(site: Settings) -> None:
    find, n_kills = stewardship._find, 0

    def killed() -> None:
        raise Killed

    for n in range(100):

        def cut(*args: Any, n: int = n) -> Any:
            lake, traces = find(*args)
            return lake, [replace(one, clear=killed) if place == n else one for place, one in enumerate(traces)]

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stewardship, "_find", cut)
            try:
                erase(config(), site)
                break
            except Killed:
                n_kills += 1
        assert champion(site).recommend(OTHERS, 5)[2].tolist() == ["model"] * len(OTHERS)
    assert n_kills > 5
    assert names_the_person(site.data_dir.parent) == []
    assert champion(site).recommend([WHO], 5)[2].tolist() == ["fallback"]


def test_a_bundle_that_was_replaced_by_halves_is_completed(site: Settings) -> None:
    put = Files.replace

    def killed(self: Files, name: str, new: Path) -> None:
        if name.endswith("bundle.json"):
            raise Killed
        put(self, name, new)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Files, "replace", killed)
        with pytest.raises(Killed):
            erase(config(), site)
    erase(config(), site)
    assert champion(site).recommend([WHO], 5)[2].tolist() == ["fallback"]
    assert names_the_person(site.data_dir.parent) == []


def test_through_mlflow_alone_it_is_the_same(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where files lie on a server or in an object store."""
    here = [Files.names(one) for one in _all(site)]
    monkeypatch.setattr(Files, "folder", None)
    assert [one.names() for one in _all(site)] == here
    erase(config(), site)
    monkeypatch.undo()
    assert names_the_person(site.data_dir.parent) == []
    assert champion(site).recommend([WHO], 5)[2].tolist() == ["fallback"]


def _all(settings: Settings) -> list[Files]:
    from tasks.tracking.forgetting import kept_of

    kept = kept_of(settings.tracking_uri, "d")
    return [*kept.runs, *kept.models]


def test_who_was_erased_before_is_told_so(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    erase(config(), site)
    again = erase(config(), site)
    assert (again["erased_before"], again["traces"]) == (True, [])
    show_erase(again)
    assert "nothing is left" in capsys.readouterr().out


def test_nobody_and_nothing_are_told(made: Settings) -> None:
    before = tree(made.data_dir)
    with pytest.raises(ConfigError, match="'d' knows no such user"):
        erase(config(user="who-7f3"), made)
    with pytest.raises(ConfigError, match="no dataset 'e'"):
        erase(EraseConfig(user=WHO, ingest=IngestConfig(name="e")), made)
    with lease(made.store, "d"), pytest.raises(Busy):
        erase(config(), made)
    assert tree(made.data_dir) == before


def test_a_damaged_version_stops_it_before_anything_changes(site: Settings) -> None:
    [path, *_] = site.data_dir.parent.glob("mlartifacts/shop/models/*/artifacts/artifacts/bundle/catalogue.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    before = tree(site.data_dir)
    with pytest.raises(RunFailed, match="encore-d version"):
        erase(config(), site)
    assert tree(site.data_dir) == before


def test_an_artifact_store_elsewhere_is_told_from_a_folder() -> None:
    assert Files("", "file:///a/b%20c/artifacts", "r").folder == Path("/a/b c/artifacts")
    assert Files("", "/a/b", "r").folder == Path("/a/b")
    assert Files("", "s3://bucket/a", "r").folder is None
    assert Files("", "mlflow-artifacts:/1/r/artifacts", "r").folder is None
