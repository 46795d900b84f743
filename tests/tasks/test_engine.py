"""DuckDB over our files: within the memory that is set, in the order that is asked for, and nothing pasted into SQL."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import RunFailed
from tasks.store.engine import engine, literal, quoted
from tasks.store.refs import DatasetRef
from tasks.store.store import Store

ROWS = pa.schema([pa.field("n", pa.int64())])


def stored(store: Store, folder: str, values: list[int]) -> DatasetRef:
    table = pa.table({"n": values}, schema=ROWS)
    return DatasetRef(**store.build(folder, lambda w: {"ref": vars(w.table("rows", table))}).manifest["ref"])


def test_every_row_says_which_file_and_place_it_has(store: Store) -> None:
    refs = [stored(store, "b", [7, 8]), stored(store, "a", [9]), stored(store, "it's; --", [5])]
    with engine(store) as sql:
        found = sql.table(f"SELECT file_index, file_row_number, n FROM {sql.rows(refs)} ORDER BY 1, 2")
    assert [tuple(row.values()) for row in found.to_pylist()] == [(0, 0, 7), (0, 1, 8), (1, 0, 9), (2, 0, 5)]


def test_a_folder_that_looks_like_a_partition_adds_no_column(store: Store) -> None:
    ref = stored(store, "run=3", [1])
    with engine(store) as sql:
        assert sql.table(f"SELECT * FROM {sql.rows([ref])}").column_names == ["n", "file_row_number"]


@given(text=st.text())
def test_text_and_names_come_back_as_they_are(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    name = text.replace("\0", "") or "x"
    with engine(Store(tmp_path_factory.mktemp("store"))) as sql:
        found = sql.table(f"SELECT {literal(text.replace(chr(0), ''))} AS {quoted(name)}")
    assert found.to_pylist() == [{name: text.replace("\0", "")}]


@pytest.mark.parametrize("value", [0, -3, 2**62, 0.1, 1e300, -1e-300, float("inf"), float("-inf"), None])
def test_numbers_come_back_as_they_are(store: Store, value: float | None) -> None:
    with engine(store) as sql:
        assert sql.one(f"SELECT {literal(value)}") == (value,)


def test_blocks_keep_the_order_that_is_asked_for(store: Store) -> None:
    with engine(store) as sql:
        blocks = [b["i"].to_pylist() for b in sql.blocks("SELECT i FROM range(10000) t(i) ORDER BY -i", 2048)]
    assert len(blocks) > 1
    assert [i for block in blocks for i in block] == list(range(9999, -1, -1))


def test_what_does_not_fit_says_which_setting_to_raise(store: Store) -> None:
    small = Store(store.root, memory_bytes=20_000_000)
    with engine(small) as sql, pytest.raises(RunFailed, match="memory that is set") as error:
        sql.one("SELECT len(list(i)) FROM range(50000000) t(i)")  # one value that cannot be spilled
    assert error.value.hint == "raise --memory_gb"


@pytest.mark.slow
def test_a_sort_larger_than_memory_stays_within_it_and_leaves_nothing(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tasks.store.engine import engine
from tasks.store.store import Store
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
store = Store(Path(sys.argv[1]), memory_bytes=300_000_000)
before = peak()
with engine(store) as sql:
    last, rows = -1, 0
    columns = "hash(i) AS h, hash(i, 1) AS a, hash(i, 2) AS b"
    for block in sql.blocks(f"SELECT {columns} FROM range(30000000) t(i) ORDER BY h"):
        first, end = block["h"][0].as_py(), block["h"][-1].as_py()
        assert last <= first <= end
        last, rows = end, rows + len(block)
assert rows == 30_000_000
print(peak() - before)
"""
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    grown = int(re.findall(r"\d+", ran.stdout)[-1])
    assert grown < 300_000_000  # the columns alone are 720 MB
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a[b]c", "st*r", "wh?t", "it's"])
def test_a_data_folder_that_looks_like_a_pattern_is_only_itself(name: str, tmp_path: Path) -> None:
    stores = [Store(tmp_path / folder) for folder in ("abc", "star", "what", name)]
    refs = [stored(one, "x", [place]) for place, one in enumerate(stores)]
    with engine(stores[-1]) as sql:
        assert sql.one(f"SELECT list(n) FROM {sql.rows(refs[-1:])}") == ([3],)
