"""Nothing half-written has a final name, equal rows have equal fingerprints, one run holds a dataset."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import Busy, RunFailed
from tasks.schema import PER_USER
from tasks.store.atomic import new_file, new_folder, scratch_folder, write_json
from tasks.store.lease import lease
from tasks.store.refs import DatasetRef
from tasks.store.store import Store, Writer
from tasks.store.tables import fingerprint, read_table, write_table


class Killed(BaseException):
    """Stands for a kill: nothing in the program expects it."""


ENDS = [ValueError, KeyboardInterrupt, SystemExit, Killed]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# whole or not at all


@pytest.mark.parametrize("end", ENDS)
def test_a_file_that_was_not_finished_is_not_there(end: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("old")
    with pytest.raises(end), new_file(tmp_path / "result.json") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise end
    assert names(tmp_path) == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("old")
    with new_file(tmp_path / "result.json") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "result.json").read_text() == "old"
    assert (tmp_path / "result.json").read_text() == "new"
    write_json(tmp_path / "deep" / "é.json", {"é": 1})
    assert names(tmp_path) == ["deep", "result.json"]
    assert (tmp_path / "deep" / "é.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'


@pytest.mark.parametrize("end", ENDS)
def test_a_folder_that_was_not_finished_is_not_there(end: type[BaseException], store: Store) -> None:
    def write(writer: Writer) -> dict[str, object]:
        writer.table("rows", pa.table({"a": [1]}))
        raise end

    with pytest.raises(end):
        store.build("prepared/key", write)
    assert store.find("prepared/key") is None
    assert names(store.root / "prepared") == []
    assert store.build("prepared/key", lambda writer: {"n": 1}).manifest == {"n": 1}


def test_a_finished_folder_is_never_written_again(store: Store) -> None:
    first = store.build("prepared/key", lambda writer: {"n": 1})
    second = store.build("prepared/key", lambda writer: pytest.fail("written twice"))
    assert (first.cached, second.cached) == (False, True)
    assert first.manifest == second.manifest == store.manifest("prepared/key") == {"n": 1}


def test_of_two_that_finish_the_first_stays(tmp_path: Path) -> None:
    with new_folder(tmp_path / "key") as late:
        (late / "content").write_text("late")
        with new_folder(tmp_path / "key") as early:
            (early / "content").write_text("early")
    assert (tmp_path / "key" / "content").read_text() == "early"
    assert names(tmp_path) == ["key"]


def test_the_one_that_came_second_is_told_what_is_there(store: Store) -> None:
    def slow(writer: Writer) -> dict[str, object]:
        store.build("prepared/key", lambda other: {"by": "early"})
        return {"by": "late"}

    assert store.build("prepared/key", slow).manifest == {"by": "early"}


def build_slowly(root: Path, number: int, ready: Any, results: Any) -> None:
    def write(writer: Writer) -> dict[str, object]:
        ready.wait(30)
        return {"ref": vars(writer.table("rows", pa.table({"by": [number] * 1000})))}

    built = Store(root).build("prepared/key", write)
    ref = DatasetRef(**built.manifest["ref"])
    results.put((ref.fingerprint, fingerprint(Store(root).read(ref))))


def test_two_processes_may_build_the_same_folder(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    ready, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=build_slowly, args=(store.root, n, ready, results)) for n in range(2)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    ((told, read),) = found  # both were told of one content, and it is the one that lies there
    assert told == read
    assert names(store.root / "prepared") == ["key"]


def test_what_a_killed_run_left_is_swept_and_what_is_being_written_is_not(store: Store) -> None:
    store.build("prepared/good", lambda writer: {})
    for left in ("prepared/.tmp-1-key/deep", "published/.tmp-2", "staging/a/.tmp-3"):
        store.path(left).mkdir(parents=True)
    (store.root / "prepared/.tmp-1-key/deep/rows.parquet").write_bytes(b"half")
    (store.root / ".tmp-4-result.json").write_text("half")
    (store.root / "published/.tmp-5").symlink_to(Path("..") / "prepared" / "good")
    (store.root / "published/.tmp-6").symlink_to("gone")
    with new_folder(store.path("prepared/other")) as folder, new_file(store.path("nights/n.json")) as file:
        (folder / "rows").write_text("half")
        assert store.sweep() == 6
        (folder / "more").write_text("whole")
        file.write_text("whole")
    left_over = [path for path in store.root.rglob("*") if path.name.startswith(".tmp")]
    assert left_over == []
    assert names(store.root / "prepared" / "other") == ["more", "rows"]
    assert store.find("prepared/good") is not None
    assert store.sweep() == 0


def test_a_download_and_a_pointer_on_their_way_are_not_swept(store: Store) -> None:
    with scratch_folder(store.path("downloads")) as folder:
        (folder / "half.whl").write_text("half")
        assert store.sweep() == 0
        assert (folder / "half.whl").exists()
    assert names(store.path("downloads")) == []


def test_a_folder_that_another_run_removes_meanwhile_stops_no_sweep(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("checkpoints/a/epochs", "checkpoints/b/.tmp-1"):
        store.path(place).mkdir(parents=True)
    scandir = os.scandir

    def removed_first(path: Any) -> Any:
        if str(path).endswith("epochs"):
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removed_first)
    assert store.sweep() == 1


def test_a_manifest_that_is_gone_is_named(store: Store) -> None:
    with pytest.raises(RunFailed, match="prepared/key is gone"):
        store.manifest("prepared/key")


# fingerprints

TABLE = pa.table(
    {
        "n": pa.array([1, None, 3, 4, 4], pa.int64()),
        "x": pa.array([0.5, 1.5, None, math.inf, -0.5]),
        "s": pa.array(["a", "", None, "é", "a"]),
        "b": pa.array([True, False, None, True, True]),
        "l": pa.array([[1], [], [2, 3], [4], []], pa.list_(pa.int32())),
        "t": pa.array([0, 1, None, 3, 4], pa.timestamp("us", tz="UTC")),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 5), st.integers(0, 5))
def test_chunks_and_slices_change_no_fingerprint(cuts: list[int], start: int, length: int) -> None:
    edges = sorted({0, 5, *cuts})
    pieces = [TABLE.slice(a, b - a) for a, b in pairwise(edges)]
    assert fingerprint(pa.concat_tables(pieces)) == fingerprint(TABLE)
    sliced = TABLE.slice(start, length)
    assert fingerprint(sliced) == fingerprint(pa.Table.from_pylist(sliced.to_pylist(), TABLE.schema))


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
def test_neither_the_file_nor_metadata_changes_a_fingerprint(compression: str, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet", compression=compression, row_group_size=2)
    assert fingerprint(read_table(tmp_path / "t.parquet")) == fingerprint(TABLE)
    assert fingerprint(TABLE.replace_schema_metadata({"who": "me"})) == fingerprint(TABLE)


def test_what_lies_under_a_null_is_no_data() -> None:
    hidden = pa.array(np.array([1.0, 2.0]), mask=np.array([True, False]))
    assert fingerprint(pa.table({"x": hidden})) == fingerprint(pa.table({"x": [None, 2.0]}))


def test_every_value_the_order_and_the_names_count() -> None:
    rows = TABLE.to_pylist()
    others: dict[str, list[Any]] = {
        "n": [2, 0, None],
        "x": [0.25, math.nan, None],
        "s": ["b", "", None],
        "b": [False, None],
        "l": [[2], [1, 1], []],
        "t": [None],
    }
    changed = [
        pa.Table.from_pylist([{**rows[0], name: value}, *rows[1:]], TABLE.schema)
        for name, values in others.items()
        for value in values
    ]
    variants = [
        TABLE,
        *changed,
        TABLE.take([1, 0, 2, 3, 4]),
        TABLE.slice(0, 4),
        TABLE.slice(0, 0),
        TABLE.rename_columns(["m", *TABLE.column_names[1:]]),
        TABLE.select(["x", "n", "s", "b", "l", "t"]),
        TABLE.set_column(0, "n", TABLE["n"].cast(pa.int32())),
        TABLE.select(["n"]),
    ]
    assert len({fingerprint(one) for one in variants}) == len(variants)


def test_values_may_not_slip_over_the_border_of_a_cell() -> None:
    tables = [pa.table({"s": one}) for one in (["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], [None, "abc"])]
    lists = [pa.table({"s": pa.array(one, pa.list_(pa.int32()))}) for one in ([[1, 2], []], [[1], [2]], [[], [1, 2]])]
    assert len({fingerprint(one) for one in [*tables, *lists]}) == 8


def test_tables_without_rows_are_equal_however_they_came_to_be() -> None:
    empty = TABLE.schema.empty_table()
    assert fingerprint(TABLE.slice(0, 0)) == fingerprint(empty) == fingerprint(pa.concat_tables([empty, empty]))


# tables


def write_per_user(table: pa.Table, writer: Writer) -> dict[str, Any]:
    return {"ref": vars(writer.table("test", table, PER_USER))}


def test_a_table_that_does_not_fit_its_schema_is_never_written(store: Store) -> None:
    good = pa.table({"n_relevant": [1], "more": [2], "history_length": [3], "user_id": ["a"]})
    built = store.build("metrics/good", partial(write_per_user, good))
    assert store.read(DatasetRef(**built.manifest["ref"])).schema == PER_USER
    for name, values in (("user_id", [None]), ("n_relevant", [2**40])):
        bad = good.set_column(good.column_names.index(name), name, [values])
        with pytest.raises(ValueError, match=r"null|not in range|out of bounds"):
            store.build("metrics/bad", partial(write_per_user, bad))
    with pytest.raises(KeyError, match="n_relevant"):
        store.build("metrics/bad", partial(write_per_user, good.drop_columns(["n_relevant"])))
    assert names(store.root / "metrics") == ["good"]


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b"", lambda b: b[:40] + b"\xff" * 40 + b[80:]])
def test_a_damaged_table_says_what_to_delete(damage: object, tmp_path: Path) -> None:
    file = tmp_path / "key" / "rows.parquet"
    file.parent.mkdir()
    write_table(file, pa.table({"a": np.arange(500)}))
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(RunFailed, match=r"rows.parquet cannot be read") as caught:
        read_table(file)
    assert str(file.parent) in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_folders_name_on_the_way_adds_no_column(tmp_path: Path) -> None:
    (tmp_path / "run=7").mkdir()
    write_table(tmp_path / "run=7" / "rows.parquet", pa.table({"a": [1], "b": [2]}))
    assert read_table(tmp_path / "run=7" / "rows.parquet").column_names == ["a", "b"]
    assert read_table(tmp_path / "run=7" / "rows.parquet", ["b"]).column_names == ["b"]


def test_refs_stay_valid_where_the_data_moves(store: Store, tmp_path: Path) -> None:
    built = store.build("prepared/key", lambda writer: {"ref": vars(writer.table("rows", pa.table({"a": [1, 2]})))})
    ref = DatasetRef(**built.manifest["ref"])
    assert (ref.path, ref.rows) == ("prepared/key/rows.parquet", 2)
    store.root.rename(tmp_path / "elsewhere")
    assert Store(tmp_path / "elsewhere").read(ref)["a"].to_pylist() == [1, 2]


# the lease

HOLD = """
import sys, time
from functools import partial
from itertools import pairwise
from pathlib import Path
from tasks.store.lease import lease
from tasks.store.store import Store
with lease(Store(Path(sys.argv[1])), "tiny"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_dataset_until_it_is_killed(store: Store) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"'tiny' .process {holder.pid}"), lease(store, "tiny"):
            pytest.fail("two runs hold one dataset")
        with lease(store, "another"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(30)
        deadline = time.time() + 10
        while True:
            try:
                with lease(store, "tiny"):
                    break
            except Busy:
                assert time.time() < deadline
    finally:
        holder.kill()
        holder.wait(30)


def test_the_lease_ends_with_the_work_even_when_it_fails(store: Store) -> None:
    with pytest.raises(ValueError, match="work"), lease(store, "tiny"):
        raise ValueError("work")
    with lease(store, "tiny"), pytest.raises(Busy), lease(store, "tiny"):
        pass
