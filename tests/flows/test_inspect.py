"""`encore inspect` over real files: the five commonest shapes, hostile ones, and a night on what it proposes."""

import gzip
import json
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from flows.command import run_command
from flows.inspect import inspect, show_inspect
from flows.options import read_options
from tasks.errors import ConfigError, DataRefused
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources.columns import map_columns
from tasks.ingest.task import ingest
from tasks.store.store import Store
from tasks.validate.task import validate

Row = tuple[int, int, int, float]


def looked_at(path: Path, **more: str) -> dict[str, Any]:
    flags = {"path": str(path), "data_dir": str(path.parent / "data"), "as_of": "2024-06-01", **more}
    options = read_options(flags, None, "inspect")
    return inspect(options.config, options.settings)


def mapping(result: dict[str, Any]) -> dict[str, str]:
    return {one["field"]: one["column"] for one in result["mapping"]}


def draw(n: int = 400) -> Iterator[Row]:
    """User, item, seconds since 1970, rating; some users and items are far more active than others."""
    rng = random.Random(0)
    for _ in range(n):
        yield (
            min(int(rng.paretovariate(1) * 3), 60),
            min(int(rng.paretovariate(0.7) * 2), 40),
            1_700_000_000 + rng.randrange(30 * 86_400),
            rng.choice([1.0, 2.0, 3.5, 4.0, 5.0]),
        )


def at(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def ratings(folder: Path) -> Path:
    path = folder / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, t, r in draw()))
    return path


def clicks(folder: Path) -> Path:
    path = folder / "clicks.jsonl.gz"
    kinds = ["view"] * 6 + ["cart", "purchase"]
    lines = [
        {"visitor": f"v{u}", "sku": f"p{i}", "type": kinds[n % 8], "ts": t * 1000, "page": {"lang": "de"}}
        for n, (u, i, t, _) in enumerate(draw())
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


def purchases(folder: Path) -> Path:
    path, rows = folder / "purchases.parquet", list(draw())
    columns = {
        "order_no": list(range(len(rows))),
        "customer": [10_000 + u for u, *_ in rows],
        "article": [500 + i for _, i, *_ in rows],
        "quantity": [1 + n % 3 for n in range(len(rows))],
        "bought_at": pa.array([t * 10**6 for _, _, t, _ in rows], pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), path)
    return path


def loans(folder: Path) -> Path:
    path = folder / "loans.csv"
    path.write_text("who;what;when\n" + "".join(f"k-{u:04d};{i}-{i};{at(t)}\n" for u, i, t, _ in draw()))
    return path


def days(folder: Path) -> Path:
    path = folder / "days"
    path.mkdir()
    for day in range(3):
        rows = "".join(f"{u}\t{i}\t{at(t)}\n" for u, i, t, _ in list(draw())[day::3])
        (path / f"2023-11-{day + 10}.tsv").write_text("uid\titem\ttime\n" + rows)
    return path


SHAPES: dict[str, tuple[Callable[[Path], Path], dict[str, str], dict[str, Any]]] = {
    "ratings": (
        ratings,
        {"user_id": "userId", "item_id": "movieId", "rating": "rating", "timestamp": "timestamp"},
        {"delivery": "dump", "columns": {}},
    ),
    "clicks": (
        clicks,
        {"user_id": "visitor", "item_id": "sku", "timestamp": "ts", "event": "type"},
        {"delivery": "dump", "columns": {"type": "event"}, "events": {"view": 1, "cart": 3, "purchase": 5}},
    ),
    "purchases": (
        purchases,
        {"user_id": "customer", "item_id": "article", "timestamp": "bought_at"},
        {"delivery": "dump", "columns": {"bought_at": "timestamp"}},
    ),
    "loans": (
        loans,
        {"user_id": "who", "item_id": "what", "timestamp": "when"},
        {"delivery": "dump", "columns": {"who": "user_id", "what": "item_id", "when": "timestamp"}},
    ),
    "days": (
        days,
        {"user_id": "uid", "item_id": "item", "timestamp": "time"},
        {"delivery": "append", "columns": {}},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_mapped_and_its_configuration_is_a_night(shape: str, tmp_path: Path) -> None:
    make, expected, of_ingest = SHAPES[shape]
    path = make(tmp_path)
    result = looked_at(path, write=str(tmp_path / "shop"))
    assert mapping(result) == expected
    assert (result["rows"], result["accepted"], result["quarantined"]) == (400, 400 - result["duplicates"], 0)
    assert (result["reasons"], result["failed"], result["would_be_refused"]) == ([], [], False)

    written = tmp_path / "shop" / "encore.yaml"
    assert result["written"] == [str(written), str(tmp_path / "shop" / "expectations.yaml")]
    assert yaml.safe_load(written.read_text()) == result["settings"]
    night = read_options({}, str(written)).config
    assert night.ingest.interactions == (str(path),)
    assert night.dataset == shape
    assert {name: getattr(night.ingest, name) for name in of_ingest} == of_ingest
    assert night.checks.suite == str(tmp_path / "shop" / "expectations.yaml")
    assert night.split.protocol in ("temporal", "leave_last_out")
    assert night.model.name in ("blend", "markov")
    assert sorted(one.name for one in tmp_path.iterdir() if one.name not in ("shop", "days")) == [
        one for one in [path.name] if one != "days"
    ]  # nothing is kept


@pytest.mark.parametrize("shape", SHAPES)
def test_a_night_comes_to_the_same_mapping(shape: str, tmp_path: Path) -> None:
    """By the columns that were written and the names it knows."""
    make, expected, of_ingest = SHAPES[shape]
    make(tmp_path)
    names = [*expected.values(), "order_no", "quantity"]
    assert map_columns(names, "interactions", of_ingest["columns"], "it") == expected


def test_what_a_night_would_refuse(tmp_path: Path) -> None:
    path = ratings(tmp_path)
    with path.open("a") as file:
        file.write("7,8,99,1700000001\n,9,4,1700000002\n3,4,5,yesterday\n3,4,5\n7,8,4,0\n7,8,4,1900000000\n")
        file.write("\x1b[31mred,8,4,1700000001\n" * 2)
    result = looked_at(path)
    assert (result["rows"], result["quarantined"], result["duplicates"]) == (408, 6, 1)
    assert result["accepted"] + result["quarantined"] + result["duplicates"] == result["rows"]
    reasons = {one["reason"]: one for one in result["reasons"]}
    assert len(reasons) == 6
    assert all(one["rows"] == 1 and one["severity"] == "row" for one in reasons.values())
    assert reasons["no rating is above 5"]["setting"] == "checks.max_rating"
    assert reasons["no rating is above 5"]["examples"][0].startswith("row 401: rating=99.0, user_id=7, item_id=8")
    assert reasons["could not be read: timestamp"]["examples"] == ("row 403: timestamp='yesterday'",)
    assert reasons["could not be read: 3 cells, not 4"]["examples"] == ("row 404: 3 cells, not 4",)
    assert not result["would_be_refused"]
    assert result["settings"]["checks"] == {"min_rating": 1.0, "max_rating": 5.0}


def test_a_night_refuses_the_same_rows_for_the_same_reasons(tmp_path: Path) -> None:
    path = ratings(tmp_path)
    with path.open("a") as file:
        file.write("7,8,99,1700000001\n" * 2 + ",9,-4,0\n ,9,4,1700000002\n3,4,5,never\n7,8,4,1900000000\n3,4,4,\n")
        file.write("11,9,4,1700000003\n" * 3)
    result = looked_at(path, write=str(tmp_path / "shop"))
    night = read_options({}, str(tmp_path / "shop" / "encore.yaml")).config
    store = Store(tmp_path / "night")
    staged = ingest.fn(store, night.ingest).files
    as_of, appends = datetime(2024, 6, 1, tzinfo=UTC), night.ingest.appends
    with pytest.raises(DataRefused, match="timestamp"):  # one row has none
        validate.fn(store, staged, night.dataset, night.checks, as_of, appends)
    assert [one["expectation"] for one in result["failed"]] == ["the share of rows with a timestamp is 0% or 100%"]

    path.write_text(path.read_text().replace("3,4,4,\n", ""))
    result = looked_at(path)
    staged = ingest.fn(store, night.ingest).files
    found = validate.fn(store, staged, night.dataset, night.checks, as_of, appends)
    counted = (found.read, found.accepted, found.quarantined, found.duplicates)
    assert counted == tuple(result[name] for name in ("rows", "accepted", "quarantined", "duplicates"))
    assert counted == (409, 401, 6, 2)
    assert dict(found.reasons) == {one["reason"]: one["rows"] for one in result["reasons"]}
    assert len(found.reasons) == 5


def test_a_night_that_would_be_refused_says_by_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("user,item,time\n" + "a,b,2024-01-01\n" * 6 + ",b,2024-01-01\n" * 3 + "c,d,2024-01-02\n")
    result = looked_at(path)
    assert result["would_be_refused"]
    failed = {one["setting"]: one["found"] for one in result["failed"]}
    assert failed == {
        "checks.min_rows": 2.0, "checks.max_quarantine_share": 0.3, "checks.max_duplicate_share": 0.5,
    }  # fmt: skip
    show_inspect(result)
    out = capsys.readouterr().out
    assert "The night would be refused." in out
    assert "--checks.max_quarantine_share=" in out


def test_limits_that_were_told_stay(tmp_path: Path) -> None:
    result = looked_at(ratings(tmp_path), **{"checks.max_rating": "4"})
    assert result["settings"]["checks"] == {"min_rating": 1.0, "max_rating": 4.0}
    assert result["reasons"][0]["reason"] == "no rating is above 4"


def test_what_was_told_is_written(tmp_path: Path) -> None:
    told = {"ingest.events": "{view: 2, cart: 9}", "ingest.columns": "{type: event}", "ingest.name": "shop"}
    ingest = looked_at(clicks(tmp_path), **told)["settings"]["ingest"]
    assert (ingest["events"], ingest["name"]) == ({"view": 2, "cart": 9}, "shop")
    assert looked_at(ratings(tmp_path), **{"ingest.min_rating": "3.5"})["settings"]["ingest"]["min_rating"] == 3.5


def test_a_suite_of_the_user_judges(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "interactions:\n- {type: expect_column_values_to_be_between, column: rating, max_value: 4.5, severity: night}\n"
    )
    result = looked_at(ratings(tmp_path), **{"checks.suite": str(suite)})
    assert (result["quarantined"], result["would_be_refused"]) == (0, True)
    assert result["reasons"][0]["severity"] == "night"


def test_users_and_items_are_judged_beside_the_log(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("user_id,age\n" + "".join(f"{u},30\n" for u in {u for u, *_ in draw()} - {3}) + "9,31\n9,31\n")
    result = looked_at(ratings(tmp_path), **{"ingest.users": str(users)})
    failed = {one["expectation"]: one["found"] for one in result["failed"]}
    assert any("appears twice" in one for one in failed)
    unknown = next(found for said, found in failed.items() if "the users table lacks" in said)
    assert unknown == pytest.approx(sum(u == 3 for u, *_ in draw()) / 400, abs=0.01)
    assert result["settings"]["ingest"]["users"] == str(users)


def test_ordinals_are_no_dates(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("user,item,time\n" + "".join(f"{u},{i},{n}\n" for n, (u, i, *_) in enumerate(draw())))
    result = looked_at(path)
    assert result["quarantined"] == 0
    assert "they only give an order" in next(one["doubt"] for one in result["mapping"] if one["field"] == "timestamp")


def test_files_with_other_columns_are_profiled_together(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.csv").write_text("user,item\n1,2\n2,3\n")
    (folder / "b.jsonl").write_text('{"uid": 1, "item": 5, "lang": "de"}\n{"uid": "x", "item": 6, "new": 1}\n')
    result = looked_at(folder)
    assert (result["rows"], result["same_columns"]) == (4, False)
    assert {one["name"]: one["empty"] for one in result["columns"]} == {
        "user": 2, "item": 0, "uid": 2, "lang": 3, "new": 3,
    }  # fmt: skip
    assert result["settings"]["ingest"].get("columns") is None  # each file's own name is a usual one


def test_a_copy_counts_once_and_a_feed_that_stopped_is_said(tmp_path: Path) -> None:
    path = days(tmp_path)
    first = sorted(path.iterdir())[0]
    (path / "copy.tsv").write_bytes(first.read_bytes())
    result = looked_at(path, **{"checks.max_silent_days": "30"})
    assert (result["rows"], result["duplicates"], len(result["repeated_files"])) == (400, 0, 1)
    failed = {one["setting"]: (one["severity"], one["found"]) for one in result["failed"]}
    assert failed["checks.max_repeated_files"] == ("warning", 1)
    newest = max(t for _, _, t, _ in draw())
    as_of = datetime(2024, 6, 1, tzinfo=UTC).timestamp()
    assert failed["checks.max_silent_days"] == ("night", pytest.approx((as_of - newest) / 86_400))


def test_nothing_that_fits_is_said_with_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta\n" + "".join(f"{n / 7},{n}\n" for n in range(50)))
    with pytest.raises(ConfigError, match="alpha, beta; none can be told to be the user_id or the item_id") as said:
        looked_at(path)
    assert said.value.hint == "say which it is: --ingest.columns={alpha: user_id, beta: item_id}"
    assert "alpha" in capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    command = lambda options, started: inspect(options.config, options.settings)  # noqa: E731
    assert run_command("inspect", command, ["odd.csv", "--data_dir=data", "--json=out.json"]) == 2
    result = json.loads((tmp_path / "out.json").read_text())
    assert [one["name"] for one in result["columns"]] == ["alpha", "beta"]
    assert result["error"]["kind"] == "configuration"


@pytest.mark.parametrize(
    ("name", "content", "error", "line"),
    [
        ("gone.csv", None, ConfigError, "no such file"),
        ("empty.csv", b"", DataRefused, "is empty"),
        ("bare.csv", b"user,item\n", DataRefused, "no row"),
        ("numbers.csv", b"1,2,3\n4,5,6\n", ConfigError, "no header"),
        ("cut.parquet", b"PAR1 and no more", DataRefused, "damaged or cut short"),
        ("packed.csv.gz", gzip.compress(b"user,item\n1,2\n" * 9)[:30], DataRefused, "damaged or cut short"),
        ("array.json", b'[{"user": 1}]', DataRefused, "JSON array"),
        ("wide.csv", "user,item\n1,2\n".encode("utf-16"), DataRefused, "UTF-16"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, content: bytes | None, error: type[Exception], line: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=line):
        looked_at(tmp_path / name)
    assert not (tmp_path / "data").exists()


def test_parquet_that_is_damaged_inside(tmp_path: Path) -> None:
    path = purchases(tmp_path)
    content = bytearray(path.read_bytes())
    content[4:2_000] = b"\xff" * 1_996
    path.write_bytes(content)
    with pytest.raises(DataRefused, match="damaged or cut short"):
        looked_at(path)


def test_odd_names_of_files_and_columns(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s [a] "folder" *'
    folder.mkdir()
    rows = pa.table({"user": ["a", "b"], 'it"em': ["x", "y"], "User": [1, 2], "": [1, 2], "\x1b[31m": [3, 4]})
    pq.write_table(rows, folder / "a?b.parquet")
    result = looked_at(
        folder / "a?b.parquet", **{"ingest.columns": "{'it\"em': item_id}", "write": str(tmp_path / "w")}
    )
    assert mapping(result) == {"user_id": "user", "item_id": 'it"em'}
    night = read_options({}, str(tmp_path / "w" / "encore.yaml")).config
    assert night.ingest.columns == {'it"em': "item_id", "user": "user_id"}  # `User` is a usual name, too
    assert night.ingest.interactions == (str(folder / "a?b.parquet"),)


def test_the_terminal_gets_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.csv"
    rows = "".join(f"u{n % 3}\x1b[2J,[bold]i{n % 2},\x1b]0;x\x07view\n" for n in range(20))
    path.write_text(f"user,item,event\n{rows}\x1b[2J,,\n")
    show_inspect(looked_at(path))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]i1" in out


def test_a_data_folder_that_is_there_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "data" / "lake").mkdir(parents=True)
    looked_at(ratings(tmp_path))
    assert [one.relative_to(tmp_path / "data").as_posix() for one in (tmp_path / "data").rglob("*")] == ["lake"]


def test_the_name_is_one_that_a_dataset_can_have(tmp_path: Path) -> None:
    path = ratings(tmp_path).rename(tmp_path / "Käufe 2024 (neu).csv")
    name = looked_at(path)["settings"]["ingest"]["name"]
    assert IngestConfig(source="files", interactions=(str(path),), name=name).dataset == name


def test_a_prefix_in_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched, looked at, and nothing of it kept."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed: there is no storage to read from")
    from pyarrow.fs import S3FileSystem

    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host = "{}:{}".format(*server.get_host_and_port())
        for name, value in {"ENDPOINT_URL": f"http://{host}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        client = S3FileSystem(scheme="http", endpoint_override=host, allow_bucket_creation=True)
        client.create_dir("shop", recursive=False)
        for path in (ratings(tmp_path), purchases(tmp_path)):
            with client.open_output_stream(f"shop/logs/{path.name}", compression=None) as stream:
                stream.write(path.read_bytes())
        flags = {"path": "s3://shop/logs/*.csv", "data_dir": str(tmp_path / "data"), "write": str(tmp_path / "cfg")}
        options = read_options(flags, None, "inspect")
        result = inspect(options.config, options.settings)
    finally:
        server.stop()
    assert (result["rows"], mapping(result)) == (400, SHAPES["ratings"][1])
    assert not (tmp_path / "data").exists()
    ingest = read_options({}, str(tmp_path / "cfg" / "encore.yaml")).config.ingest
    assert (ingest.interactions, ingest.delivery) == (("s3://shop/logs/*.csv",), "append")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["clicks", "days"])
def test_a_night_on_what_is_proposed(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_database: None
) -> None:
    from flows.cli import main

    path = SHAPES[shape][0](tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert main(["inspect", os.path.relpath(path), "--write=shop"]) == 0
    options = ["--model.name=popularity", "--as_of=2024-06-01", "--json=night.json"]
    assert main(["retrain", "--config=shop/encore.yaml", *options]) == 0
    result = json.loads((tmp_path / "night.json").read_text())
    assert result["dataset"] == shape
