"""Erased people leave no trace in what is staged; mended rows come in again."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.erased import NOBODY, ErasedUsers, load
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.schema import INTERACTIONS
from tasks.store.store import Store
from tasks.validate.ledger import Content

SALT = "salt"


def hashed(user: str) -> str:
    return hashlib.sha256((SALT + user).encode()).hexdigest()


def erase(store: Store, dataset: str, *users: str) -> None:
    path = store.path(f"lake/{dataset}/erased.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"salt": SALT, "hashes": [hashed(user) for user in users]}))


def test_only_rows_of_the_erased_go():
    erased = ErasedUsers(SALT, frozenset({hashed("7"), hashed("é")}))
    plain = pa.chunked_array([["7", "8", None], ["é", "7", "77"]])
    for column in (plain, plain.dictionary_encode()):
        assert erased.keep(column).to_pylist() == [False, True, True, False, False, True]
    assert NOBODY.keep(plain).to_pylist() == [True] * 6


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_nothing_of_an_erased_person_is_staged(tmp_path, name):
    store, path = Store(tmp_path / "data"), tmp_path / name
    rows = [("u-7", "a", "1"), ("u-8", "b", "1"), ("u-7", "c", "bad"), ("u-8", "d", "bad")]
    if name == "log.csv":
        ragged = "u-7\n8,u-7,x,y\nu-8\n"
        path.write_text("user,item,rating\n" + "".join(f"{','.join(row)}\n" for row in rows) + ragged)
    elif name == "log.jsonl":
        objects = [json.dumps(dict(zip(("user", "item", "rating"), row, strict=True))) for row in rows]
        path.write_text("\n".join([*objects, '{"user": "u-7", ', '{"id": {"of": ["u-7"]', '{"user": "u-8"']))
    else:
        pq.write_table(
            pa.table(dict(zip(("user_id", "item_id", "rating"), zip(*rows, strict=True), strict=True))), path
        )
    config = IngestConfig(interactions=(str(path),), name="d")
    before = ingest.fn(store, config).files[0]
    erase(store, "d", "u-7")
    staged = ingest.fn(store, config)
    (after,) = staged.files
    assert not staged.cached
    assert (before.rows, after.rows) == ((4, 2) if name == "log.parquet" else (7, 3))
    assert store.read(after.data).select(["user_id", "source_row"]).to_pylist() == [{"user_id": "u-8", "source_row": 2}]
    assert after.unread is not None
    assert not any("u-7" in row for row in store.read(after.unread)["row"].to_pylist())
    assert ingest.fn(store, config).cached


def test_numbers_are_erased_as_they_would_be_staged(tmp_path):
    store, path = Store(tmp_path / "data"), tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": [7.0, 8.0], "item_id": [1, 2], "rating": [float("nan"), 1.0]}), path)
    config = IngestConfig(interactions=(str(path),), name="d")
    erase(store, "d", "7")
    (file,) = ingest.fn(store, config).files
    assert (file.rows, file.unread) == (1, None)


def test_users_tables_forget_them_and_items_do_not(tmp_path):
    store = Store(tmp_path / "data")
    for name, text in (("log", "user,item\n7,7\n8,7\n"), ("users", "user,age\n7,1\n8,2\n"), ("items", "item\n7\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    config = IngestConfig(
        interactions=(f"{tmp_path}/log.csv",),
        users=(f"{tmp_path}/users.csv",),
        items=(f"{tmp_path}/items.csv",),
        name="d",
    )
    erase(store, "d", "7")
    log, users, items = ingest.fn(store, config).files
    assert store.read(log.data)["user_id"].to_pylist() == ["8"]
    assert store.read(users.data).to_pylist() == [{"user_id": "8", "age": "2"}]
    assert store.read(items.data)["item_id"].to_pylist() == ["7"]


def test_another_datasets_list_changes_nothing(tmp_path):
    erase(Store(tmp_path), "d", "7")
    assert load(Store(tmp_path), "other") == NOBODY
    assert load(Store(tmp_path), "d").key != NOBODY.key


@pytest.mark.parametrize("text", ["", "[]", '{"hashes": []}', '{"salt": "x", "hashes": 7}'])
def test_a_damaged_list_stops_the_run(tmp_path, text):
    path = tmp_path / "lake" / "d" / "erased.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RunFailed, match="cannot be read"):
        load(Store(tmp_path), "d")


def mend(store: Store, name: str, user: str) -> Path:
    path = store.path(f"mended/d/{name}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"user_id": user, "item_id": "m", "rating": 2.0, "timestamp": None, "event": "buy"}
    schema = pa.schema([field for field in INTERACTIONS if field.name != "source_row"])
    pq.write_table(pa.Table.from_pylist([row], schema), path)
    return path


def test_mended_rows_come_after_the_users_files_whatever_these_call_their_columns(tmp_path):
    store = Store(tmp_path / "data")
    (tmp_path / "log.csv").write_text("who,what\na,1\n")
    config = IngestConfig(
        interactions=(f"{tmp_path}/log.csv",), columns={"who": "user_id", "what": "item_id"}, name="d"
    )
    mend(store, "2", "c")
    mend(store, "1", "b")
    staged = ingest.fn(store, config)
    assert [(file.table, file.source) for file in staged.files] == [
        ("interactions", f"{tmp_path}/log.csv"), ("interactions", "mended/1"), ("interactions", "mended/2"),
    ]  # fmt: skip
    first, mended, _ = (store.read(file.data).to_pylist() for file in staged.files)
    assert (first[0]["user_id"], mended[0]["user_id"]) == ("a", "b")
    assert (mended[0]["item_id"], mended[0]["rating"], mended[0]["event"]) == ("m", 2.0, "buy")


def test_a_folder_of_the_users_that_is_called_mended_holds_rows_like_all_others(tmp_path, monkeypatch):
    """By the label the contract tells mended rows, of which however many may be bad."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mended").mkdir()
    (tmp_path / "mended" / "log.csv").write_text("user,item\na,1\n")
    for pattern in ("mended/*.csv", "./mended", "mended/log.csv"):
        (file,) = identify(IngestConfig(interactions=(pattern,), name="d"), Store(tmp_path / "data"))
        assert file.label == "./mended/log.csv"
        assert file.path is not None
        assert file.path.is_file()
        assert not Content(file.table, file.label, file.sha256).is_mended


def test_mended_rows_come_into_every_source(tmp_path):
    store = Store(tmp_path)
    mend(store, "1", "b")
    config = IngestConfig(source="synthetic", rows=50, users_count=5, items_count=20, name="d")
    *_, mended = ingest.fn(store, config).files
    assert (mended.source, mended.rows) == ("mended/1", 1)
    assert "mended/1" not in [file.label for file in identify(config.model_copy(update={"name": "other"}), store)]


def test_the_same_content_as_a_users_file_and_as_mended_rows_is_not_confused(tmp_path):
    store = Store(tmp_path / "data")
    (tmp_path / "log.parquet").write_bytes(mend(store, "1", "b").read_bytes())
    config = IngestConfig(
        interactions=(f"{tmp_path}/log.parquet",), columns={"user_id": "item_id", "item_id": "user_id"}, name="d"
    )
    users = [store.read(file.data)["user_id"].to_pylist() for file in ingest.fn(store, config).files]
    assert users == [["m"], ["b"]]
