"""Refused rows are listed, handed out, and come back mended: each once, and each accounted for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.commands import QuarantineConfig
from flows.config import Settings
from flows.stewardship import quarantine, show_quarantine
from tasks.errors import Busy, ConfigError, DataRefused
from tasks.expect import suite
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import mended
from tasks.ingest.task import stage as ingest
from tasks.store.lease import lease
from tasks.store.store import Store
from tasks.validate.config import ChecksConfig
from tests.tasks.nights import CHECKS, LAX, Row, log, numbered, plain_judge, run, stage

NAMED = IngestConfig(name="d")
HOSTILE = "\x1b[31m[bold]x"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "judge", plain_judge)


def bad(first: int, **cells: Any) -> Row:
    return {**log(1, first)[0], **cells}


A = numbered([*log(12), bad(50, item_id=None), bad(51, rating=9.0), bad(52, rating=8.0)])
B = numbered([*log(5, 100), bad(60, user_id=None)])
UNREAD = [
    (16, "rating='x'", json.dumps({"user_id": "u7", "item_id": "i7", "rating": "x", "timestamp": "1704067200"})),
    (17, "rating='y'", json.dumps({"user_id": "u8", "item_id": HOSTILE, "rating": "y"})),
    (18, "3 cells, not 4", json.dumps({"line": "u9,i9,3"})),
]
TOP = "no rating is above 5"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights: six rows of file a are refused, one of file b."""
    store = Store(tmp_path_factory.mktemp("quarantine"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(suite, "judge", plain_judge)
        run(store, stage(store, "a", A, UNREAD))
        run(store, stage(store, "a", A, UNREAD), stage(store, "b", B), day=1)
    return store.root


@pytest.fixture
def site(made: Path, store: Store) -> Store:
    shutil.copytree(made, store.root)
    return store


def ask(store: Store, **told: Any) -> dict[str, Any]:
    settings = Settings(data_dir=store.root, tracking_uri=f"sqlite:///{store.root}/none.db")
    return quarantine(QuarantineConfig(ingest=NAMED, **told), settings)


def test_the_listing_counts_by_night_source_and_reason(site: Store, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(site)
    assert (found["rows"], found["taken"], found["n_groups"]) == (7, 0, 5)
    counted = [(one["night"][:10], one["source"], one["reason"], one["rows"]) for one in found["groups"]]
    assert counted == [
        ("2024-06-02", "b.csv", "every row has a user id", 1),
        ("2024-06-01", "a.csv", "could not be read: rating", 2),
        ("2024-06-01", "a.csv", TOP, 2),
        ("2024-06-01", "a.csv", "could not be read: 3 cells, not 4", 1),
        ("2024-06-01", "a.csv", "every row has an item id", 1),
    ]
    examples = [one["example"] for one in found["groups"]]
    assert examples[1].startswith("row 16: user_id=u7, item_id=i7, rating=x")
    assert examples[2].startswith("row 14:")
    assert examples[3] == "row 18: line=u9,i9,3"
    show_quarantine(found)
    assert "\x1b[31m" not in capsys.readouterr().out
    json.dumps(found)


@pytest.mark.parametrize(("reason", "rows"), [("rating", 4), ("rating='y'", 1), ("could not be read", 3), ("%", 0)])
def test_a_reason_narrows_the_listing(site: Store, reason: str, rows: int) -> None:
    assert ask(site, reason=reason)["rows"] == rows


def test_a_refused_night_is_told_apart(site: Store) -> None:
    worse = numbered([*log(2, 200), *(bad(300 + n, item_id=None) for n in range(3))])
    with pytest.raises(DataRefused):
        run(site, stage(site, "c", worse), checks=ChecksConfig(max_quarantine_share=0.1), day=2)
    found = ask(site)
    assert found["rows"] == 7
    assert [(one["rows"], one["sources"]) for one in found["refused_nights"]] == [(3, 1)]


def test_rows_that_other_rules_let_pass_are_no_longer_refused(site: Store) -> None:
    both = (stage(site, "a", A, UNREAD), stage(site, "b", B))
    run(site, *both, checks=LAX, day=2)  # ratings have no limits
    assert [one["reason"] for one in ask(site)["groups"] if one["reason"] == TOP] == []
    assert ask(site)["rows"] == 5


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_mended_rows_come_back_with_the_next_night(site: Store, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows.{suffix}"
    assert ask(site, export=str(file))["exported"]["rows"] == 7
    rows = frame(file)
    assert list(rows) == [
        "quarantine_id",
        "source",
        "source_row",
        "reason",
        "user_id",
        "item_id",
        "rating",
        "timestamp",
        "event",
        "line",
    ]
    assert rows["source_row"].astype(int).tolist() == [13, 14, 15, 16, 17, 18, 6]
    assert rows["item_id"].tolist()[4] == HOSTILE
    rows = rows[rows["source_row"].astype(int).isin([13, 14, 16])]
    rows["item_id"], rows["rating"] = ["i1", "i2", "i3"], ["1", "5", "4.5"]
    save(rows, file)
    taken = ask(site, take=str(file))
    assert (taken["taken_now"]["rows"], taken["taken"], taken["rows"]) == (3, 3, 7)
    again = ask(site, take=str(file))
    assert again["taken_now"]["before"]
    assert again["taken"] == 3
    assert ask(site, export=str(tmp_path / "left.csv"))["exported"]["rows"] == 4
    [source] = mended.identify("d", site)
    staged, _ = ingest(source, NAMED, site)
    result = run(site, stage(site, "a", A, UNREAD), staged, day=3)
    accepted = site.read(result.snapshot.interactions[-1]).to_pylist()
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in accepted] == [
        ("u2", "i1", 1.0), ("u3", "i2", 5.0), ("u7", "i3", 4.5),
    ]  # fmt: skip
    assert [row["timestamp"].isoformat()[:13] for row in accepted] == [
        "2024-01-03T02",
        "2024-01-03T03",
        "2024-01-01T00",
    ]


def test_what_is_still_bad_is_refused_again_under_its_new_name(site: Store, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    ask(site, export=str(file), reason=TOP)
    rows = frame(file)
    rows["rating"] = ["3", "7"]
    save(rows, file)
    ask(site, take=str(file))
    [source] = mended.identify("d", site)
    staged, _ = ingest(source, NAMED, site)
    run(site, staged, day=3)
    newest = ask(site)["groups"][0]
    assert (newest["source"], newest["reason"], newest["rows"]) == (source.label, TOP, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.assign(quarantine_id="0123456789abcdef")[:1], "not in quarantine"),
        (lambda rows: pd.concat([rows[:1], rows[:1]]), "there twice"),
        (lambda rows: rows.assign(rating="lots"), "7 of 7 rows cannot be read, such as row 1: rating='lots'"),
        (lambda rows: rows.assign(timestamp="yesterday")[:2], "timestamp='yesterday'"),
        (
            lambda rows: rows.assign(item_id="i1", user_id=["u1"] * 6 + [" "]),
            '1 of 7 rows still break "no user id is blank"',
        ),
        (lambda rows: rows.assign(user_id="u1"), '2 of 7 rows still break "every row has an item id"'),
        (lambda rows: rows.assign(item_id="i1", user_id="u1", timestamp="2924-01-01"), "7 of 7 rows still break"),
        (lambda rows: rows.drop(columns="quarantine_id"), "no column quarantine_id"),
        (lambda rows: rows.drop(columns="user_id"), "no column user_id"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_whole(site: Store, tmp_path: Path, change: Any, said: str) -> None:
    file = tmp_path / "rows.csv"
    ask(site, export=str(file))
    rows = frame(file).assign(rating="3", timestamp="2024-01-01")
    save(change(rows), file)
    with pytest.raises((DataRefused, ConfigError), match=said):
        ask(site, take=str(file))
    assert mended.identify("d", site) == []
    assert ask(site)["taken"] == 0


def test_a_row_is_taken_in_once(site: Store, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    ask(site, export=str(file))
    rows = frame(file).assign(rating="3", timestamp="2024-01-01", item_id="i1", user_id="u1")
    save(rows[:2], file)
    ask(site, take=str(file))
    save(rows[1:3], file)
    with pytest.raises(DataRefused, match="1 row was taken in before"):
        ask(site, take=str(file))
    assert ask(site)["taken"] == 2


@pytest.mark.parametrize(
    "told",
    [
        {"export": "x.xlsx"},
        {"take": "rows.txt"},
        {"take": "nowhere.csv"},
        {"export": "a.csv", "take": "b.csv"},
        {"ingest": IngestConfig(name="nobody")},
    ],
)
def test_wrong_options_are_told(site: Store, told: dict[str, Any]) -> None:
    settings = Settings(data_dir=site.root)
    with pytest.raises(ConfigError):
        quarantine(QuarantineConfig(**{"ingest": NAMED, **told}), settings)


def test_a_file_that_is_no_table_is_refused(site: Store, tmp_path: Path) -> None:
    for name, content in (
        ("rows.parquet", b"PAR1no"),
        ("rows.csv", b"quarantine_id,user_id,item_id\n1,2\n"),
        ("rows.jsonl", b"{"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataRefused):
            ask(site, take=str(tmp_path / name))


def test_a_running_night_is_left_alone(site: Store) -> None:
    with lease(site, "d"), pytest.raises(Busy):
        ask(site)


def test_nothing_in_quarantine_is_no_error(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run(store, stage(store, "a", log()), checks=CHECKS)
    found = ask(store)
    assert (found["rows"], found["groups"], found["refused_nights"]) == (0, [], [])
    show_quarantine(found)
    assert "0 rows of d are in quarantine\n" in capsys.readouterr().out
    show_quarantine(ask(store, reason="rating"))
    assert '0 rows of d are in quarantine by a reason that holds "rating"\n' in capsys.readouterr().out


def frame(file: Path) -> pd.DataFrame:
    """Every cell as text."""
    if file.suffix == ".parquet":
        return pd.DataFrame(pq.read_table(file).to_pylist())
    if file.suffix == ".jsonl":
        return pd.DataFrame([json.loads(line) for line in file.read_text().splitlines()])
    return pd.read_csv(file, dtype=str)


def save(rows: pd.DataFrame, file: Path) -> None:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in json.loads(rows.to_json(orient="records"))))
    else:
        rows.to_csv(file, index=False)
