"""Erasing a person: what is left is what would be there had they never been read, and nobody else misses a row."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.ids import IdMap
from tasks.erase.kept import find_kept
from tasks.erase.person import ANYBODY, Person, list_path, remember, was_erased
from tasks.expect import suite
from tasks.ingest.erased import load
from tasks.schema import recommendations
from tasks.store.atomic import write_json
from tasks.store.engine import engine
from tasks.store.refs import SnapshotRef
from tasks.store.store import MANIFEST, Store, Writer
from tasks.store.traces import Trace
from tasks.validate.forget import LakeTraces, find_in_lake
from tasks.validate.lake import read_partition
from tasks.validate.ledger import read_ledger
from tests.factories import Killed, make_bundle
from tests.tasks.nights import LAX, Row, features, log, numbered, plain_judge, run, stage

WHO = "u1"
PERSON = Person("d", WHO, f"'{WHO}'")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "judge", plain_judge)


def of_others(rows: Sequence[Row]) -> list[Row]:
    """As ingested once the person is erased: rows keep their numbers in the file."""
    return [row for row in rows if row["user_id"] != WHO]


A = [*log(), {**log(1, 50)[0], "user_id": "u12", "source_row": 21}]  # u12 is somebody else
B = numbered([*log(8, 4), *log(12, 100), {**log(1, 101)[0], "item_id": None}, {**log(1, 102)[0], "item_id": ""}])
UNREAD = [(23, "3 cells, not 4", json.dumps({"line": f"{WHO},i3"})), (24, "rating='x'", json.dumps({"user_id": "u2"}))]
PEOPLE = ["u0", WHO, "u2", "u3", "u12"]


def site(store: Store, everybody: bool = True) -> SnapshotRef:
    """Two nights: file b repeats rows of a, and has rows that are refused; with or without the person."""
    which = (lambda rows: rows) if everybody else of_others
    users = features("user_id", PEOPLE if everybody else [one for one in PEOPLE if one != WHO])
    first = (stage(store, "a", which(A)), stage(store, "users__x", users))
    run(store, *first, checks=LAX)
    second = stage(store, "b", which(B), UNREAD if everybody else UNREAD[1:])
    return run(store, *first, second, checks=LAX, day=1).snapshot


def erase(store: Store, dry_run: bool = False) -> list[Trace]:
    with engine(store) as opened:
        lake = find_in_lake(opened, "d", WHO)
        traces = [*lake.traces, *find_kept(opened, PERSON, lake.left)]
        if not dry_run:
            remember(store, PERSON)
            for trace in traces:
                trace.clear()
    return traces


def look(store: Store) -> LakeTraces:
    with engine(store) as opened:
        return find_in_lake(opened, "d", WHO)


def tables(store: Store) -> dict[str, Any]:
    """What the lake holds by its ledger: rows, counts by id, and where rows went, file by file."""
    ledger = read_ledger(store, "d")
    found: dict[str, Any] = {}
    for entry in ledger.entries:
        partition = read_partition(store, entry.partition)
        assert partition is not None
        refs = (partition.part, partition.repeated, partition.user_counts, partition.item_counts)
        rows = [store.read(ref).to_pylist() if ref else [] for ref in refs]
        found[entry.content.label] = (rows, partition.tally.profile, partition.origin.span)
    newest = store.manifest(ledger.nights[-1].snapshot)
    counts = [newest[name]["fingerprint"] for name in ("user_counts", "item_counts")]
    return {**found, "snapshot": newest["hash"], "profile": newest["profile"], "counts": counts}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def names_the_person(root: Path) -> list[str]:
    """Files that have the person as a value."""
    found = []
    for path in root.rglob("*"):
        if path.suffix == ".parquet":
            values = {
                value
                for column in pq.read_table(path, partitioning=None).columns
                for value in column.to_pylist()
                if isinstance(value, str)
            }
            if any(value == WHO or ("line" in value and f"{WHO}," in value) or f'"{WHO}"' in value for value in values):
                found.append(str(path))
        elif path.is_file() and (f"'{WHO}'" in (text := path.read_text(errors="replace")) or f'"{WHO}"' in text):
            found.append(str(path))
    return found


def test_the_lake_is_what_it_were_had_the_person_never_been_read(store: Store, tmp_path: Path) -> None:
    before, other = site(store), Store(tmp_path / "other")
    expected = site(other, everybody=False)
    n_theirs = [sum(row["user_id"] == WHO and bool(row["item_id"]) for row in rows) for rows in (A, B)]
    found = look(store)
    assert before.hash in found.snapshots
    assert len(found.snapshots) == 2
    assert sorted(trace.rows for trace in found.traces if trace.rows is not None) == sorted([*n_theirs, 1])
    erase(store)
    assert tables(store) == tables(other)
    assert tables(store)["snapshot"] == expected.hash != before.hash
    assert names_the_person(store.root) == []
    assert look(store) == LakeTraces(
        (), (), tuple(sorted(path.name for path in store.path("lake/d/snapshots").iterdir()))
    )


def test_rows_that_were_refused_or_not_read_are_erased_too(store: Store) -> None:
    site(store)
    [path] = store.path("quarantine/d").glob("*/quarantine.parquet")
    before = pq.read_table(path)["source_row"].to_pylist()
    assert before == [21, 22, 23, 24]
    erase(store)
    assert pq.read_table(path)["source_row"].to_pylist() == [22, 24]
    manifest = json.loads((path.parent / MANIFEST).read_text())
    assert manifest["rows"] == 2
    assert sum(manifest["reasons"].values()) == 2


def test_the_id_is_not_even_left_in_a_dictionary(store: Store) -> None:
    """Parquet keeps each text once, and would keep it for rows that are gone."""
    site(store)
    erase(store)
    for path in store.root.rglob("*.parquet"):
        for column in pq.read_table(path, read_dictionary=["user_id", "id"], partitioning=None).columns:
            for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
                assert WHO not in chunk.dictionary.to_pylist(), path


def test_a_row_that_two_files_have_stays_accounted_for(store: Store) -> None:
    site(store)
    erase(store)
    for entry in read_ledger(store, "d").entries:
        partition = read_partition(store, entry.partition)
        assert partition is not None
        tally = partition.tally
        assert tally.accepted + tally.quarantined + tally.duplicates == tally.read
        assert tally.accepted == partition.part.rows


def test_the_next_night_finds_everything_judged_and_goes_on(store: Store) -> None:
    """Files that are no longer there are not needed, and those that are, are not read again."""
    site(store)
    erase(store)
    before, lake = tables(store), set(files(store.path("lake/d")))
    result = run(store, stage(store, "c", of_others(log(8, 300))), checks=LAX, day=2)
    rows = [store.read(part).num_rows for part in result.snapshot.interactions]
    assert rows == [len(before[name][0][0]) for name in ("a.csv", "b.csv")] + [8 - 2]
    assert {name.split("/")[0] for name in set(files(store.path("lake/d"))) - lake} >= {"snapshots"}


def test_a_dry_run_tells_all_and_changes_nothing(store: Store) -> None:
    site(store)
    before = files(store.root)
    told = erase(store, dry_run=True)
    assert files(store.root) == before
    assert [(one.place, one.name, one.change, one.rows) for one in told] == [
        (one.place, one.name, one.change, one.rows) for one in erase(store)
    ]
    assert erase(store, dry_run=True) == []


def test_twice_is_once(store: Store) -> None:
    site(store)
    erase(store)
    before = files(store.root)
    assert erase(store) == []
    assert files(store.root) == before


class Kills:
    """Raises just before the n-th time that a file or folder gets or loses its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
        self.left = n
        for name in ("rename", "replace", "unlink"):
            monkeypatch.setattr(Path, name, self._killing(getattr(Path, name)))
        monkeypatch.setattr(shutil, "rmtree", self._killing(shutil.rmtree))

    def _killing(self, honest: Any) -> Any:
        def move(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return honest(*args, **more)

        return move


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_anywhere_is_finished_by_the_next_call(tmp_path: Path, step: int) -> None:
    whole = Store(tmp_path / "whole")
    site(whole)
    before = whole.root.parent / "before"
    shutil.copytree(whole.root, before)
    erase(whole)
    expected, n_kills = tables(whole), 0
    for n in range(1, 500, step):
        store = Store(tmp_path / "cut")
        shutil.copytree(before, store.root)
        with pytest.MonkeyPatch.context() as patched:
            Kills(patched, n)
            try:
                erase(store)
                break
            except Killed:
                n_kills += 1
        assert read_ledger(store, "d").entries  # a night could run on it
        assert all(read_partition(store, entry.partition) for entry in read_ledger(store, "d").entries)
        if len(names_the_person(store.root)) < len(names_the_person(before)):
            assert was_erased(store, PERSON)
        store.sweep()
        erase(store)
        assert tables(store) == expected
        assert names_the_person(store.root) == []
        assert files(store.path("lake/d")).keys() == files(whole.path("lake/d")).keys()
        shutil.rmtree(store.root)
    assert n_kills > 30 // step


def snapshot_of(store: Store) -> str:
    return store.path(read_ledger(store, "d").nights[-1].snapshot).name


def prepare(store: Store, folder: str, made_from: dict[str, str], **tables: pa.Table) -> Path:
    """A finished folder of what can be made anew."""
    store.build(
        folder, lambda writer: {"made_from": made_from, **{n: vars(writer.table(n, t)) for n, t in tables.items()}}
    )
    return store.path(folder)


IDS = pa.table({"user_id": ["u0", WHO]})
NOBODY = pa.table({"user_idx": pa.array([0, 1], pa.int32())})


def test_what_was_made_from_the_person_goes_and_no_more(store: Store) -> None:
    site(store)
    theirs, other = {"dataset": "d", "snapshot": snapshot_of(store)}, {"dataset": "e", "snapshot": "x"}
    gone = [
        prepare(store, "prepared/histories", theirs, fitted=NOBODY),
        prepare(store, "prepared/of_a_snapshot_that_is_gone", {"dataset": "d", "snapshot": "x"}, fitted=NOBODY),
        prepare(store, "prepared/does_not_say", {}, users=IDS),
        prepare(store, "metrics/theirs", theirs, test=NOBODY),
        store.path("checkpoints/killed"),
        store.path("checkpoints/trained"),
    ]
    left = [
        prepare(store, "prepared/of_another_dataset", other, users=IDS),
        prepare(store, "prepared/says_nothing_and_names_nobody", {}, train=NOBODY),
        prepare(store, "metrics/other", other, test=IDS),
        store.path("checkpoints/other"),
    ]
    for name, made_from in (("killed", theirs), ("trained", {}), ("other", other)):
        (store.path(f"checkpoints/{name}") / "epochs").mkdir(parents=True)
        if made_from:
            write_json(store.path(f"checkpoints/{name}/made_from.json"), made_from)
    for name, dataset in (("trained", "d"), ("other", "e")):
        (bundle := store.path(f"checkpoints/{name}/bundle")).mkdir()
        replace(
            make_bundle(kind="u"),
            dataset=dataset,
            users=IdMap(np.array(sorted([*(f"u{n:02}" for n in range(23)), WHO]))),
        ).save(bundle)
    nights = [store.path(f"nights/d/{name}.json") for name in ("theirs", "none")]
    for path, snapshot in zip(nights, (theirs["snapshot"], "gone"), strict=True):
        write_json(path, {"result": {"snapshot": snapshot}})
    erase(store)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in left if not path.is_dir()] == []
    assert not any(path.exists() for path in nights)


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_lists_of_all_others_stay_as_they_were(store: Store, kind: pa.DataType) -> None:
    ids, who = (["10", "10", "11", "12", "12", "12"], "12")
    columns = [
        pa.array(ids).cast(kind),
        [1, 2, 1, 1, 2, 3],
        ["a", "b", "c", "d", "e", "f"],
        [0.5] * 6,
        ["3"] * 6,
        ["model"] * 6,
    ]
    schema = recommendations(kind, pa.string())
    table = pa.table([pa.array(one).cast(field.type) for one, field in zip(columns, schema, strict=True)], schema)
    for name, dataset in (("run=1", "d"), ("run=2", "e")):

        def write(writer: Writer, dataset: str = dataset) -> dict[str, Any]:
            return {"rows": writer.table("recommendations", table).rows, "model_version": "3", "dataset": dataset}

        store.build(f"recommendations/{name}", write)
    person = Person("d", who, f"'{who}'")
    with engine(store) as opened:
        [trace] = find_kept(opened, person, ())
        assert (trace.rows, trace.change) == (3, "rewritten")
        trace.clear()
        assert find_kept(opened, person, ()) == []
    kept = pq.read_table(store.path("recommendations/run=1/recommendations.parquet"), partitioning=None)
    assert kept.to_pylist() == table.slice(0, 3).to_pylist()
    assert kept.schema.field("user_id").type == kind
    assert store.manifest("recommendations/run=1")["rows"] == 3
    assert store.manifest("recommendations/run=2")["rows"] == 6
    assert pq.read_metadata(store.path("recommendations/run=2/recommendations.parquet")).num_rows == 6


def test_a_mended_file_loses_the_rows_or_goes_where_it_has_no_other(store: Store) -> None:
    for name, ids in (("mixed", ["u0", WHO, WHO]), ("whole", [WHO]), ("other", ["u12"])):
        path = store.path(f"mended/d/{name}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"user_id": ids, "quarantine_id": ids}), path)
    with engine(store) as opened:
        for trace in find_kept(opened, PERSON, ()):
            trace.clear()
    left = {path.stem: pq.read_table(path)["user_id"].to_pylist() for path in store.path("mended/d").iterdir()}
    assert left == {"mixed": ["u0"], "other": ["u12"]}


def test_objects_that_were_fetched_and_not_yet_read_go_with_the_person(store: Store) -> None:
    waiting = store.path("staging/d/_remote/x.csv")
    waiting.parent.mkdir(parents=True)
    waiting.write_text(f"user,item\n{WHO},1\n")
    with engine(store) as opened:
        assert find_kept(opened, PERSON, ()) == []  # for all that is known nobody of that name was ever here
        mended = store.path("mended/d/x.parquet")
        mended.parent.mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [WHO], "quarantine_id": ["1"]}), mended)
        for trace in find_kept(opened, PERSON, ()):
            trace.clear()
    assert not waiting.exists()
    assert not mended.exists()


def test_the_list_of_who_was_erased_names_nobody_and_is_the_one_that_is_read(store: Store) -> None:
    assert not was_erased(store, PERSON)
    for one in ("u1", "u1", "ü 2"):
        remember(store, Person("d", one, ""))
    text = store.path(list_path("d")).read_text()
    assert "u1" not in json.loads(text)["hashes"]
    assert "ü 2" not in text
    listed = load(store, "d")
    assert len(listed.hashes) == 2
    assert [listed.knows(one) for one in ("u1", "ü 2", "u12")] == [True, True, False]
    assert was_erased(store, PERSON)
    assert not was_erased(store, Person("e", "u1", ""))


@pytest.mark.parametrize(
    ("row", "is_theirs"),
    [
        ({"user_id": "u1", "rating": "bad"}, True),
        ({"user_id": "u12"}, False),
        ({"user_id": None, "item_id": "u1"}, False),
        ({"item_id": "u1"}, False),
        ({"line": "u1,i3"}, True),
        ({"line": "i3;u1"}, True),
        ({"line": '{"user_id": "u1", '}, True),
        ({"line": "u12,i3"}, False),
        ({"line": "xu1,u1-2"}, False),
        ({"line": "u1"}, True),
    ],
)
def test_which_refused_rows_name_the_person(row: dict[str, Any], is_theirs: bool) -> None:
    assert PERSON.is_in_refused(json.dumps(row)) == is_theirs


def test_pages_lose_the_examples_of_the_person_alone() -> None:
    def card(user: str) -> str:
        shown = f'<h3>user {user} <span class="soft">3</span></h3>'
        return f'<div class="card padded">{shown}<div><div><li>{user}x</li></div></div></div>'

    page = "\n".join(
        ["<main>", card("u1"), card("u12"), "<code>row 3: user_id=&#x27;u1&#x27;</code>", "u12 of u1 rows</main>"]
    )
    found = PERSON.taken_out_of(page)
    assert found == "\n".join(
        ["<main>", card("u12"), f"<code>row 3: user_id={ANYBODY}</code>", "u12 of u1 rows</main>"]
    )
    assert PERSON.taken_out_of("x (row 3: user_id='u1')") == f"x (row 3: user_id={ANYBODY})"
