import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import synthetic
from tasks.ingest.sources.base import TableName
from tasks.ingest.sources.synthetic import draw_log
from tasks.schema import INTERACTIONS


@pytest.fixture(scope="module")
def log() -> dict[TableName, pa.Table]:
    return draw_log(rows=20_000, users_count=500, items_count=800, seed=0)


def genre_of(log: dict[TableName, pa.Table]) -> np.ndarray:
    """Genre of each interaction's item."""
    genres = log["items"]["genres"].to_numpy(zero_copy_only=False)
    return np.asarray(genres[log["interactions"]["item_id"].cast(pa.int64()).to_numpy() - 1])


def test_equal_seeds_give_equal_logs_and_others_do_not(log):
    again, other = (draw_log(rows=20_000, users_count=500, items_count=800, seed=seed) for seed in (0, 1))
    assert all(log[name].equals(again[name]) for name in log)
    assert not any(log[name].equals(other[name]) for name in log)


def test_chunks_do_not_change_what_is_complete(monkeypatch, log):
    monkeypatch.setattr(synthetic, "CHUNK_ROWS", 1000)
    chunked = draw_log(rows=20_000, users_count=500, items_count=800, seed=0)
    assert chunked["interactions"].num_rows == 20_000
    counts = [
        sorted(pc.value_counts(table["interactions"]["user_id"]).to_pylist(), key=lambda pair: pair["values"])
        for table in (chunked, log)
    ]
    assert counts[0] == counts[1]


def test_the_table_fits_its_schema_and_its_year(log):
    table = log["interactions"]
    assert table.schema == INTERACTIONS
    assert table.select(["user_id", "item_id", "rating", "timestamp", "source_row"]).to_pandas().notna().all(axis=None)
    seconds = table["timestamp"].cast(pa.int64()).to_numpy() // 10**6
    assert (np.diff(seconds) >= 0).all()
    assert synthetic.END_SECONDS - synthetic.YEAR_SECONDS <= seconds[0] < seconds[-1] < synthetic.END_SECONDS
    assert set(table["rating"].to_pylist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_popularity_has_a_long_tail(log):
    counts = np.sort(pc.value_counts(log["interactions"]["item_id"]).field("counts").to_numpy())[::-1]
    assert counts[:80].sum() > 0.25 * counts.sum()  # a tenth of the items
    assert len(counts) > 700  # and yet nearly all are seen


def test_a_users_past_tells_more_than_popularity(log):
    """The genre that a user chose most in the first half, against the genre that all chose most."""
    frame = log["interactions"].select(["user_id"]).to_pandas().assign(genre=genre_of(log))
    past, future = frame.iloc[:10_000], frame.iloc[10_000:]
    favourite = past.groupby("user_id")["genre"].agg(lambda genres: genres.mode()[0])
    known = future[future["user_id"].isin(favourite.index)]
    personal = (known["user_id"].map(favourite) == known["genre"]).mean()
    popular = (past["genre"].mode()[0] == known["genre"]).mean()
    assert personal > 1.8 * popular


def test_clusters_rise_and_fall(log):
    genre = genre_of(log)
    first, last = (
        np.array([(half == name).mean() for name in np.unique(genre)]) for half in (genre[:5000], genre[-5000:])
    )
    assert np.abs(first - last).max() > 0.01


def test_users_arrive_over_time(log):
    users = log["interactions"]["user_id"].to_pylist()
    assert len(set(users[:2000])) < 0.75 * len(set(users))


def test_ratings_and_segments_follow_tastes(log):
    frame = log["interactions"].select(["user_id", "rating"]).to_pandas().assign(genre=genre_of(log))
    segments = log["users"].to_pandas().set_index("user_id")["segment"]
    fits = "likes " + frame["genre"] == frame["user_id"].map(segments)
    assert fits.mean() > 0.3
    assert frame["rating"][fits].mean() > frame["rating"][~fits].mean() + 0.2


def test_users_seldom_repeat_an_item(log):
    pairs = log["interactions"].group_by(["user_id", "item_id"]).aggregate([]).num_rows
    assert pairs > 0.98 * 20_000


@pytest.mark.parametrize(("rows", "users", "items"), [(1, 1, 1), (50, 2, 3), (10, 100, 1)])
def test_tiny_worlds_work(rows, users, items):
    log = draw_log(rows, users, items, seed=3)
    assert [log[name].num_rows for name in ("interactions", "users", "items")] == [rows, users, items]


def test_identity_follows_what_changes_the_log():
    config = IngestConfig(source="synthetic")
    shas = {
        file.sha256
        for update in ({}, {"rows": 7}, {"users_count": 7}, {"items_count": 7}, {"seed": 7})
        for file in synthetic.identify(config.model_copy(update=update))
    }
    assert len(shas) == 5 * 3
    assert synthetic.identify(config) == synthetic.identify(config.model_copy(update={"name": "other"}))


def test_a_million_rows_take_seconds():
    start = time.monotonic()
    draw_log(rows=1_000_000, users_count=20_000, items_count=10_000, seed=0)
    assert time.monotonic() - start < 20  # about one on an idle machine
