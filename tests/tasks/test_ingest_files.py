import bz2
import datetime as dt
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, DataRefused, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import files, instants
from tasks.ingest.sources.base import TableName
from tasks.ingest.sources.columns import map_columns
from tasks.ingest.sources.delimited import find_delimiter
from tasks.ingest.sources.registry import identify, read_features, read_log
from tasks.ingest.sources.streams import double_colons
from tasks.ingest.task import ingest, stage
from tasks.schema import INTERACTIONS, UNREAD
from tasks.store.store import Store

ROWS: list[dict[str, Any]] = [
    {"user_id": "007", "item_id": "a,b", "rating": 4.0, "timestamp": 1_700_000_000},
    {"user_id": "7", "item_id": "é", "rating": None, "timestamp": 1_700_000_001},
    {"user_id": "NA", "item_id": "1.0", "rating": 2.5, "timestamp": 1_700_000_002},
]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def delimited(delimiter: str) -> bytes:
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return f'"{text}"' if delimiter in text else text

    lines = [list(ROWS[0]), *([cell(value) for value in row.values()] for row in ROWS)]
    return ("\n".join(delimiter.join(line) for line in lines) + "\n").encode()


def content(extension: str) -> bytes:
    match extension:
        case ".csv":
            return delimited(",")
        case ".tsv":
            return delimited("\t")
        case ".dat":
            return delimited("::")
        case _:
            return "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()


def load(path: Path, table: TableName = "interactions", columns: dict[str, str] | None = None) -> pa.Table:
    """The rows of a file that can be read; for a log they are in the order of the file, whatever its blocks."""
    return load_both(path, table, columns)[0]


def load_both(
    path: Path, table: TableName = "interactions", columns: dict[str, str] | None = None
) -> tuple[pa.Table, pa.Table]:
    store = Store(path.parent / "data")
    config = IngestConfig(interactions=(str(path),), columns=columns or {})
    (file,) = files.identify(config, store)
    file = replace(file, table=table)
    if table != "interactions":
        return read_features(file, config, store), UNREAD.empty_table()
    blocks = list(read_log(file, config, store))
    rows = pa.concat_tables([block.rows for block in blocks]).cast(INTERACTIONS)
    return rows, pa.concat_tables([block.unread for block in blocks])


def written(folder: Path, data: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("extension", [".csv", ".tsv", ".dat", ".jsonl"])
def test_every_format_and_packing_gives_the_same_table(tmp_path, extension, packing):
    table = load(written(tmp_path, PACK[packing](content(extension)), f"log{extension}{packing}"))
    assert table.schema == INTERACTIONS
    assert table["user_id"].to_pylist() == ["007", "7", "NA"]
    assert table["item_id"].to_pylist() == ["a,b", "é", "1.0"]
    assert table["rating"].to_pylist() == [4.0, None, 2.5]
    assert [time.timestamp() for time in table["timestamp"].to_pylist()] == [1_700_000_000 + i for i in range(3)]
    assert table["source_row"].to_pylist() == [1, 2, 3]
    assert table["event"].null_count == 3


def test_parquet_gives_the_same_table(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "log.parquet", row_group_size=2)
    assert load(tmp_path / "log.parquet").equals(load(written(tmp_path, content(".csv"))))


@pytest.mark.parametrize("extension", [".csv", ".jsonl"])
def test_a_name_without_extension_is_judged_by_its_content(tmp_path, extension):
    named = load(written(tmp_path, content(extension), f"log{extension}"))
    assert load(written(tmp_path, gzip.compress(content(extension)), "log")).equals(named)


def test_parquet_without_extension_is_recognised(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "part-0")
    assert load(tmp_path / "part-0").num_rows == 3


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::"])
def test_the_delimiter_is_found(delimiter):
    lines = [delimiter.join(row) for row in (("user", "item", "title"), ("1", "2", "Se7en: a, b"), ("2", "3", "x"))]
    if delimiter == ",":
        lines[1] = '1,2,"Se7en: a, b"'
    assert find_delimiter(lines) == delimiter


def test_a_double_colon_across_two_blocks_is_still_one_separator():
    parts = [b"1:", b":2", b"::", b"3:x:", b"y\n"]
    assert b"".join(double_colons(iter(parts))) == b"1\x1f2\x1f3:x:y\n"


def test_byte_order_mark_carriage_returns_blank_lines_and_quoted_newlines(tmp_path):
    path = written(tmp_path, b'\xef\xbb\xbfuserId,movieId,review\r\n1,2,"two\nlines, one ""cell"""\r\n\r\n3,4,\r\n')
    assert load(path).select(["user_id", "item_id"]).to_pylist() == [
        {"user_id": "1", "item_id": "2"},
        {"user_id": "3", "item_id": "4"},
    ]


def test_empty_ids_become_null_and_are_left_to_the_contract(tmp_path):
    assert load(written(tmp_path, "user,item\n,1\n2,\n"))["user_id"].to_pylist() == [None, "2"]


def test_json_numbers_keep_every_digit_and_mixed_types_are_read(tmp_path):
    path = written(tmp_path, '{"uid": 12345678901234567890123, "iid": 1}\n{"uid": "007", "iid": "x"}\n', "x.jsonl")
    assert load(path).select(["user_id", "item_id"]).to_pylist() == [
        {"user_id": "12345678901234567890123", "item_id": "1"},
        {"user_id": "007", "item_id": "x"},
    ]


@pytest.mark.parametrize("name", ["file_index", "File_Row_Number"])
def test_a_feature_with_the_name_of_a_place_is_refused(tmp_path, name):
    """It would answer for the place: a user who is there twice would not be seen."""
    with pytest.raises(ConfigError, match=f"has a column {name}, which is a name of ours"):
        load(written(tmp_path, f"user_id,{name}\na,7\na,8\n"), "users")


@pytest.mark.parametrize("fraction", ["7.0", "1.5"])
def test_a_fraction_among_json_ids_makes_no_two_of_them_one(tmp_path, fraction):
    """As floats, which hold both kinds of number, the two long ones would be equal."""
    ids = ["1234567890123456789", "1234567890123456788", fraction]
    path = written(tmp_path, "".join(f'{{"uid": {one}, "iid": 1}}\n' for one in ids), "x.jsonl")
    assert load(path)["user_id"].to_pylist() == [*ids[:2], fraction.removesuffix(".0")]


def test_parquet_ids_of_any_plain_type_become_the_text_a_person_would_write(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([7, 2**60]),
            "item_id": pa.array([7.0, None]),
            "rating": pa.array([1, 2], pa.int8()),
            "ts": pa.array([dt.date(2024, 1, 1), None]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    loaded = load(tmp_path / "x.parquet")
    assert loaded["user_id"].to_pylist() == ["7", str(2**60)]
    assert loaded["item_id"].to_pylist() == ["7", None]
    assert loaded["timestamp"].to_pylist() == [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None]
    pq.write_table(table.set_column(0, "user_id", pa.array(["x", "x"]).dictionary_encode()), tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet")["user_id"].to_pylist() == ["x", "x"]


def read_instants(values: list[object] | pa.Array) -> tuple[list[object], list[str | None]]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    found, problems = instants.Clock().read(pa.chunked_array([column]))
    return found.to_pylist(), problems.to_pylist() if problems is not None else [None] * len(values)


NOON = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
SECONDS = int(NOON.timestamp())


@pytest.mark.parametrize(
    "value",
    [
        *(SECONDS * 1000**power for power in range(4)),
        *(str(SECONDS * 1000**power) for power in range(4)),
        float(SECONDS),
        f"{SECONDS}.0",
        "2024-02-29T12:00:00",
        "2024-02-29 12:00",
        " 2024-02-29T12:00:00Z ",
        "2024-02-29T14:00:00+02:00",
        "2024-02-29T06:30:00.000-0530",
        "2024-02-29 12:00:00 UTC",
        "2024-02-29T12:00:00.000000000Z",
        NOON,
        NOON.replace(tzinfo=None),
    ],
)
def test_every_way_to_write_an_instant_gives_the_same(value):
    assert read_instants([value, value]) == ([NOON, NOON], [None, None])
    if isinstance(value, str):  # among others that cannot be read, the slow way must agree with the fast one
        assert read_instants([value, "yesterday", value]) == ([NOON, None, NOON], [None, "timestamp='yesterday'", None])


@pytest.mark.parametrize("zone", [None, "UTC", "+02:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrows_own_instants_of_every_unit_are_read(unit, zone):
    column = pa.array([SECONDS, None], pa.int64()).cast(pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    assert read_instants(column) == ([NOON, None], [None, None])


def test_ordinals_and_dates_keep_their_order():
    assert read_instants([0, 1, 2])[0] == [dt.datetime(1970, 1, 1, second=second, tzinfo=dt.UTC) for second in range(3)]
    assert read_instants(["2024-01-02", "1969-12-31"])[0] == [
        dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, tzinfo=dt.UTC),
    ]


def test_fractions_of_seconds_survive():
    half = NOON.replace(microsecond=500_000)
    assert read_instants([SECONDS + 0.5])[0] == [half]
    assert read_instants(["2024-02-29T12:00:00.5", "x"])[0] == [half, None]
    assert read_instants([SECONDS * 10**9 + 500_000_999])[0] == [half]  # below a microsecond is cut


@pytest.mark.parametrize("bad", ["2023-02-29", "2024-13-01", "24:00", "2024-01-01T25:00:00", "0x10", "1e999", "nan"])
def test_an_impossible_instant_is_described(bad):
    good = [str(SECONDS)] * 3
    assert read_instants([*good, bad]) == ([NOON] * 3 + [None], [None] * 3 + [f"timestamp='{bad}'"])


@pytest.mark.parametrize("power", range(4))
@pytest.mark.parametrize("other", range(4))
@pytest.mark.parametrize("kind", [int, float, str])
def test_a_number_in_another_unit_than_the_files_is_not_read(power, other, kind):
    value = kind(SECONDS * 1000**other)
    found, problems = read_instants([kind(SECONDS * 1000**power)] * 3 + [value])
    if power == other:
        assert (found, problems) == ([NOON] * 4, [None] * 4)
    else:
        unit = ["seconds", "milliseconds", "microseconds", "nanoseconds"][power]
        assert found == [NOON] * 3 + [None]
        assert problems[:3] == [None] * 3
        assert f" is not in {unit}, as the others are" in str(problems[3])


def test_small_numbers_among_instants_are_early_and_large_ones_among_ordinals_are_late():
    early = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert read_instants([SECONDS * 1000] * 3 + [0, 99_999_999]) == (
        [NOON] * 3 + [early, early + dt.timedelta(seconds=99_999, milliseconds=999)],
        [None] * 5,
    )
    assert read_instants([100_000_000] * 2 + [100_000_000_000])[1][2] is not None
    assert read_instants([99_999_999] * 2 + [100_000_000_000])[1] == [None] * 3  # no instants, so of no unit


def test_what_is_no_number_is_of_no_unit():
    infinite = [float(SECONDS)] * 2 + [float("inf"), float(SECONDS * 1000)]
    assert read_instants(infinite)[1] == [
        None,
        None,
        "timestamp='inf'",
        "timestamp='1.709208e+12' is not in seconds, as the others are",
    ]


def test_the_first_block_tells_the_unit_of_all():
    clock = instants.Clock()
    assert clock.read(pa.chunked_array([pa.nulls(3, pa.int64())]))[0].null_count == 3  # says nothing yet
    assert clock.read(pa.chunked_array([[SECONDS * 1000]]))[0].to_pylist() == [NOON]
    found, problems = clock.read(pa.chunked_array([[SECONDS, SECONDS, SECONDS * 1000]]))
    assert found.to_pylist() == [None, None, NOON]
    assert problems is not None
    assert problems.null_count == 1


@pytest.mark.parametrize("bad", ["x", "nan", "inf", "-Infinity", "1e999", "4,5", "0x1"])
def test_a_rating_that_is_no_finite_number_is_described_and_the_others_are_read(tmp_path, bad):
    path = written(tmp_path, f'user,item,rating,timestamp\n1,1,"{bad}",5\n1,2, 3.5 ,yesterday\n1,3,,\n1,4,2,7\n')
    rows, unread = load_both(path)
    assert rows.select(["item_id", "rating", "source_row"]).to_pylist() == [
        {"item_id": "3", "rating": None, "source_row": 3},
        {"item_id": "4", "rating": 2.0, "source_row": 4},
    ]
    first, second = unread.to_pylist()
    assert (first["source_row"], first["problem"]) == (1, f"rating='{bad}'")
    assert json.loads(first["row"]) == {"user_id": "1", "item_id": "1", "rating": bad, "timestamp": "5"}
    assert (second["source_row"], second["problem"]) == (2, "timestamp='yesterday'")


def test_two_bad_cells_of_a_row_are_both_described(tmp_path):
    path = written(tmp_path, "user,item,rating,timestamp\n1,1,x,y\n")
    assert load_both(path)[1]["problem"].to_pylist() == ["rating='x'; timestamp='y'"]


@pytest.mark.parametrize(
    "names",
    [
        ("user", "item", "rating", "timestamp"),
        ("userId", "movieId", "rating", "ts"),
        ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
        ("visitorid", "itemid", "score", "event_time"),
        ("Customer ID", "SKU", "stars", "created_at"),
        ("reviewerID", "asin", "overall", "unixReviewTime"),
    ],
)
def test_usual_names_are_recognised(names):
    assert tuple(map_columns([*names, "comment"], "interactions", {}, "x").values()) == names


def test_what_the_user_maps_goes_before_what_is_recognised():
    mapping = map_columns(["user", "item", "date", "timestamp"], "interactions", {"date": "timestamp"}, "x")
    assert mapping == {"user_id": "user", "item_id": "item", "timestamp": "date"}


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (["a", "b", "c"], {}, "columns of x: a, b, c; none is recognised as user_id"),
        (["user", "b"], {}, "none is recognised as item_id"),
        (["user", "uid", "item"], {}, "user and uid are both user_id"),
        (["a", "b"], {"a": "user_id", "b": "user_id"}, "a and b are both user_id"),
        (["a", "item"], {"a": "usr"}, "'usr', which is none of our columns"),
        (["a", "user", "item"], {"z": "user_id"}, "columns of x: a, user, item; there is no 'z'"),
        (["user", "item"], {"when": "timestamp"}, "there is no 'when'"),
    ],
)
def test_a_mapping_that_does_not_fit_lists_the_columns(names, given, says):
    with pytest.raises(ConfigError) as error:
        map_columns(names, "interactions", given, "x")
    assert says in error.value.message
    assert error.value.hint


def test_features_are_text_under_their_own_names(tmp_path):
    path = written(tmp_path, "movieId,title,date,rating\n1,Heat,1995,\n", "items.csv")
    assert load(path, "items").to_pylist() == [{"item_id": "1", "title": "Heat", "date": "1995", "rating": None}]
    path = written(tmp_path, "id:token\tage:float\n7\t33\n", "x.user")
    assert load(path, "users").to_pylist() == [{"user_id": "7", "age": "33"}]


def test_a_mapping_for_the_log_does_not_disturb_the_items(tmp_path):
    path = written(tmp_path, "item_id,name\n1,Heat\n", "items.csv")
    columns = {"who": "user_id", "what": "item_id", "name": "title"}
    assert load(path, "items", columns).to_pylist() == [{"item_id": "1", "title": "Heat"}]


def test_list_features_of_parquet_are_joined(tmp_path):
    pq.write_table(pa.table({"item_id": ["1"], "genres": [["A", "B"]], "year": [1995.0]}), tmp_path / "i.parquet")
    assert load(tmp_path / "i.parquet", "items").to_pylist() == [{"item_id": "1", "genres": "A|B", "year": "1995"}]


@pytest.mark.parametrize(
    ("name", "data", "kind", "says"),
    [
        ("x.csv", b"", DataRefused, "x.csv is empty"),
        ("x.csv", b"\n\n", DataRefused, "x.csv is empty"),
        ("x.csv", b"user,item\n", DataRefused, "x.csv is empty"),
        ("x.jsonl", b"\n", DataRefused, "x.jsonl is empty"),
        ("x.csv", b'user,item,rating\n1,2,"3\n4,5,6\n', DataRefused, "a quote is opened and never closed"),
        ("x.csv", b"user,item\n1,2\n3,caf\xe9\n", DataRefused, "x.csv is not UTF-8: byte 0xe9 in line 3"),
        ("x.csv", b"us\xe9r,item\n1,2\n", DataRefused, "x.csv is not UTF-8: byte 0xe9 in line 1"),
        ("x.csv", "user,item\n1,2\n".encode("utf-16"), DataRefused, "UTF-16"),
        ("x.csv", b"PK\x03\x04rest", DataRefused, "zip archive or a spreadsheet"),
        ("x.csv", b"PAR1\0\0\0", DataRefused, "x.csv is not text"),
        ("x.csv.gz", gzip.compress(delimited(",") * 9)[:-9], DataRefused, "x.csv.gz is damaged or cut short"),
        ("x.csv.xz", lzma.compress(delimited(","))[:-9], DataRefused, "x.csv.xz is damaged or cut short"),
        ("x.csv.zst", PACK[".zst"](delimited(","))[:-4], DataRefused, "x.csv.zst is damaged or cut short"),
        ("x.csv.gz", b"user,item\n1,2\n", DataRefused, "x.csv.gz is damaged"),
        ("x.parquet", b"PAR1 and nothing else", DataRefused, "x.parquet is damaged or cut short"),
        ("x.parquet", b"no", DataRefused, "x.parquet is damaged or cut short"),
        ("x.jsonl", b'{"user": 1, "it', DataRefused, "x.jsonl is damaged or cut short, line 1"),
        ("x.jsonl", b'\n"user"\n', DataRefused, "line 2: not a JSON object"),
        ("x.json", b'[{"user": 1, "item": 2}]', DataRefused, "one JSON array"),
        ("x.jsonl", b'{"user": "\xe9", "item": 2}', DataRefused, "not UTF-8: byte 0xe9 in line 1"),
        ("x.csv", b"1,2,5\n3,4,1\n", ConfigError, "seems to have no header: its first row is 1, 2, 5"),
        ("x.csv", b"user,item,item\n1,2,3\n", ConfigError, "both item_id"),
        ("x.jsonl", b'{"user": {"id": 1}, "item": 2}', ConfigError, "cannot be a user_id"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, name, data, kind, says):
    with pytest.raises(kind) as error:
        load(written(tmp_path, data, name))
    assert says in error.value.message
    assert str(tmp_path / name) in error.value.message
    assert "\n" not in str(error.value)


def test_parquet_cut_short_anywhere_is_refused(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS * 1000), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    for size in (10, len(data) // 2, len(data) - 1):
        with pytest.raises(DataRefused, match=r"x\.parquet is damaged or cut short"):
            load(written(tmp_path, data[:size], "x.parquet"))


def test_a_list_is_no_id(tmp_path):
    pq.write_table(pa.table({"user_id": [[1]], "item_id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="cannot be a user_id"):
        load(tmp_path / "x.parquet")


def test_a_file_that_vanishes_or_changes_is_no_fault_of_the_data(tmp_path):
    config = IngestConfig(interactions=(str(written(tmp_path, "user,item\n1,2\n")),))
    (file,) = files.identify(config, Store(tmp_path))
    for changed in ("user,item\n1,2\n3,4\n", "user,item\n1,\0"):  # also where what is there now is damaged
        written(tmp_path, changed)
        with pytest.raises(RunFailed, match="changed while it was read"):
            list(files.read(file, {}))
    (tmp_path / "x.csv").unlink()
    with pytest.raises(RunFailed, match="vanished"):
        list(files.read(file, {}))


def test_globs_and_folders_are_expanded_sorted_and_once(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "sub/c.csv.gz", "notes.md", ".hidden.csv", "_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, "user,item\n1,2\n", name)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to(tmp_path / "sub" / "self")

    def names(*patterns: str) -> list[str]:
        return [path.name for path in files.find(patterns)]

    assert names(str(tmp_path)) == ["a.csv", "b.csv", "c.csv.gz"]
    assert names(f"{tmp_path}/b.csv", f"{tmp_path}/*.csv") == ["b.csv", "a.csv"]
    assert names(f"{tmp_path}/**/*.csv*") == ["a.csv", "b.csv", "c.csv.gz"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("*.csv") == names("~/*.csv") == ["a.csv", "b.csv"]


@pytest.mark.parametrize("pattern", ["nothing.csv", "*.parquet", "empty", "broken", "no/such/dir/*.csv"])
def test_a_path_that_matches_nothing_is_a_wrong_option(tmp_path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError) as error:
        files.find((f"{tmp_path}/{pattern}",))
    assert pattern in error.value.message
    assert str(tmp_path) in error.value.hint


def test_an_unreadable_file_names_the_permission(tmp_path):
    path = written(tmp_path, "user,item\n1,2\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(RunFailed, match="no permission to read"):
        files.identify(IngestConfig(interactions=(str(path),)), Store(tmp_path))


def test_a_pipe_is_refused_before_it_can_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match="not a file"):
        files.find((str(tmp_path / "pipe.csv"),))


def test_identity_is_the_content_not_the_name(tmp_path):
    one, two = (written(tmp_path, content(".csv"), name) for name in ("one.csv", "two.csv"))
    other = written(tmp_path, content(".csv") + b"1,2,3,4\n", "other.csv")
    config = IngestConfig(interactions=(str(one), str(two), str(other)))
    shas = [file.sha256 for file in files.identify(config, Store(tmp_path))]
    assert shas[0] == shas[1] != shas[2]


def test_staging_parses_a_content_once(tmp_path, monkeypatch):
    store = Store(tmp_path / "data")
    log, items = written(tmp_path, content(".csv")), written(tmp_path, "item,title\n1,Heat\n", "items.csv")
    config = IngestConfig(interactions=(str(log),), items=(str(items),))
    first = ingest.fn(store, config)
    assert not first.cached
    assert [(ref.table, ref.data.rows) for ref in first.files] == [("interactions", 3), ("items", 1)]
    assert store.read(first.files[0].data).schema == INTERACTIONS
    monkeypatch.setattr("tasks.ingest.task.read_log", lambda *_: pytest.fail("parsed again"))
    monkeypatch.setattr("tasks.ingest.task.read_features", lambda *_: pytest.fail("parsed again"))
    second = ingest.fn(store, config, identify(config, store))
    assert second.cached
    assert second.files == first.files


def test_another_mapping_is_another_staging(tmp_path):
    store = Store(tmp_path / "data")
    log = written(tmp_path, "user,item,other\n1,2,3\n")
    plain, mapped = (
        ingest.fn(store, IngestConfig(interactions=(str(log),), columns=columns))
        for columns in ({}, {"other": "item_id"})
    )
    assert [store.read(staged.files[0].data)["item_id"].to_pylist() for staged in (plain, mapped)] == [["2"], ["3"]]


def test_a_failure_leaves_nothing_behind(tmp_path):
    store = Store(tmp_path / "data")
    config = IngestConfig(interactions=(str(written(tmp_path, b"user,item\n1,2\n3,\xe9\n")),))
    (file,) = identify(config, store)
    with pytest.raises(DataRefused):
        stage(file, config, store)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    assert list(store.path(f"staging/{config.dataset}").iterdir()) == []


def test_identifying_loads_nothing_heavy():
    code = (
        "import sys, tasks.ingest.sources.registry\n"
        "assert not {'prefect', 'pandas', 'torch', 'rich'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_read_goes_to_the_source_of_the_configuration(tmp_path):
    store = Store(tmp_path)
    config = IngestConfig(source="synthetic", rows=50, users_count=5, items_count=20)
    log, users, items = identify(config, store)
    assert sum(block.rows.num_rows for block in read_log(log, config, store)) == 50
    assert [read_features(file, config, store).num_rows for file in (users, items)] == [5, 20]


def test_a_permission_that_is_missing_is_named(tmp_path, monkeypatch):
    path = written(tmp_path, "user,item\n1,2\n")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files, "hash_file", refuse)
    with pytest.raises(RunFailed, match=r"no permission to read .*x\.csv"):
        files.identify(IngestConfig(interactions=(str(path),)), Store(tmp_path))
