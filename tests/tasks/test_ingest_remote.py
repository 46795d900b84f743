"""Sources in S3-compatible storage, against a server of its own on loopback."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from tasks.errors import ConfigError, DataRefused, DownloadFailed, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import remote
from tasks.ingest.sources.registry import identify
from tasks.ingest.task import ingest
from tasks.store.store import Store

moto = pytest.importorskip("moto.server", reason="moto is not installed: there is no storage to read from")

LOG = "user,item\na,1\nb,2\n"
PARQUET = pa.table({"user_id": ["c"], "item_id": ["3"]})
SECRET = "a-secret-that-is-shown-nowhere"


@dataclass
class Storage:
    client: S3FileSystem
    asked: list[str] = field(default_factory=list)  # methods and paths, in their order

    def put(self, key: str, data: str | bytes | pa.Table) -> None:
        with self.client.open_output_stream(f"lake/{key}", compression=None) as stream:
            if isinstance(data, pa.Table):
                pq.write_table(data, stream)
            else:
                stream.write(data.encode() if isinstance(data, str) else data)

    def gets(self, key: str) -> int:
        return sum(line.startswith(f"GET /lake/{key}") for line in self.asked)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=True)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"http://{host}:{port}"
    serving.stop()


@pytest.fixture
def storage(server, monkeypatch) -> Iterator[Storage]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    host = server.removeprefix("http://")
    client = S3FileSystem(scheme="http", endpoint_override=host, allow_bucket_creation=True, allow_bucket_deletion=True)
    client.create_dir("lake", recursive=False)
    found = Storage(client)

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if asked := re.search(r"(GET|HEAD|PUT|POST|DELETE) /\S*", record.getMessage()):
                found.asked.append(asked[0])

    noting, log = Noting(), logging.getLogger("werkzeug")
    log.addHandler(noting)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(noting)
    client.delete_dir_contents("lake", missing_dir_ok=True)
    client.delete_dir("lake")


def forget_staged(root: Path) -> None:
    for manifest in [*root.rglob("_manifest.json")]:
        shutil.rmtree(manifest.parent)


def users(store: Store, *patterns: str) -> list[str]:
    staged = ingest.fn(store, IngestConfig(interactions=patterns, name="s3"))
    return [user for file in staged.files for user in store.read(file.data)["user_id"].to_pylist()]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("s3://lake/day/1.csv", ["a", "b"]),
        ("s3://lake/day/deep/2.parquet", ["c"]),
        ("s3://lake/day", ["a", "b", "c"]),
        ("s3://lake/day/", ["a", "b", "c"]),
        ("s3://lake/", ["a", "b", "c"]),
        ("s3://lake/day/*", ["a", "b"]),
        ("s3://lake/*/?.csv", ["a", "b"]),
        ("s3://lake/day/[0-9].csv", ["a", "b"]),
        ("s3://lake/**/*.parquet", ["c"]),
        ("s3://lake/day/**", ["a", "b", "c"]),
    ],
)
def test_objects_prefixes_and_globs(tmp_path, storage, pattern, found):
    storage.put("day/1.csv", LOG)
    storage.put("day/deep/2.parquet", PARQUET)
    for unread in ("day/deep/_SUCCESS.csv", "day/deep/_temporary/3.csv", "day/deep/.hidden.csv", "day/deep/notes.md"):
        if "**" not in pattern:
            storage.put(unread, LOG)
    assert users(Store(tmp_path), pattern) == found


def test_a_packed_log_is_staged_as_a_file_of_this_machine_would_be(tmp_path, storage):
    data = LOG + "c\n"
    storage.put("log.csv.gz", pa.compress(data.encode(), codec="gzip", asbytes=True))
    (tmp_path / "log.csv.gz").write_bytes(pa.compress(data.encode(), codec="gzip", asbytes=True))
    store = Store(tmp_path / "data")
    here, there = (
        ingest.fn(store, IngestConfig(interactions=(str(path),), name=name)).files[0]
        for name, path in (("here", tmp_path / "log.csv.gz"), ("there", "s3://lake/log.csv.gz"))
    )
    assert (there.sha256, there.data.fingerprint, there.rows) == (here.sha256, here.data.fingerprint, 3)
    assert there.unread is not None
    assert there.source == "s3://lake/log.csv.gz"


def test_what_has_not_changed_is_not_fetched_again_and_what_has_is(tmp_path, storage):
    storage.put("1.csv", LOG)
    store = Store(tmp_path)
    assert users(store, "s3://lake/1.csv") == ["a", "b"]
    assert storage.gets("1.csv") == 1
    assert users(store, "s3://lake/*.csv") == ["a", "b"]
    assert storage.gets("1.csv") == 1
    storage.put("1.csv", LOG + "c,3\n")
    assert users(store, "s3://lake/1.csv") == ["a", "b", "c"]
    assert storage.gets("1.csv") == 2
    assert not [path for path in tmp_path.rglob("*.csv") if path.is_file()]  # what was fetched does not stay


def test_what_was_fetched_and_never_staged_is_used_later_or_goes(tmp_path, storage):
    storage.put("1.csv", LOG)
    store, config = Store(tmp_path), IngestConfig(interactions=("s3://lake/1.csv",), name="s3")
    for _ in range(2):
        identify(config, store)
        assert storage.gets("1.csv") == 1
        assert len([*tmp_path.rglob("*.csv")]) == 1
    storage.put("1.csv", LOG + "c,3\n")
    identify(config, store)
    assert len([*tmp_path.rglob("*.csv")]) == 1
    assert users(store, "s3://lake/1.csv") == ["a", "b", "c"]
    assert storage.gets("1.csv") == 2


def test_what_is_not_staged_any_more_is_fetched_once_again(tmp_path, storage):
    storage.put("1.csv", LOG)
    store = Store(tmp_path)
    config = IngestConfig(interactions=("s3://lake/1.csv",), name="s3")
    ingest.fn(store, config)
    files = identify(config, store)
    forget_staged(tmp_path)
    assert not ingest.fn(store, config, files).cached
    storage.put("1.csv", LOG + "c,3\n")
    forget_staged(tmp_path)
    with pytest.raises(RunFailed, match="changed while it was read"):
        ingest.fn(store, config, files)
    assert not list(tmp_path.rglob("_manifest.json"))


def test_the_same_object_named_twice_is_one_source(tmp_path, storage):
    storage.put("1.csv", LOG)
    assert users(Store(tmp_path), "s3://lake/1.csv", "s3://lake/") == ["a", "b"]


@pytest.mark.parametrize(
    "pattern", ["s3://lake/gone.csv", "s3://lake/gone/", "s3://lake/gone/*.csv", "s3://nowhere/1.csv", "s3://*/1.csv"]
)
def test_what_is_not_there_is_a_wrong_option(tmp_path, storage, pattern):
    with pytest.raises(ConfigError) as error:
        users(Store(tmp_path), pattern)
    assert pattern in error.value.message
    assert "\n" not in str(error.value)


def test_an_empty_object_is_refused(tmp_path, storage):
    storage.put("1.csv", b"")
    with pytest.raises(DataRefused, match=r"s3://lake/1\.csv is empty"):
        users(Store(tmp_path), "s3://lake/1.csv")


def test_an_object_that_is_only_partly_sent_is_not_staged(tmp_path, storage, monkeypatch):
    storage.put("1.csv", LOG)
    monkeypatch.setattr(remote, "BLOCK", 0)  # the first answer is the last
    with pytest.raises(DownloadFailed, match=f"s3://lake/1.csv broke off after 0 of {len(LOG)} bytes"):
        users(Store(tmp_path), "s3://lake/1.csv")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_answer_names_the_variables_and_can_be_tried_again(tmp_path, storage, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DownloadFailed) as error:
        users(Store(tmp_path), "s3://lake/1.csv")
    assert "AWS_ENDPOINT_URL" in error.value.hint
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "code", ["ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "EXPIRED_TOKEN"]
)
def test_a_missing_right_names_the_variables(code):
    said = OSError(f"When reading 1.csv in bucket 'lake': AWS Error {code} during GetObject operation: no")
    with (
        pytest.raises(RunFailed, match=f"s3://lake/1.csv may not be read: {code}") as error,
        remote._explained("s3://lake/1.csv"),
    ):
        raise said
    assert "AWS_ACCESS_KEY_ID" in error.value.hint


def test_a_full_disk_is_no_fault_of_the_network(tmp_path):
    with pytest.raises(RunFailed, match="No space left"), remote._explained("s3://lake/1.csv"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://localhost", "http://"])
def test_an_endpoint_that_is_no_address_is_a_wrong_option(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        users(Store(tmp_path), "s3://lake/1.csv")


@pytest.mark.parametrize(
    "url",
    [
        f"s3://someone:{SECRET}@lake/1.csv",
        f"s3://someone:a/b+{SECRET}@lake/1.csv",  # keys of AWS hold slashes
        f"s3://someone:{SECRET}",
        f"https://someone:{SECRET}@lake/1.csv",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path, url):
    with pytest.raises(ConfigError) as error:
        users(Store(tmp_path), url)
    assert SECRET not in f"{error.value} {error.value.hint}"
    assert "@" not in error.value.message


def test_the_datasets_name_does_not_depend_on_where_we_are(tmp_path, monkeypatch):
    config = IngestConfig(interactions=("s3://lake/log.csv",))
    name = config.dataset
    monkeypatch.chdir(tmp_path)
    assert config.dataset == name
    assert name.startswith("log-")
