"""What has to stay, version by version and folder by folder."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.gc.found import find_old
from tasks.gc.kept import Keep, kept_versions, old_runs
from tasks.store.atomic import write_json
from tasks.store.store import MANIFEST, Store
from tasks.tracking.cleaning import TrackedRun, Version
from tasks.tracking.forgetting import Files
from tasks.tracking.history import Event, Kind, registered_names
from tasks.validate.ledger import Content, Entry, GoodNight, Ledger, write_ledger
from tasks.validate.spare import find_spare

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)


def version(number: int, days_ago: float, **tags: str) -> Version:
    return Version(str(number), f"run{number}", f"model{number}", NOW - timedelta(days=days_ago), tags)


def changes(*told: tuple[str, float, Kind]) -> list[Event]:
    """By version, days ago and kind."""
    found: list[Event] = []
    for number, days_ago, kind in told:
        at = (NOW - timedelta(days=days_ago)).isoformat()
        found.append(Event("m", number, found[-1].version if found else None, kind, "", "", at, "shop", ""))
    return found


def numbers(history: list[Event], *versions: Version, champions: int = 1) -> list[str]:
    champion = history[-1].version if history else None
    return [one.number for one in kept_versions(versions, history, champion, NOW, BEFORE, champions)]


OLD = [version(number, 100 - number) for number in range(1, 6)]


@pytest.mark.parametrize(("champions", "expected"), [(1, "45"), (2, "345"), (9, "12345")])
def test_so_many_champions_stay_beside_the_one_of_today(champions: int, expected: str) -> None:
    history = changes(*((str(number), 100 - number, "night") for number in range(1, 6)))
    assert "".join(numbers(history, *OLD, champions=champions)) == expected


def test_a_champion_that_was_rolled_back_from_takes_no_place() -> None:
    """3 was bad: to go back from 2, version 1 is needed; and what is gone already is nobody to go back to."""
    history = changes(("1", 99, "night"), ("2", 98, "night"), ("3", 97, "night"), ("2", 96, "rollback"))
    assert numbers(history, *OLD) == ["1", "2"]
    history = changes(("1", 99, "night"), ("2", 98, "night"), ("3", 97, "night"))
    assert numbers(history, OLD[0], OLD[2]) == ["1", "3"]


def test_who_was_champion_since_then_stays_however_old_and_so_do_the_young_and_the_pinned() -> None:
    history = changes(*((str(number), 100 - number, "night") for number in (1, 2, 3)), ("4", 31, "night"))
    later = changes(("5", 29, "night"), ("9", 28, "night"))
    assert numbers([*history, *later], *OLD) == ["4", "5"]  # 4 was champion until 29 days ago
    at_once = changes(("3", 50, "night"), ("4", 30, "night"), ("5", 29, "night"))
    assert numbers(at_once, *OLD) == ["3", "4", "5"]
    assert numbers(changes(("3", 50, "night"), ("4", 30.001, "night"), ("5", 29, "night")), *OLD) == ["4", "5"]
    assert numbers(history, *OLD, champions=1) == ["3", "4"]
    edge = [version(6, 30), version(7, 30.001), version(8, 50, keep="", decision="refused")]
    assert numbers(history, *OLD, *edge) == ["3", "4", "6", "8"]
    assert numbers([], *edge) == ["6", "8"]


def test_of_what_stays_all_that_it_needs_does() -> None:
    kept = [version(1, 9, key="a", judged_key="b", warm_key="c", snapshot="s"), version(2, 9, key="a", snapshot="")]
    found = Keep.of(kept, frozenset("1"))
    assert (found.versions, found.runs) == (frozenset("1"), frozenset({"run1", "run2"}))
    assert (found.keys, found.snapshots) == (frozenset("abc"), frozenset("s"))


# the data folder


def put(store: Store, folder: str, days_ago: float, file: str = MANIFEST, **content: Any) -> None:
    """A folder with such a record, as old as that."""
    path = store.path(folder) / file
    write_json(path, content)
    (path.parent / "table").write_text("rows")
    age(days_ago, path, path.parent / "table", path.parent)


def age(days_ago: float, *paths: Path) -> None:
    at = (NOW - timedelta(days=days_ago)).timestamp()
    for path in paths:
        os.utime(path, (at, at))


def old(store: Store, keep: Keep, published: str | None = None) -> set[str]:
    return {trace.name for trace in find_old(store, "shop", keep, BEFORE, published, {"taken"})}


NOTHING = Keep(frozenset(), frozenset(), frozenset(), frozenset())
KEPT = Keep(frozenset("1"), frozenset({"r"}), frozenset("s"), frozenset("k"))


def test_what_is_old_of_the_dataset_goes_unless_it_is_needed(store: Store) -> None:
    for key in ("k", "other"):
        put(store, f"checkpoints/{key}", 31, "made_from.json", dataset="shop", snapshot="s")
        put(store, f"prepared/{key}", 31, made_from={"dataset": "shop", "snapshot": "s"})
        put(store, f"tuning/{key}", 31, "made_from.json", dataset="shop", snapshot="s")
    for snapshot in ("s", "t"):
        put(store, f"metrics/of-{snapshot}", 31, made_from={"dataset": "shop", "snapshot": snapshot})
    for run_id in ("r", "r-20260101", "rr", "live"):
        put(store, f"recommendations/run={run_id}", 31, dataset="shop")
    for content in ("taken", "gone"):
        put(store, f"staging/shop/{content}", 31, sha256=content)
    put(store, "staging/shop/fetched", 31, "unread.json", a="b")
    for run_id in ("r", "rr", "unknown"):
        write_json(store.path(f"decisions/{run_id}.json"), {})
        age(31, store.path(f"decisions/{run_id}.json"))
    write_json(store.path("nights/shop/n.json"), {})
    age(31, store.path("nights/shop/n.json"))
    found = old(store, KEPT, "recommendations/run=live")
    always = {"prepared/k", "prepared/other", "tuning/k", "tuning/other", "nights/shop/n.json", "staging/shop/gone"}
    unneeded = {"checkpoints/other", "metrics/of-t", "recommendations/run=rr", "decisions/rr.json"}
    assert found == always | unneeded
    needed = {"checkpoints/k", "metrics/of-s", "recommendations/run=r", "recommendations/run=r-20260101"}
    assert old(store, NOTHING) == found | needed | {"recommendations/run=live", "decisions/r.json"}


def test_what_is_young_or_of_another_dataset_or_of_nobody_stays(store: Store) -> None:
    for number, (days_ago, dataset) in enumerate([(29, "shop"), (31, "other"), (31, None)]):
        told = {} if dataset is None else {"dataset": dataset, "snapshot": "s"}
        put(store, f"checkpoints/{number}", days_ago, "made_from.json", **told)
        for place in ("metrics", "prepared", "tuning"):
            put(store, f"{place}/{number}", days_ago, made_from=told)
        put(store, f"recommendations/run={number}", days_ago, **told)
    put(store, "staging/shop/young", 29, sha256="gone")
    put(store, "staging/other/old", 31, sha256="gone")
    put(store, "tuning/going-on", 40, "made_from.json", dataset="shop")
    age(29, store.path("tuning/going-on/table"))  # somebody went on with it
    put(store, "prepared/whole", 31, made_from={"dataset": "shop"})
    age(29, store.path("prepared/whole/table"))  # the manifest says when it was finished
    assert old(store, NOTHING) == {"prepared/whole"}


def partition(store: Store, name: str, days_ago: float) -> dict[str, Any]:
    """One of the lake, as a snapshot names it."""
    put(store, f"lake/shop/{name}", days_ago)
    return {"path": f"lake/shop/{name}/interactions.parquet", "rows": 1, "fingerprint": "f"}


def snapshot(store: Store, name: str, days_ago: float, *parts: dict[str, Any]) -> None:
    tables: dict[str, Any] = {"interactions": parts, "users": [], "items": []}
    put(store, f"lake/shop/snapshots/{name}", days_ago, dataset="shop", hash=name, **tables)


def test_of_the_lake_a_snapshot_stays_with_its_partitions_and_what_the_ledger_names(store: Store) -> None:
    names = ("shared", "of kept", "of gone", "of last", "of young", "in ledger", "of none", "young")
    parts = {name: partition(store, name, 29 if name == "young" else 31) for name in names}
    for name in ("kept", "gone", "last", "young"):
        days_ago = 29 if name == "young" else 31
        snapshot(store, name, days_ago, parts[f"of {name}"], *([parts["shared"]] if name in ("kept", "gone") else []))
    for name, days_ago in (("now", 31), ("old", 31), ("young", 29)):
        put(store, f"lake/shop/checked/{name}", days_ago)
    entry = Entry(Content("interactions", "a.csv", "sha256"), "lake/shop/in ledger", "rules")
    good = [GoodNight(NOW, f"lake/shop/snapshots/{name}", 1, 1, None) for name in ("gone", "last")]
    write_ledger(store, "shop", Ledger((entry,), tuple(good), "lake/shop/checked/now"))
    found = [trace.name.removeprefix("lake/shop/") for trace in find_spare(store, "shop", {"kept"}, BEFORE)]
    assert found == ["snapshots/gone", "checked/old", "of gone", "of none"]  # a snapshot goes before its partitions


def run(run_id: str, days_ago: float, parent: str | None = None, is_running: bool = False) -> TrackedRun:
    files = Files("", "", run_id)
    return TrackedRun(run_id, run_id, NOW - timedelta(days=days_ago), is_running, parent, files)


def test_a_run_goes_with_the_one_above_it_or_not_at_all() -> None:
    keep = Keep(frozenset(), frozenset({"kept"}), frozenset(), frozenset())
    runs = [
        run("old", 40),
        run("below", 39, "old"),
        run("further below", 38, "below"),
        run("young below old", 29, "old"),
        run("kept", 40),
        run("of kept", 40, "kept"),
        run("young", 29),
        run("of young", 40, "young"),
        run("going on", 40, is_running=True),
        run("of going on", 40, "going on"),
        run("of nobody", 40, "gone"),
        run("circle", 40, "circle"),
    ]
    gone = ["old", "below", "further below", "of nobody", "circle"]
    assert [one.run_id for one in old_runs(runs, keep, BEFORE)] == gone


def test_a_hundred_registered_models_and_more_are_all_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow tells a page at a time."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for name in ("c", "a", "b"):
        MlflowClient(uri).create_registered_model(name)
    whole = MlflowClient.search_registered_models
    monkeypatch.setattr(
        MlflowClient, "search_registered_models", lambda self, page_token: whole(self, None, 1, None, page_token)
    )
    assert registered_names(uri) == ["a", "b", "c"]
