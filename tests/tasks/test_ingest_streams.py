"""Files in blocks: what comes out does not depend on where a block ends."""

import csv
import datetime as dt
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError, DataRefused, RunFailed
from tasks.ingest.ahead import one_ahead
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import cells, delimited, jsonl, parquet, shape, streams
from tasks.ingest.sources.base import Block, Part
from tasks.ingest.sources.registry import identify, read_features, read_log
from tasks.ingest.task import ingest
from tasks.schema import INTERACTIONS, UNREAD
from tasks.store.store import Store

ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
ROW = st.tuples(
    ID | st.integers(-(2**70), 2**70),
    ID,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(10**8, 10**10),  # seconds; all real instants, so that the median is one
    st.none() | st.sampled_from(["view", "buy"]),
)
NAMES = ("user_id", "item_id", "rating", "timestamp", "event")


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """A few rows a block."""
    for module in (streams, delimited, jsonl):
        monkeypatch.setattr(module, "BLOCK", 256)
    monkeypatch.setattr(parquet, "BLOCK_ROWS", 3)


def read(path: Path, columns: dict[str, str] | None = None) -> list[Block]:
    store, config = Store(path.parent / "data"), IngestConfig(interactions=(str(path),), columns=columns or {})
    (file,) = identify(config, store)
    return list(read_log(file, config, store))


def rows_of(blocks: list[Block]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables([block.rows for block in blocks]).cast(INTERACTIONS).to_pylist()
    return rows


def unread_of(blocks: list[Block]) -> dict[int, str]:
    unread = pa.concat_tables([block.unread for block in blocks])
    return dict(zip(unread["source_row"].to_pylist(), unread["problem"].to_pylist(), strict=True))


def write(path: Path, rows: list[tuple[Any, ...]]) -> None:
    if path.suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows([NAMES, *rows])
        path.write_bytes(text.getvalue().encode())
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_bytes("\n".join(lines).encode())
    else:
        text_ids = [(str(row[0]), *row[1:]) for row in rows]
        table = pa.table(dict(zip(NAMES, map(list, zip(*text_ids, strict=True)), strict=True)))
        pq.write_table(table, path, row_group_size=2)


@pytest.mark.parametrize("extension", [".csv", ".jsonl", ".parquet"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=30))
def test_what_is_written_is_read(tmp_path, small_blocks, extension, rows):
    path = tmp_path / f"log{extension}"
    write(path, rows)
    found = rows_of(read(path))
    assert [(row["user_id"], row["item_id"], row["rating"], row["event"]) for row in found] == [
        (str(user) or None, item or None, rating, event) for user, item, rating, _, event in rows
    ]
    assert [row["timestamp"] for row in found] == [dt.datetime.fromtimestamp(row[3], dt.UTC) for row in rows]
    assert [row["source_row"] for row in found] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("extension", [".csv", ".jsonl"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(["good", "ragged", "bad cell", "blank"]), min_size=1, max_size=60))
def test_every_row_keeps_its_number_whatever_stands_before_it(tmp_path, small_blocks, extension, kinds):
    kinds = ["good", *kinds]  # a file whose first line is no object is refused
    written = {
        ".csv": {"good": "u,i,1", "ragged": "u,i", "bad cell": "u,i,x", "blank": ""},
        ".jsonl": {
            "good": '{"user": "u", "item": "i", "rating": 1}',
            "ragged": '{"user": "u", ',
            "bad cell": '{"user": "u", "item": "i", "rating": "x"}',
            "blank": " ",
        },
    }[extension]
    path = tmp_path / f"log{extension}"
    head = ["user,item,rating"] if extension == ".csv" else []
    path.write_text("\n".join([*head, *(written[kind] for kind in kinds)]))
    blocks = read(path)
    numbered = list(enumerate([kind for kind in kinds if kind != "blank"], start=1))
    assert [row["source_row"] for row in rows_of(blocks)] == [number for number, kind in numbered if kind == "good"]
    unread = unread_of(blocks)
    assert list(unread) == [number for number, kind in numbered if kind != "good"]
    assert [problem == "rating='x'" for problem in unread.values()] == [
        kind == "bad cell" for _, kind in numbered if kind != "good"
    ]


def outside(text: str, delimiter: str) -> list[int]:
    """Where rows end: a cell that begins with a quote goes on to the next single quote, newlines and all."""
    ends, quoted, begins = [], False, True
    at = 0
    while at < len(text):
        if quoted:
            if text[at] == '"' and text[at + 1 : at + 2] == '"':
                at += 1
            elif text[at] == '"':
                quoted = False
            begins = False
        elif text[at] == '"' and begins:
            quoted = True
        else:
            begins = text[at] in f"{delimiter}\r\n"
            if text[at] == "\n":
                ends.append(at + 1)
        at += 1
    return ends


@settings(max_examples=1500, deadline=None)
@given(text=st.text(st.sampled_from('a",\n'), max_size=40), delimiter=st.sampled_from(",|"))
def test_a_block_ends_where_its_last_whole_row_does(text, delimiter):
    text = f"{text}\n".replace(",", delimiter)
    assert delimited._end_of_rows(text.encode(), delimiter) == max(outside(text, delimiter), default=0)
    assert delimited._end_of_rows(text.encode(), None) == len(text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(["a,b\n", '"a\n\n",b\n', 'a "x" b,c\n', '"a ""b""",c\n']), min_size=1))
def test_no_byte_is_lost_between_blocks(small_blocks, pieces):
    text = "".join(pieces).rstrip("\n").encode()
    found = list(delimited.rows_together(iter([text[at : at + 7] for at in range(0, len(text), 7)]), ",", "x"))
    assert b"".join(found) == text
    ends = outside(text.decode(), ",")
    assert all(sum(map(len, found[:n])) in ends for n in range(1, len(found)))


def test_small_blocks_are_small(tmp_path, small_blocks):
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "user,item\n" * 500)
    assert len(read(path)) > 15
    write(tmp_path / "log.parquet", [("u", "i", 1.0, 10**9, None)] * 30)
    assert [block.rows.num_rows for block in read(tmp_path / "log.parquet")] == [3] * 10


def test_text_of_large_row_groups_comes_without_their_dictionaries(tmp_path, small_blocks):
    """A block of a large row group would carry every word before it, too."""
    path = tmp_path / "log.parquet"
    table = pa.table({"user_id": [f"u{n}" for n in range(12)], "item_id": ["i"] * 12})
    for row_group_size, kind in ((6, cells.WORDS), (12, pa.string())):
        pq.write_table(table, path, row_group_size=row_group_size)
        parts = list(parquet.read(path, lambda names: {name: name for name in names}))
        assert {part.cells.schema.field("user_id").type for part in parts} == {kind}
    assert [max(map(len, (chunk.dictionary for chunk in block.rows["user_id"].chunks))) for block in read(path)] == [
        3
    ] * 4


def test_the_unit_is_that_of_the_first_block(tmp_path, small_blocks):
    """The second block alone would be in milliseconds."""
    path = tmp_path / "log.csv"
    path.write_text("user,item,ts\n" + "u,i,1700000000\n" * 30 + "u,i,1700000000000\n" * 100)
    assert set(unread_of(read(path))) == set(range(31, 131))


@pytest.mark.parametrize("field", ["rating", "ts", "event"])
@pytest.mark.parametrize(
    "beside", ["", ', "context": {"page": 1}, "tag": null', ', "tag": 1}\n{"user": 1, "item": 1, "tag": "x"']
)
def test_a_field_that_turns_up_late_is_not_lost(tmp_path, small_blocks, monkeypatch, field, beside):
    monkeypatch.setattr(jsonl, "SAMPLE_LINES", 3)
    path = tmp_path / "log.jsonl"
    late = {"rating": 3, "ts": 1_700_000_000, "event": "view"}[field]
    plain = f'{{"user": "u", "item": "i"{beside}}}\n' * 30
    path.write_text(plain + json.dumps({"user": "late", "item": "i", field: late}) + "\n" + plain)
    ours = "timestamp" if field == "ts" else field
    assert [row["user_id"] for row in rows_of(read(path)) if row[ours] is not None] == ["late"]


def test_after_a_broken_line_the_next_block_is_read_at_once_again(tmp_path, small_blocks, monkeypatch):
    slow: list[int] = []
    line_by_line = jsonl._line_by_line

    def noted(lines: bytes, first: int, fields: jsonl.Fields) -> Part:
        slow.append(first)
        return line_by_line(lines, first, fields)

    monkeypatch.setattr(jsonl, "_line_by_line", noted)
    path = tmp_path / "log.jsonl"
    good = '{"user": 1, "item": 2, "rating": 3.5, "x": true}\n' * 40
    path.write_text(good + "broken\n" + good)
    blocks = read(path)
    assert list(unread_of(blocks)) == [41]
    assert [row["source_row"] for row in rows_of(blocks)] == [*range(1, 41), *range(42, 82)]
    assert {row["rating"] for row in rows_of(blocks)} == {3.5}
    assert len(slow) == 1


def test_a_late_field_that_could_be_two_of_ours_is_a_wrong_mapping(tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr(jsonl, "SAMPLE_LINES", 3)
    path = tmp_path / "log.jsonl"
    path.write_text('{"user": "u", "item": "i"}\n' * 30 + '{"user": "u", "item": "i", "sku": "j"}\n')
    with pytest.raises(ConfigError, match="item and sku are both item_id"):
        read(path)


def test_a_character_across_two_blocks_is_whole_and_half_of_one_is_not():
    whole = [b"a\n\xc3", b"\xa9\n\xf0\x9f", b"\x98", b"\x80"]
    assert list(streams.checked(iter(whole), "x")) == whole
    for parts, line in (([b"a\n\xc3", b"a\n"], 2), ([b"\n\n", b"\n\xc3"], 4), ([b"\n\xc3", b"\xa9\n\n\xff"], 4)):
        with pytest.raises(DataRefused, match=rf"byte 0x(c3|ff) in line {line} \("):
            list(streams.checked(iter(parts), "x"))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_line_as_long_as_a_block_is_read_and_a_longer_one_is_not(tmp_path, small_blocks, name):
    path = tmp_path / name
    start, end = ("user,item\n{},i\n", "u,i\n") if name == "log.csv" else ('{{"user": "{}", "item": "i"}}\n',) * 2
    room = 256 - len(start.format("").splitlines()[-1]) - 1
    path.write_text(start.format("x" * room) + end * 20)
    assert rows_of(read(path))[0]["user_id"] == "x" * room
    path.write_text(start.format("x" * 3 * 256) + end * 20)
    with pytest.raises(DataRefused, match="has a line of more than"):
        read(path)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, small_blocks):
    path = tmp_path / "log.csv"
    path.write_text('user,item\n"u,i\n' + "u,i\n" * 1000)
    with pytest.raises(DataRefused, match="has a line of more than") as error:
        read(path)
    assert "close every quote" in error.value.hint


def test_dictionaries_hold_no_value_twice_and_no_null():
    """Parquet writes them as they are, and would mix up the rows."""
    for column in (
        pa.array([0.0, -0.0, float("nan"), None, 7.0]),
        pa.array(["", "a", None, "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", None, ""])),
        pa.array([1, 1, None]),
        pa.nulls(3),
    ):
        words = cells.words(pa.chunked_array([column]))
        assert words.type == cells.WORDS
        (chunk,) = words.chunks
        assert chunk.dictionary.null_count == 0
        assert len(set(chunk.dictionary.to_pylist())) == len(chunk.dictionary)
        expected = cells.text(pa.chunked_array([column])) if column.type != pa.null() else pa.chunked_array([column])
        assert words.cast(pa.string()).to_pylist() == expected.to_pylist()


def test_a_table_of_features_that_does_not_fit_is_refused():
    part = Part(pa.table({"item_id": ["i"] * 1000}), np.arange(1, 1001), UNREAD.empty_table())
    made = iter([part] * 1000)
    with pytest.raises(RunFailed, match=r"items\.csv takes more than 1 MB"):
        shape.features(made, "items.csv", 1 << 20)
    assert next(made, None) is not None  # and it was not read to its end


def test_a_row_of_features_that_cannot_be_read_refuses_the_file(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item,title\n1,Heat\n2\n")
    store = Store(tmp_path / "data")
    (tmp_path / "log.csv").write_text("user,item\n1,1\n")
    config = IngestConfig(interactions=(str(tmp_path / "log.csv"),), items=(str(path),))
    with pytest.raises(DataRefused, match=r"items\.csv is damaged or cut short, row 2: 1 cells, not 2"):
        read_features(identify(config, store)[1], config, store)


def test_events_are_carried_through(tmp_path):
    path, store = tmp_path / "log.csv", Store(tmp_path / "data")
    path.write_text("visitorid,itemid,event,ts\na,1,view,1700000000\na,2,,1700000000\n")
    (file,) = ingest.fn(store, IngestConfig(interactions=(str(path),))).files
    assert store.read(file.data)["event"].to_pylist() == ["view", None]


def test_one_ahead_keeps_the_order_and_works_ahead_by_one():
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    ahead = one_ahead(items())
    assert next(ahead) == 0
    time.sleep(0.3)
    assert made == [0, 1, 2]  # one waits, one is held back
    assert list(ahead) == list(range(1, 10))


def test_what_goes_wrong_ahead_is_raised_in_its_place():
    def items() -> Iterator[int]:
        yield 1
        raise DataRefused("bad")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(DataRefused, match="bad"):
        next(ahead)


def test_whoever_stops_early_stops_the_thread():
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    before = threading.active_count()
    ahead = one_ahead(items())
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_a_full_disk_stops_the_reader(tmp_path, small_blocks, monkeypatch):
    def fail(path: Path, blocks: Iterator[pa.Table], schema: pa.Schema) -> None:
        next(iter(blocks))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.store.store.write_blocks", fail)
    path, before = tmp_path / "log.csv", threading.active_count()
    path.write_text("user,item\n" + "u,i\n" * 10_000)
    with pytest.raises(OSError, match="No space left"):
        ingest.fn(Store(tmp_path / "data"), IngestConfig(interactions=(str(path),)))
    assert threading.active_count() == before
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
