import hashlib
import http.server
import io
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError, DataRefused, DownloadFailed, without_passwords
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import movielens
from tasks.ingest.sources.download import Checksum, fetch_url, fetch_wheel
from tasks.ingest.sources.registry import identify, read_features, read_log
from tasks.ingest.task import can_mend, ingest
from tasks.store.store import Store

ML_100K = "recbole/dataset_example/ml-100k/ml-100k"
MEMBERS = {
    "movielens-100k": {
        f"{ML_100K}.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n",
        f"{ML_100K}.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\ttechnician\t01002\n",
        f"{ML_100K}.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '1\t"Toy" Story\t1995\tAnimation Children\'s Film-Noir\n2\tunknown\t\t\n',
    },
    "movielens-1m": {
        "ml-1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n",
        "ml-1m/users.dat": "1::F::1::10::02134\n",
        "ml-1m/movies.dat": "1::Les Misérables (1995)::Drama|Musical\n2::Alien: Part 2 (1986)::Sci-Fi\n",
    },
    "movielens-25m": {
        "ml-25m/ratings.csv": "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n",
        "ml-25m/movies.csv": "movieId,title,genres\n"
        '1,"American President, The (1995)",Comedy|Drama\n2,Babylon 5,(no genres listed)\n',
    },
}


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text.encode("latin-1" if name.endswith(".dat") else "utf-8"))
    return buffer.getvalue()


def md5(data: bytes) -> Checksum:
    return Checksum("md5", hashlib.md5(data, usedforsecurity=False).hexdigest())


def pin(monkeypatch: pytest.MonkeyPatch, source: str, data: bytes) -> str:
    """The archive that a test made becomes the pinned one. Returns its file name."""
    archive = replace(movielens.ARCHIVES[source], checksum=md5(data))
    monkeypatch.setitem(movielens.ARCHIVES, source, archive)
    return archive.name


def place(monkeypatch: pytest.MonkeyPatch, root: Path, source: str, members: dict[str, str] | None = None) -> Path:
    data = zipped(members or MEMBERS[source])
    path = root / "downloads" / pin(monkeypatch, source, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@dataclass
class Server:
    """Serves one file on loopback, and breaks off or ignores ranges where a test wants that."""

    data: bytes
    break_after: int | None = None  # bytes of the next answer
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)  # that were asked for
    url: str = ""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    served = Server(bytes(range(256)) * 4096)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.ranges.append(asked)
            first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and served.knows_ranges else 0
            if "missing" in self.path or first >= len(served.data):
                self.send_error(404 if "missing" in self.path else 416)
                return
            body = served.data[first:]
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: served.break_after])
            served.break_after = None

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{httpd.server_port}"
    yield served
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def tables(store: Store, source: str) -> dict[str, list[dict[str, Any]]]:
    config = IngestConfig(source=source)
    found: dict[str, list[dict[str, Any]]] = {}
    for file in identify(config, store):
        if file.table == "interactions":
            found[file.table] = [row for block in read_log(file, config, store) for row in block.rows.to_pylist()]
        else:
            found[file.table] = read_features(file, config, store).to_pylist()
    return found


def test_the_wheel_is_read_without_being_installed(tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, "movielens-100k")
    found = tables(Store(tmp_path), "movielens-100k")
    (row,) = found["interactions"]
    assert (row["user_id"], row["item_id"], row["rating"], row["source_row"]) == ("196", "242", 3.0, 1)
    assert row["timestamp"].timestamp() == 881250949
    assert found["users"] == [
        {"user_id": "1", "age": "24", "gender": "M", "occupation": "technician", "zip_code": "01002"}
    ]
    assert found["items"] == [
        {"item_id": "1", "title": '"Toy" Story', "year": "1995", "genres": "Animation|Children's|Film-Noir"},
        {"item_id": "2", "title": "unknown", "year": None, "genres": None},
    ]


def test_movielens_1m_is_latin1_without_header(tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, "movielens-1m")
    found = tables(Store(tmp_path), "movielens-1m")
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in found["interactions"]] == [
        ("1", "1193", 5.0),
        ("1", "661", 3.0),
    ]
    assert found["users"][0] == {
        "user_id": "1",
        "gender": "F",
        "age": "1",
        "occupation": "10",
        "zip_code": "02134",
    }
    assert found["items"] == [
        {"item_id": "1", "title": "Les Misérables", "genres": "Drama|Musical", "year": "1995"},
        {"item_id": "2", "title": "Alien: Part 2", "genres": "Sci-Fi", "year": "1986"},
    ]


def test_movielens_25m(tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, "movielens-25m")
    found = tables(Store(tmp_path), "movielens-25m")
    assert found["interactions"][0]["item_id"] == "296"
    assert found["items"] == [
        {"item_id": "1", "title": "American President, The", "genres": "Comedy|Drama", "year": "1995"},
        {"item_id": "2", "title": "Babylon 5", "genres": None, "year": None},
    ]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_member_that_would_leave_its_folder_is_refused(tmp_path, monkeypatch, name):
    place(monkeypatch, tmp_path / "data", "movielens-1m", {**MEMBERS["movielens-1m"], name: "x"})
    with pytest.raises(DataRefused, match="would leave its folder"):
        tables(Store(tmp_path / "data"), "movielens-1m")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_missing_member_is_refused(tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, "movielens-1m", {"README": "x"})
    with pytest.raises(DataRefused, match=r"ml-1m\.zip is damaged"):
        tables(Store(tmp_path), "movielens-1m")


def test_identity_needs_no_download_and_tells_the_tables_apart(tmp_path):
    files = [
        file
        for source in movielens.ARCHIVES
        for file in identify(IngestConfig(source=source), Store(tmp_path / "none"))
    ]
    assert len({file.sha256 for file in files}) == len(files) == 8
    assert files[0].label == "ml-100k.inter"
    assert not (tmp_path / "none").exists()


def test_a_broken_download_goes_on_where_it_broke(tmp_path, server):
    server.break_after = 300_000
    final = tmp_path / "downloads" / "x.zip"
    with pytest.raises(DownloadFailed, match=r"broke off after 300,000 of 1,048,576 bytes"):
        fetch_url(f"{server.url}/x.zip", final, md5(server.data))
    assert not final.exists()
    assert fetch_url(f"{server.url}/x.zip", final, md5(server.data))
    assert final.read_bytes() == server.data
    assert server.ranges == [None, "bytes=300000-"]
    assert not fetch_url(f"{server.url}/x.zip", final, md5(server.data))  # it is there
    assert len(server.ranges) == 2


def test_a_server_that_cannot_continue_starts_over(tmp_path, server):
    server.break_after, server.knows_ranges = 300_000, False
    final = tmp_path / "x.zip"
    with pytest.raises(DownloadFailed):
        fetch_url(f"{server.url}/x.zip", final, md5(server.data))
    fetch_url(f"{server.url}/x.zip", final, md5(server.data))
    assert final.read_bytes() == server.data


def test_a_part_that_is_already_whole_is_only_checked(tmp_path, server):
    (tmp_path / "x.zip.part").write_bytes(server.data)
    assert fetch_url(f"{server.url}/x.zip", tmp_path / "x.zip", md5(server.data))
    assert (tmp_path / "x.zip").read_bytes() == server.data


def test_a_wrong_checksum_removes_the_file(tmp_path, server):
    with pytest.raises(DownloadFailed, match="not the pinned"):
        fetch_url(f"{server.url}/x.zip", tmp_path / "x.zip", md5(b"other"))
    assert not (tmp_path / "x.zip").exists()
    assert not (tmp_path / "x.zip.part").exists()
    (tmp_path / "y.whl").write_bytes(b"wrong")
    with pytest.raises(DownloadFailed, match=r"y\.whl has md5 .* not the pinned .* removed"):
        fetch_wheel("y==1", tmp_path / "y.whl", md5(b"right"))
    assert not (tmp_path / "y.whl").exists()


def test_no_answer_and_no_such_file_name_the_url_and_the_way_out(tmp_path, server):
    for url, says in ((f"{server.url}/missing.zip", "Not Found"), ("http://127.0.0.1:1/x.zip", "refused")):
        with pytest.raises(DownloadFailed, match=says) as error:
            fetch_url(url, tmp_path / "x.zip", md5(b""))
        assert str(tmp_path / "x.zip") in error.value.hint


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path):
    with pytest.raises(ConfigError) as error:
        fetch_url("https://me:secret@host/x", tmp_path / "x", md5(b""))
    assert "secret" not in str(error.value)


def test_only_http_is_fetched(tmp_path):
    with pytest.raises(ConfigError, match="cannot download"):
        fetch_url("file:///etc/hostname", tmp_path / "x", md5(b""))


def test_pip_without_the_wheel_is_one_line_that_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    final = tmp_path / "downloads" / "no_such_wheel-1-py3-none-any.whl"
    with pytest.raises(DownloadFailed) as error:
        fetch_wheel("no-such-wheel==1", final, md5(b""))
    assert "pip could not fetch no-such-wheel==1" in error.value.message
    assert str(final) in error.value.hint
    assert "\n" not in str(error.value)
    assert [path.suffix for path in final.parent.iterdir()] == [".lock"]


def test_pip_fetches_the_wheel_from_wherever_the_user_points_it(tmp_path, monkeypatch):
    name = "tiny_wheel-1-py3-none-any.whl"
    metadata = {
        "tiny_wheel-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1\n",
        "tiny_wheel-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_wheel-1.dist-info/RECORD": "",
    }
    data = zipped(metadata)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / name).write_bytes(data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "mirror"))
    final = tmp_path / "downloads" / name
    assert fetch_wheel("tiny-wheel==1", final, md5(data))
    assert final.read_bytes() == data
    assert sorted(path.name for path in final.parent.iterdir()) == [name, f"{name}.lock"]


def test_a_wheel_on_its_way_is_not_swept_by_another_datasets_night(tmp_path, monkeypatch):
    final, store = tmp_path / "downloads" / "w.whl", Store(tmp_path)

    def pip(command, **_):
        fetched = Path(command[-1]) / final.name
        fetched.write_bytes(b"wheel")
        store.sweep()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert fetch_wheel("w==1", final, md5(b"wheel"))
    assert final.read_bytes() == b"wheel"


def test_staging_downloads_once_and_shows_the_terms_once(tmp_path, monkeypatch, server, capsys):
    server.data = zipped(MEMBERS["movielens-1m"])
    pin(monkeypatch, "movielens-1m", server.data)
    monkeypatch.setenv("ENCORE_GROUPLENS_URL", f"{server.url}/mirror/")
    store, config = Store(tmp_path), IngestConfig(source="movielens-1m")
    first = ingest.fn(store, config)
    assert [(ref.table, ref.source, ref.data.rows) for ref in first.files] == [
        ("interactions", "ratings.dat", 2),
        ("users", "users.dat", 1),
        ("items", "movies.dat", 2),
    ]
    assert capsys.readouterr().err.count("10.1145/2827872") == 1
    (tmp_path / "downloads" / "ml-1m.zip").unlink()
    assert ingest.fn(store, config) == replace(first, cached=True)
    assert len(server.ranges) == 1


def test_a_failed_download_leaves_nothing_staged(tmp_path, monkeypatch, server):
    server.data, server.break_after = zipped(MEMBERS["movielens-1m"]), 100
    pin(monkeypatch, "movielens-1m", server.data)
    monkeypatch.setenv("ENCORE_GROUPLENS_URL", server.url)
    with pytest.raises(DownloadFailed):
        ingest.fn(Store(tmp_path), IngestConfig(source="movielens-1m"))
    assert not list((tmp_path / "staging").rglob("*.parquet"))
    assert not list((tmp_path / "downloads").glob("*.zip"))


def test_only_downloads_are_tried_again():
    class State:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def result(self, raise_on_failure: bool) -> Exception:
            return self.error

    assert can_mend(None, None, State(DownloadFailed("x")))
    assert not can_mend(None, None, State(DataRefused("x")))
    assert ingest.retries == 2


def test_a_url_is_shown_without_its_password():
    assert without_passwords("see https://me:secret@host/x") == "see https://host/x"
    assert without_passwords("see s3://key:se/cret@bucket/x") == "see s3://bucket/x"
    assert without_passwords("see s3://bucket/a@b.csv") == "see s3://bucket/a@b.csv"
