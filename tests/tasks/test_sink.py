"""Tables written a block at a time: the same file and fingerprint however they are cut, and never more than a group."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.store import sink, tables
from tasks.store.refs import DatasetRef
from tasks.store.sink import write_blocks
from tasks.store.store import Store
from tasks.store.tables import fingerprint, read_blocks

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64(), nullable=False), ("x", pa.float64())])


def table(n: int) -> pa.Table:
    return pa.table(
        {"id": [None if i % 7 == 3 else f"id{i % 5}" for i in range(n)], "n": range(n), "x": np.sqrt(np.arange(n))},
        schema=SCHEMA,
    )


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "ROW_GROUP", 10)


@given(cuts=st.lists(st.integers(0, 47), max_size=8), encoded=st.booleans())
def test_cuts_and_dictionaries_change_neither_rows_nor_groups_nor_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], encoded: bool
) -> None:
    whole, path = table(47), tmp_path_factory.mktemp("sink") / "a.parquet"
    ends = [0, *sorted(cuts), 47]
    blocks = [whole.slice(start, end - start) for start, end in pairwise(ends)]
    if encoded:  # each block with a dictionary of its own
        blocks = [block.set_column(0, "id", block["id"].dictionary_encode()) for block in blocks]
    rows, digest = write_blocks(path, blocks, SCHEMA)
    assert (rows, digest) == (47, fingerprint(whole))
    assert pq.read_table(path).equals(whole)
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [10, 10, 10, 10, 7]


def test_no_more_than_a_group_and_a_block_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    class Watched(pq.ParquetWriter):  # type: ignore[misc]
        def write_table(self, part: pa.Table, row_group_size: int | None = None) -> None:
            nonlocal written
            written += part.num_rows
            super().write_table(part, row_group_size)

    def blocks() -> Iterator[pa.Table]:
        for start in range(0, 100, 4):
            assert start - written < 10 + 4, "rows pile up"
            yield table(100).slice(start, 4)

    monkeypatch.setattr(pq, "ParquetWriter", Watched)
    assert write_blocks(tmp_path / "a.parquet", blocks(), SCHEMA)[0] == written == 100


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert write_blocks(tmp_path / "a.parquet", [], SCHEMA) == (0, fingerprint(SCHEMA.empty_table()))
    assert pq.read_schema(tmp_path / "a.parquet").names == SCHEMA.names


def test_a_block_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        write_blocks(tmp_path / "a.parquet", [pa.table({"id": ["a"], "n": [1.5], "x": [1.0]})], SCHEMA)


@pytest.mark.parametrize("rows", [19, 20, 21, 40])
def test_a_fingerprint_is_that_of_its_blocks_wherever_they_end(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_ROWS", 20)
    prints = {fingerprint(table(rows)), fingerprint(pa.concat_tables([table(rows)[:7], table(rows)[7:]]))}
    assert len(prints) == 1
    changed = table(rows).set_column(1, "n", pa.array([*range(rows - 1), -1]))
    assert fingerprint(changed) not in prints


def test_blocks_come_back_as_dictionaries_in_their_order(tmp_path: Path) -> None:
    write_blocks(tmp_path / "a.parquet", [table(25)], SCHEMA)
    blocks = list(read_blocks(tmp_path / "a.parquet", ["n", "id"]))
    assert [block.num_rows for block in blocks] == [10, 10, 5]
    assert pa.types.is_dictionary(blocks[0].schema.field("id").type)
    assert (
        pa.concat_tables(blocks)
        .cast(pa.schema([SCHEMA.field("n"), SCHEMA.field("id")]))
        .equals(table(25).select(["n", "id"]))
    )


def test_a_finished_file_may_have_a_second_name(store: Store) -> None:
    first = store.build("a", lambda writer: {"ref": vars(writer.stream("rows", [table(5)], SCHEMA))})
    ref = DatasetRef(**first.manifest["ref"])
    second = store.build("b", lambda writer: {"ref": vars(writer.link("rows", store.path(ref.path), ref))})
    linked = DatasetRef(**second.manifest["ref"])
    assert (linked.rows, linked.fingerprint, linked.path) == (5, ref.fingerprint, "b/rows.parquet")
    assert store.path(linked.path).samefile(store.path(ref.path))
