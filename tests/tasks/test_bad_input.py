"""Every kind of bad input ends in one of three ways: the file is refused in one line; a row is unread, with a problem;
or a row is staged and the contract quarantines it. Rows and unread rows make up the rows of the file.
"""

import bz2
import datetime as dt
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, DataRefused, EncoreError, RunFailed
from tasks.expect.sql import predicate
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import movielens
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest, stage
from tasks.schema import INTERACTIONS
from tasks.store.engine import engine
from tasks.store.refs import DatasetRef
from tasks.store.store import Store
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import rows_of

AS_OF = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
T = 1_700_000_000  # seconds: November 2023
FIRST_IN_1973 = dt.datetime(1973, 3, 3, 9, 46, 40, tzinfo=dt.UTC)

NO_USER = "every row has a user id"
BLANK_USER = "no user id is blank"
NO_ITEM = "every row has an item id"
TOO_EARLY = "no timestamp is before 1990-01-01"
TOO_LATE = "no timestamp is more than 1 day after the night's date"


@dataclass(frozen=True)
class Case:
    """A file, and what must become of it: either `refused`, or users of staged rows, problems and reasons by number."""

    what: str
    data: "str | bytes | pa.Table | Callable[[Path], Path]"
    users: list[str | None] = field(default_factory=list)
    unread: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    refused: tuple[type[EncoreError], str] | None = None
    name: str = "log.csv"

    def place(self, folder: Path) -> Path:
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.data):
            return self.data(path)
        if isinstance(self.data, pa.Table):
            pq.write_table(self.data, path)
        else:
            path.write_bytes(self.data.encode() if isinstance(self.data, str) else self.data)
        return path


def log(*rows: str) -> str:
    return "\n".join(("user,item,rating,timestamp", *rows)) + "\n"


def table(**columns: Any) -> pa.Table:
    """One row or more of Parquet; what is not given is as it should be."""
    n_rows = len(next(iter(columns.values())))
    usual = {"user_id": ["a"] * n_rows, "item_id": ["i"] * n_rows, "rating": [3.0] * n_rows, "timestamp": [T] * n_rows}
    return pa.table({**usual, **columns})


def lines(*objects: str) -> str:
    return "\n".join(objects) + "\n"


def in_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("log.csv")
        info.size = len(GOOD)
        archive.addfile(info, io.BytesIO(GOOD.encode()))
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<row/>")
    return path


def linked_in_a_loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def folder_with_a_loop(path: Path) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "up").symlink_to(path)
    (path / "log.csv").write_text(GOOD)
    return path


def dangling(path: Path) -> Path:
    path.symlink_to(path.with_name("gone.csv"))
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def with_empty_row_groups(path: Path) -> Path:
    rows = table(user_id=["a", "b"])
    with pq.ParquetWriter(path, rows.schema) as file:
        for part in (rows.slice(0, 0), rows.slice(0, 1), rows.slice(0, 0), rows.slice(1)):
            file.write_table(part)
    return path


def with_int96(path: Path) -> Path:
    instants = pa.array([dt.datetime(2023, 11, 14), None], pa.timestamp("ns"))
    pq.write_table(table(timestamp=instants), path, use_deprecated_int96_timestamps=True)
    return path


def with_a_full_dictionary(path: Path) -> Path:
    pq.write_table(table(user_id=[f"a long name of user {n}" for n in range(1000)]), path, dictionary_pagesize_limit=99)
    return path


def parquet_bytes(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    return buffer.getvalue()


GOOD = log(f"a,i,3,{T}", f"b,i,3,{T}")
PARQUET = parquet_bytes(table(user_id=["a", "b"] * 500))
CUT = (DataRefused, "is damaged or cut short")

CASES = [
    # bytes and encodings
    Case("nothing at all", b"", refused=(DataRefused, "log.csv is empty")),
    Case("only blank lines", "\n\n  \n", refused=(DataRefused, "log.csv is empty")),
    Case("only a header", log().rstrip(), refused=(DataRefused, "log.csv is empty: it has columns and no rows")),
    Case("a byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), ["a", "b"]),
    Case("UTF-16", GOOD.encode("utf-16"), refused=(DataRefused, "log.csv is UTF-16")),
    Case("UTF-16 without its mark", GOOD.encode("utf-16-le"), refused=(DataRefused, "log.csv is not text")),
    Case("Latin-1", log(f"é,i,3,{T}").encode("latin-1"), refused=(DataRefused, "not UTF-8: byte 0xe9 in line 2")),
    Case(
        "Latin-1 far down",
        log(*[f"a,i,3,{T}"] * 30_000, "é,i,3,1").encode("latin-1"),
        refused=(DataRefused, "not UTF-8: byte 0xe9 in line 30002"),
    ),
    Case("half a character at the end", GOOD.encode() + b"c,\xc3", refused=(DataRefused, "byte 0xc3 in line 4")),
    Case(
        "a zero byte far down", log(*[f"a,i,3,{T}"] * 30_000, "\0,i,3,1"), refused=(DataRefused, "log.csv is not text")
    ),
    Case("Latin-1 in JSON", b'{"user": "\xe9", "item": 1}', refused=(DataRefused, "0xe9 in line 1"), name="x.jsonl"),
    Case("UTF-16 in JSON", '{"user": 1}'.encode("utf-16"), refused=(DataRefused, "is UTF-16"), name="x.jsonl"),
    # lines
    Case("carriage returns and newlines", GOOD.replace("\n", "\r\n"), ["a", "b"]),
    Case("carriage returns only", GOOD.replace("\n", "\r"), ["a", "b"]),
    Case("line ends of both kinds", GOOD.replace("3,", "3 ,").replace("\nb", "\r\nb"), ["a", "b"]),
    Case("no newline at the end", GOOD.rstrip(), ["a", "b"]),
    Case("blank lines", GOOD.replace("\n", "\n\n"), ["a", "b"]),
    Case("newlines in a cell", 'user,item,text\n"a\nb",1,"x\n\ny"\nc,1,\n', ["a\nb", "c"]),
    Case("too few cells", log(f"a,i,3,{T}", "b,i", f"c,i,3,{T}"), ["a", "c"], {2: "2 cells, not 4"}),
    Case("too many cells", log("a,i,3,1,1,1", f"b,i,3,{T}"), ["b"], {1: "6 cells, not 4"}),
    Case("ragged to the end", log(f"a,i,3,{T}", "b", "c"), ["a"], {2: "1 cells, not 4", 3: "1 cells, not 4"}),
    Case("ragged all through", log("a,i", "b,i,"), [], {1: "2 cells, not 4", 2: "3 cells, not 4"}),
    Case("a delimiter behind each row", "user,item\na,1,\nb,2,\n", [], {1: "3 cells, not 2", 2: "3 cells, not 2"}),
    Case("a delimiter behind each line", "user,item,\na,1,\nb,2,\n", ["a", "b"]),
    Case("comments", log("# by hand", f"a,i,3,{T}"), ["a"], {1: "1 cells, not 4"}),
    Case("another delimiter than the header's", "user,item,rating\na;1;3\n", [], {1: "1 cells, not 3"}),
    Case("a quote that is never closed", log(f'"a,i,3,{T}', f"b,i,3,{T}"), refused=(DataRefused, "never closed")),
    Case("quotes within a cell", log(f'a "x" b,i,3,{T}', f'c",i,3,{T}'), ['a "x" b', 'c"']),
    Case("one quote and a blank line", log(f'a" b,i,3,{T}', "", f"c,i,3,{T}"), ['a" b', "c"]),
    Case("doubled quotes", log(f'"a ""x""",i,3,{T}'), ['a "x"']),
    # headers
    Case("no header", f"1,2,3,{T}\n", refused=(ConfigError, "seems to have no header")),
    Case(
        "names that are not known",
        "a,b\n1,2\n",
        refused=(
            ConfigError,
            "columns of",
        ),
    ),
    Case("one column", "user\n1\n", refused=(ConfigError, "none is recognised as item_id")),
    Case("a column twice", "user,item,item\n1,2,3\n", refused=(ConfigError, "both item_id")),
    Case(
        "the header once more",
        log(f"a,i,3,{T}", "user,item,rating,timestamp", f"b,i,3,{T}"),
        ["a", "b"],
        {2: "rating='rating'; timestamp='timestamp'"},
    ),
    Case("spaces around names", " User ID , Item ID ,rating\na,i,3\n", ["a"]),
    # ids
    Case("ids that look like nothing", "user,item\nNaN,1\nnull,1\nNA,1\ninf,1\n", ["NaN", "null", "NA", "inf"]),
    Case("ids that are empty", "user,item\n,1\na,\n", [None, "a"], {}, {1: NO_USER, 2: NO_ITEM}),
    Case("ids that are blank", "user,item\n  ,1\na,1\n", ["  ", "a"], {}, {1: BLANK_USER}),
    Case("negative ids", "user,item\n-5,-1\n", ["-5"]),
    Case("ids beyond 64 bits", "user,item\n123456789012345678901234567890,1\n", ["123456789012345678901234567890"]),
    Case("ids with an exponent", "user,item\n1e5,1\n1E5,1\n", ["1e5", "1E5"]),
    Case("ids that begin with zeros", "user,item\n007,1\n7,1\n", ["007", "7"]),
    Case("dates for ids", "user,item\n2024-01-01,1\n", ["2024-01-01"]),
    Case("ids from right to left and small pictures", "user,item\nשלום,😀\n", ["שלום"]),
    Case(
        "ids of several kinds",
        lines('{"user": 1, "item": 1}', '{"user": "007", "item": 2.0}'),
        ["1", "007"],
        name="x.jsonl",
    ),
    Case(
        "ids that are whole fractions", table(user_id=[7.0, 7.5, -0.0, 0.0]), ["7", "7.5", "0", "0"], name="x.parquet"
    ),
    Case(
        "ids that are no numbers",
        table(user_id=[float("nan"), float("inf"), None]),
        [None, "inf", None],
        {},
        {1: NO_USER, 3: NO_USER},
        name="x.parquet",
    ),
    Case("ids without a sign", table(user_id=pa.array([2**64 - 1], pa.uint64())), [str(2**64 - 1)], name="x.parquet"),
    Case("ids with decimals", table(user_id=[Decimal("7.10")]), ["7.10"], name="x.parquet"),
    Case("ids that are true or false", table(user_id=[True, False]), ["true", "false"], name="x.parquet"),
    Case("dates as ids in Parquet", table(user_id=[dt.date(2024, 1, 1)]), ["2024-01-01"], name="x.parquet"),
    Case("lists as ids", table(user_id=[["a"]]), refused=(ConfigError, "cannot be a user_id"), name="x.parquet"),
    Case("objects as ids", table(item_id=[{"id": 1}]), refused=(ConfigError, "cannot be a item_id"), name="x.parquet"),
    Case("bytes as ids", table(user_id=[b"a"]), ["a"], name="x.parquet"),
    Case("bytes that are no text", table(user_id=[b"\xe9"]), refused=(DataRefused, "user_id"), name="x.parquet"),
    Case(
        "categories",
        table(user_id=pa.array(["b", "a", None]).dictionary_encode()),
        ["b", "a", None],
        {},
        {3: NO_USER},
        name="x.parquet",
    ),
    Case(
        "categories of nothing",
        table(user_id=pa.array(["", "a"]).dictionary_encode()),
        [None, "a"],
        {},
        {1: NO_USER},
        name="x.parquet",
    ),
    Case(
        "a dictionary that overflows",
        with_a_full_dictionary,
        [f"a long name of user {n}" for n in range(1000)],
        name="x.parquet",
    ),
    # ratings
    Case(
        "ratings that are no numbers",
        log(f"a,i,NaN,{T}", f"b,i,-inf,{T}", f"c,i,,{T}"),
        ["c"],
        {1: "rating='NaN'", 2: "rating='-inf'"},
    ),
    Case("decimal commas", "user;item;rating\na;i;3,5\nb;i;3.5\n", ["b"], {1: "rating='3,5'"}),
    Case(
        "units and thousands",
        log(f'a,i,"1,000",{T}', f"b,i,90%,{T}", f"c,i,$5,{T}"),
        [],
        {1: "rating='1,000'", 2: "rating='90%'", 3: "rating='$5'"},
    ),
    Case("ratings with an exponent", log(f"a,i,3e0,{T}", f"b,i,1e999,{T}"), ["a"], {2: "rating='1e999'"}),
    Case("ratings in words", log(f"a,i,true,{T}", f"b,i,five,{T}"), [], {1: "rating='true'", 2: "rating='five'"}),
    Case(
        "no number in Parquet",
        table(rating=[float("nan"), 3.0], user_id=["a", "b"]),
        ["b"],
        {1: "rating='nan'"},
        name="x.parquet",
    ),
    Case(
        "objects as ratings",
        table(rating=[{"stars": 1}]),
        refused=(ConfigError, "cannot be a rating"),
        name="x.parquet",
    ),
    # instants
    Case("words for instants", log("a,i,3,yesterday", f"b,i,3,{T}"), ["b"], {1: "timestamp='yesterday'"}),
    Case(
        "a leap second",
        log("a,i,3,2016-12-31T23:59:60Z", "b,i,3,2016-12-31T23:59:59Z"),
        ["b"],
        {1: "timestamp='2016-12-31T23:59:60Z'"},
    ),
    Case("days that never were", log("a,i,3,2023-02-29", "b,i,3,2024-02-29"), ["b"], {1: "timestamp='2023-02-29'"}),
    Case("zones", log("a,i,3,2024-01-01T00:00:00+05:30", "b,i,3,2024-01-01 00:00-0800"), ["a", "b"]),
    Case(
        "names of zones",
        log("a,i,3,2024-01-01 12:00 CET", "b,i,3,2024-01-01 12:00 UTC"),
        ["b"],
        {1: "timestamp='2024-01-01 12:00 CET'"},
    ),
    Case("days in American order", log("a,i,3,01/31/2024"), [], {1: "timestamp='01/31/2024'"}),
    Case("hexadecimal instants", log("a,i,3,0x6553F100", f"b,i,3,{T}"), ["b"], {1: "timestamp='0x6553F100'"}),
    Case("dates and numbers", log(f"a,i,3,{T}", "b,i,3,2023-11-14"), ["a", "b"]),
    Case(
        "dates in the future",
        log(f"a,i,3,{T}", "b,i,3,2031-01-01", "c,i,3,9999-12-31"),
        ["a", "b", "c"],
        {},
        {2: TOO_LATE, 3: TOO_LATE},
    ),
    Case("clocks that were never set", log(f"a,i,3,{T}", f"b,i,3,{T}", "c,i,3,0"), ["a", "b", "c"], {}, {3: TOO_EARLY}),
    Case("instants before 1970", log(f"a,i,3,{T}", f"b,i,3,{T}", "c,i,3,-86400"), ["a", "b", "c"], {}, {3: TOO_EARLY}),
    Case(
        "milliseconds among seconds",
        log(f"a,i,3,{T}", f"b,i,3,{T}", f"c,i,3,{T}000"),
        ["a", "b"],
        {3: f"timestamp='{T}000' is not in seconds, as the others are"},
    ),
    Case(
        "seconds among milliseconds",
        table(user_id=["a", "b", "c"], timestamp=[T * 1000, T, T * 1000]),
        ["a", "c"],
        {2: f"timestamp='{T}' is not in milliseconds, as the others are"},
        name="x.parquet",
    ),
    Case("mere ordinals", log("a,i,3,1", "b,i,3,2", "c,i,3,3"), ["a", "b", "c"]),
    Case(
        "instants that no calendar has",
        log(f"a,i,3,{T}", f"b,i,3,{T}", "c,i,3,-99999999999"),
        ["a", "b"],
        {3: "timestamp='-99999999999'"},
    ),
    Case("old instants of Parquet", with_int96, ["a", "a"], name="x.parquet"),
    # compressed files and wrong names
    Case("gzip cut short", gzip.compress(GOOD.encode() * 99)[:-9], refused=CUT, name="x.csv.gz"),
    Case("bzip2 cut short", bz2.compress(GOOD.encode() * 99)[:-9], refused=CUT, name="x.csv.bz2"),
    Case("xz cut short", lzma.compress(GOOD.encode() * 99)[:-9], refused=CUT, name="x.csv.xz"),
    Case(
        "zstd cut short",
        pa.compress(GOOD.encode() * 99, codec="zstd", asbytes=True)[:-4],
        refused=CUT,
        name="x.csv.zst",
    ),
    Case("gzip with a wrong sum", gzip.compress(GOOD.encode())[:-8] + b"\0" * 8, refused=CUT, name="x.csv.gz"),
    Case(
        "gzip in gzip",
        gzip.compress(gzip.compress(GOOD.encode() * 99)),
        refused=(DataRefused, "not text"),
        name="x.csv.gz",
    ),
    Case("gzip that is none", GOOD, refused=(DataRefused, "is damaged"), name="x.csv.gz"),
    Case("gzip without its extension", gzip.compress(GOOD.encode()), ["a", "b"]),
    Case("a tar archive", in_tar, refused=(DataRefused, "not text"), name="log.tar"),
    Case("a zip archive", zipped, refused=(DataRefused, "zip archive or a spreadsheet")),
    Case("a spreadsheet", zipped, refused=(DataRefused, "zip archive or a spreadsheet"), name="log.xlsx"),
    Case("Parquet cut short", PARQUET[:-9], refused=CUT, name="x.parquet"),
    Case("Parquet with a hole", PARQUET[:200] + b"\0" * 200 + PARQUET[400:], refused=CUT, name="x.parquet"),
    Case("Parquet called CSV", PARQUET, refused=(DataRefused, "not text")),
    Case("CSV called Parquet", GOOD, refused=CUT, name="x.parquet"),
    Case("CSV called JSON", GOOD, refused=CUT, name="x.jsonl"),
    Case(
        "Parquet in gzip",
        gzip.compress(PARQUET),
        refused=(DataRefused, "Parquet packed once more"),
        name="x.parquet.gz",
    ),
    Case(
        "Parquet without rows",
        table(user_id=pa.array([], pa.string())),
        refused=(DataRefused, "is empty"),
        name="x.parquet",
    ),
    Case("row groups without rows", with_empty_row_groups, ["a", "b"], name="x.parquet"),
    # JSON
    Case("a JSON array", '[{"user": 1, "item": 2}]', refused=(DataRefused, "one JSON array"), name="x.json"),
    Case(
        "JSON over several lines",
        '{\n"user": 1,\n"item": 2\n}\n',
        refused=(DataRefused, "line 1: not JSON"),
        name="x.json",
    ),
    Case(
        "broken JSON",
        lines('{"user": 1, "item": 2}', '{"user": 2, "it', '{"user": 3, "item": 2}'),
        ["1", "3"],
        {2: "not JSON: Unterminated string"},
        name="x.jsonl",
    ),
    Case(
        "null for an object",
        lines('{"user": 1, "item": 2}', "null", "7", "[1]"),
        ["1"],
        {2: "not a JSON object", 3: "not a JSON object", 4: "not a JSON object"},
        name="x.jsonl",
    ),
    Case(
        "two objects on a line",
        lines('{"user": 1, "item": 2}', '{"user": 2, "item": 2}{"user": 3, "item": 2}'),
        ["1"],
        {2: "not JSON: Extra data"},
        name="x.jsonl",
    ),
    Case(
        "an object on two lines",
        lines('{"user": 1, "item": 2}', '{"user": 2,', '"item": 2}'),
        ["1"],
        {2: "not JSON", 3: "not JSON"},
        name="x.jsonl",
    ),
    Case(
        "lists for some ids",
        lines('{"user": 1, "item": 2}', '{"user": [2], "item": 2}'),
        ["1"],
        {2: "user_id='2' is not a single value"},
        name="x.jsonl",
    ),
    Case(
        "objects for all ids",
        '{"user": {"id": 1}, "item": 2}',
        refused=(ConfigError, "cannot be a user_id"),
        name="x.jsonl",
    ),
    Case(
        "deep JSON",
        lines('{"user": 1, "item": 2}', '{"user": 2, "item": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ["1"],
        {2: "not JSON: "},
        name="x.jsonl",
    ),
    Case(
        "deep JSON beside the ids",
        lines('{"user": 1, "item": 2, "x": []}', '{"user": 2, "item": 2, "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ["1"],
        {2: "not JSON: "},
        name="x.jsonl",
    ),
    Case(
        "half a character in JSON",
        lines('{"user": "a", "item": 2}', r'{"user": "\ud800", "item": 2}'),
        ["a"],
        {2: "not JSON: half"},
        name="x.jsonl",
    ),
    Case(
        "numbers that are none",
        lines('{"user": 1, "item": 2, "rating": 3}', '{"user": 2, "item": 2, "rating": NaN}'),
        ["1"],
        {2: "rating='nan'"},
        name="x.jsonl",
    ),
    Case("a field twice", lines('{"user": 1, "user": 2, "item": 2}'), ["2"], name="x.jsonl"),
    Case("blank lines in JSON", '\n{"user": 1, "item": 2}\n\n \n{"user": 2, "item": 2}', ["1", "2"], name="x.jsonl"),
    Case(
        "long numbers in JSON",
        lines('{"user": 1, "item": 2}', '{"user": 99999999999999999999, "item": 2}'),
        ["1", "9" * 20],
        name="x.jsonl",
    ),
    # paths
    Case("spaces and letters of all kinds in the path", GOOD, ["a", "b"], name="my log, für É/l o g😀.csv"),
    Case("a link in a loop", linked_in_a_loop, refused=(ConfigError, "no such file")),
    Case("folders linked in a loop", folder_with_a_loop, ["a", "b"], name="folder"),
    Case("a link to nothing", dangling, refused=(ConfigError, "no such file")),
    Case("an empty folder", empty_folder, refused=(ConfigError, "no data file in folder"), name="folder"),
    Case("a pipe", pipe, refused=(ConfigError, "is not a file")),
]


def reasons(store: Store, ref: DatasetRef) -> dict[int, str]:
    """The first rule that each row breaks, by its number."""
    times = [time for time in store.read(ref)["timestamp"].to_pylist() if time is not None]
    found: dict[int, str] = {}
    with engine(store) as e:
        for rule in rows_of(
            "interactions", ChecksConfig(), AS_OF, is_dated=bool(times) and max(times) >= FIRST_IN_1973
        ):
            if rule.severity == "row":
                broken = e.table(f"SELECT source_row FROM {e.rows([ref])} WHERE {predicate(rule)}")
                found |= {number: rule.sentence for number in broken["source_row"].to_pylist() if number not in found}
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_ends_well(case, tmp_path):
    path = case.place(tmp_path / "in")
    store, config = Store(tmp_path / "data"), IngestConfig(interactions=(str(path),))
    if case.refused is not None:
        kind, says = case.refused
        with pytest.raises(kind) as error:
            ingest.fn(store, config)
        assert type(error.value) is kind
        assert says in error.value.message
        assert path.name in error.value.message
        assert "\n" not in str(error.value)
        assert list(store.root.rglob("*.parquet")) == []
        return
    (file,) = ingest.fn(store, config).files
    rows = store.read(file.data)
    unread = {} if file.unread is None else store.read(file.unread).to_pylist()
    assert rows.schema == INTERACTIONS
    assert rows["user_id"].to_pylist() == case.users
    problems = {row["source_row"]: row["problem"] for row in unread}
    assert list(problems) == list(case.unread)
    assert all(problems[number].startswith(case.unread[number]) for number in problems)
    assert sorted([*rows["source_row"].to_pylist(), *problems]) == list(range(1, file.rows + 1))
    assert file.rows == len(case.users) + len(case.unread)
    assert reasons(store, file.data) == case.quarantined


def test_there_are_enough_kinds_and_none_twice():
    assert len({case.what for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("change", ["grows", "shrinks", "vanishes", "is replaced by rubbish"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_a_file_that_changes_under_us_is_no_fault_of_its_data(tmp_path, name, change):
    path, store = tmp_path / name, Store(tmp_path / "data")
    rows = pa.table({"user_id": ["a"] * 9, "item_id": ["i"] * 9})
    if name == "log.parquet":
        pq.write_table(rows, path)
    else:
        path.write_text("user,item\n" + "a,i\n" * 9 if name == "log.csv" else '{"user": 1, "item": 1}\n' * 9)
    config = IngestConfig(interactions=(str(path),))
    (file,) = identify(config, store)
    data = path.read_bytes()
    {
        "grows": lambda: path.write_bytes(data + data),
        "shrinks": lambda: path.write_bytes(data[:-3]),
        "vanishes": path.unlink,
        "is replaced by rubbish": lambda: path.write_bytes(b"\0" * 99),
    }[change]()
    with pytest.raises(RunFailed, match="vanished" if change == "vanishes" else "changed while it was read"):
        stage(file, config, store)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_an_archive_whose_member_would_leave_its_folder_is_refused(tmp_path):
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../slipped.csv", "user,item\n1,2\n")
    member = movielens.ARCHIVES["movielens-25m"].members["items"]
    with pytest.raises(DataRefused, match="would leave its folder"):
        list(movielens.read_member(path, member))
    assert not list(tmp_path.parent.rglob("slipped.csv"))


def test_a_row_that_was_not_read_is_kept_as_it_came(tmp_path):
    path, store = tmp_path / "log.csv", Store(tmp_path / "data")
    path.write_text(
        'user,item,rating\na,i,"x ""y"""\nb,"i',
    )
    path.write_text('user,item,rating,text\na,i,"x ""y""",z\nb,"i,j"\n')
    (file,) = ingest.fn(store, IngestConfig(interactions=(str(path),))).files
    assert file.unread is not None
    assert store.read(file.unread)["row"].to_pylist() == [
        '{"user_id": "a", "item_id": "i", "rating": "x \\"y\\""}',
        '{"line": "b,\\"i,j\\""}',
    ]


@pytest.mark.parametrize(("limit", "most"), [("MOST_UNREAD", 10), ("MOST_UNREAD_BYTES", 10 * 80)])
@pytest.mark.parametrize("rubbish", [f"{'a' * 60}\n", f"{'a' * 10},i,x\n"])
def test_a_file_of_rubbish_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, limit, most, rubbish):
    path, store = tmp_path / "log.csv", Store(tmp_path / "data")
    for module in ("tasks.ingest.task", "tasks.ingest.sources.delimited"):
        monkeypatch.setattr(f"{module}.{limit}", most)
    path.write_text("user,item,rating\n" + rubbish * 20)
    with pytest.raises(DataRefused, match=r"rows of .*log\.csv .* cannot be read"):
        ingest.fn(store, IngestConfig(interactions=(str(path),)))
    path.write_text("user,item,rating\n" + rubbish * 5)
    assert ingest.fn(store, IngestConfig(interactions=(str(path),))).files[0].rows == 5


READER = """
    import resource, sys
    from pathlib import Path
    from tasks.errors import DataRefused
    from tasks.ingest.config import IngestConfig
    from tasks.ingest.sources.registry import identify, read_log
    from tasks.store.store import Store
    store, config = Store(Path(sys.argv[2])), IngestConfig(interactions=(sys.argv[1],))
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    before, n_rows = peak(), 0
    try:
        for block in read_log(identify(config, store)[0], config, store):
            n_rows += block.rows.num_rows
        print(n_rows, peak() - before)
    except DataRefused as error:
        print(error.message, peak() - before)
"""


def read_elsewhere(path: Path) -> tuple[str, int]:
    """What became of a file in a process of its own: rows or the refusal, and the megabytes that it took."""
    command = [sys.executable, "-c", textwrap.dedent(READER), str(path), str(path.parent / "data")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    result, _, megabytes = said.strip().rpartition(" ")
    return result, int(megabytes)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.csv.gz", "log.jsonl.gz"])
def test_an_endless_line_is_refused_in_bounded_memory(tmp_path, name):
    start = b"user,item\na,1\na," if "csv" in name else b'{"user": 1, "item": 1}\n{"user": 1, "item": "'
    piece = b"x" * (1 << 20)
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) if name.endswith("gz") else path.open("wb") as file:
        file.write(start)
        for _ in range(300):
            file.write(piece)
    result, megabytes = read_elsewhere(path)
    assert result == f"{path} has a line of more than 16 MB"
    assert megabytes < 120


def test_a_file_that_unpacks_to_a_thousand_times_its_size_passes_in_bounded_memory(tmp_path):
    path = tmp_path / "log.csv.gz"
    row = b"a,1," + b"x" * 1_000_000 + b"\n"
    path.write_bytes(gzip.compress(b"user,item,text\n") + gzip.compress(row) * 300)
    assert path.stat().st_size < 400_000
    result, megabytes = read_elsewhere(path)
    assert result == "300"
    assert megabytes < 120
