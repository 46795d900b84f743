"""A made-up log of any size with planted tastes: personalised models find what popularity cannot.

Items belong to clusters (genres), users have one to three tastes among them. Within a cluster few items are popular and
many are rare; clusters rise and fall over the year; users arrive over time and differ in how active they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.ingest.config import IngestConfig
from tasks.ingest.sources.base import BLOCK_ROWS, Block, SourceFile, TableName, identity
from tasks.ingest.sources.shape import STREAMED
from tasks.schema import INTERACTIONS, TIME, UNREAD

# U users, I items, T clusters, N interactions of a chunk

VERSION = 1  # of the recipe: raise it when the same seed gives another log
LABELS: dict[TableName, str] = {"interactions": "interactions", "users": "users", "items": "items"}
END_SECONDS = 1_767_225_600  # 2026-01-01 UTC: fixed, so that a log does not depend on the clock
YEAR_SECONDS = 365 * 24 * 3600
GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Biography",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Family",
    "Fantasy",
    "History",
    "Horror",
    "Music",
    "Mystery",
    "Nature",
    "Romance",
    "Science",
    "Sport",
    "Thriller",
    "War",
]
ITEMS_A_CLUSTER = 100  # at least, so that active users do not exhaust their tastes
OWN_TASTE = 0.85  # share of a user's interactions that follow the user's tastes
TASTE_SHARES = np.array([[1.0, 0.0, 0.0], [0.65, 0.35, 0.0], [0.5, 0.3, 0.2]])  # by number of tastes
TAIL = 0.9  # exponent of Zipf's law within a cluster
ACTIVITY_SPREAD = 0.8  # sigma of the log-normal activity
CHUNK_ROWS = 1 << 20
REDRAWS = 6

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What does not depend on the number of rows."""

    cluster_I: Ints
    order_I: Ints  # items, cluster after cluster, the most popular of each first
    start_T: Ints  # where a cluster begins in `order_I`
    size_T: Ints
    level_T: Floats  # how popular a cluster is on average
    phase_T: Floats  # when in the year it is at its height
    tastes_U3: Ints
    n_tastes_U: Ints
    activity_U: Floats
    arrival_U: Floats  # 0..1 of the year


def identify(config: IngestConfig) -> list[SourceFile]:
    numbers = (VERSION, config.rows, config.users_count, config.items_count, config.seed)
    return [
        SourceFile(table, f"synthetic {label}", identity("synthetic", table, *numbers))
        for table, label in LABELS.items()
    ]


def read(file: SourceFile, config: IngestConfig) -> pa.Table:
    """Users or items."""
    world = draw_world(config.users_count, config.items_count, config.seed)
    return draw_users(world, config.seed) if file.table == "users" else draw_items(world, config.seed)


def read_log(config: IngestConfig) -> Iterator[Block]:
    """The interactions: drawn as a whole, 17 bytes a row and 8 for their order, and named block by block."""
    world = draw_world(config.users_count, config.items_count, config.seed)
    for rows in draw_interactions(world, config.rows, config.seed):
        yield Block(rows, UNREAD.empty_table())


def draw_log(rows: int, users_count: int, items_count: int, seed: int) -> dict[TableName, pa.Table]:
    """The three tables; equal arguments give equal tables."""
    world = draw_world(users_count, items_count, seed)
    return {
        "interactions": pa.concat_tables(draw_interactions(world, rows, seed)).cast(INTERACTIONS),
        "users": draw_users(world, seed),
        "items": draw_items(world, seed),
    }


def draw_world(users_count: int, items_count: int, seed: int) -> World:
    rng = _stream(seed, "world")
    n_clusters = int(np.clip(items_count // ITEMS_A_CLUSTER, min(3, items_count), len(GENRES)))
    cluster_I = rng.permutation(np.arange(items_count) % n_clusters)
    # A random order within each cluster is its order of popularity: an item's number says nothing.
    order_I = np.lexsort((rng.random(items_count), cluster_I))
    size_T = np.bincount(cluster_I, minlength=n_clusters)
    level_T = 1 / np.arange(1, n_clusters + 1) ** 0.5
    tastes_U3 = _distinct_tastes(users_count, level_T, rng)
    n_tastes_U = np.minimum(rng.integers(1, 4, size=users_count), n_clusters)
    return World(
        cluster_I=cluster_I,
        order_I=order_I,
        start_T=np.concatenate([[0], np.cumsum(size_T)[:-1]]),
        size_T=size_T,
        level_T=level_T / level_T.sum(),
        phase_T=rng.random(n_clusters),
        tastes_U3=tastes_U3,
        n_tastes_U=n_tastes_U,
        activity_U=rng.lognormal(sigma=ACTIVITY_SPREAD, size=users_count),
        # A third is there from the start, the others arrive over the first nine tenths of the year.
        arrival_U=np.where(rng.random(users_count) < 1 / 3, 0.0, 0.9 * rng.random(users_count)),
    )


def draw_interactions(world: World, rows: int, seed: int) -> Iterator[pa.Table]:
    """INTERACTIONS in the order of time. Users seldom repeat an item unless there are too few items."""
    rng = _stream(seed, "interactions")
    n_users = len(world.activity_U)
    count_U = rng.multinomial(rows, world.activity_U / world.activity_U.sum())
    user = np.empty(rows, np.int32)
    item = np.empty(rows, np.int32)
    second = np.empty(rows, np.int64)
    rating = np.empty(rows, np.int8)
    end_U = np.cumsum(count_U)
    first = 0
    while first < n_users:  # whole users at a time, so that a repeated item is seen
        done = end_U[first] - count_U[first]
        last = max(first + 1, int(np.searchsorted(end_U, done + CHUNK_ROWS)))
        part = slice(done, end_U[last - 1])
        user_N = np.repeat(np.arange(first, last), count_U[first:last])
        time_N = world.arrival_U[user_N] + (1 - world.arrival_U[user_N]) * rng.random(len(user_N))
        user[part] = user_N
        item[part] = item_N = _draw_items_without_repeats(world, user_N, time_N, rng)
        second[part] = END_SECONDS - YEAR_SECONDS + (time_N * YEAR_SECONDS).astype(np.int64)
        rating[part] = _draw_ratings(world, user_N, item_N, rng)
        first = last
    order = np.argsort(second, kind="stable")
    names = _names(n_users), _names(len(world.cluster_I))
    for start in range(0, rows, BLOCK_ROWS):
        here = order[start : start + BLOCK_ROWS]
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(user[here]), names[0]),
            pa.DictionaryArray.from_arrays(pa.array(item[here]), names[1]),
            pa.array(rating[here].astype(np.float64)),
            pa.array(second[here] * 10**6).cast(pa.timestamp("us")).cast(TIME),
            pa.nulls(len(here), STREAMED.field("event").type),
            pa.array(np.arange(start + 1, start + 1 + len(here), dtype=np.int64)),
        ]
        yield pa.table(columns, schema=STREAMED)


def draw_users(world: World, seed: int) -> pa.Table:
    """`segment` follows the first taste four times out of five; `age` leans on it."""
    rng = _stream(seed, "users")
    n_users, n_clusters = len(world.activity_U), len(world.size_T)
    main_U = world.tastes_U3[:, 0]
    segment_U = np.where(rng.random(n_users) < 0.8, main_U, rng.integers(n_clusters, size=n_users))
    age_U = np.clip(np.rint(rng.normal(25 + 35 * main_U / n_clusters, 8)), 14, 90).astype(np.int64)
    return pa.table(
        {
            "user_id": _names(n_users),
            "segment": pa.array([f"likes {genre}" for genre in GENRES[:n_clusters]]).take(pa.array(segment_U)),
            "age": pa.array(age_U).cast(pa.string()),
        }
    )


def draw_items(world: World, seed: int) -> pa.Table:
    """`genres` is the item's cluster."""
    rng = _stream(seed, "items")
    n_items = len(world.cluster_I)
    genre_I = pa.array(GENRES).take(pa.array(world.cluster_I))
    year_I = 2025 - np.minimum(rng.exponential(8, size=n_items).astype(np.int64), 60)
    return pa.table(
        {
            "item_id": _names(n_items),
            "title": pa.compute.binary_join_element_wise(genre_I, _names(n_items), " "),
            "genres": genre_I,
            "year": pa.array(year_I).cast(pa.string()),
        }
    )


def _stream(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, *purpose.encode()])


def _names(n: int) -> pa.Array:
    return pa.array(np.arange(1, n + 1)).cast(pa.string())


def _distinct_tastes(n_users: int, level_T: Floats, rng: np.random.Generator) -> Ints:
    """[U, 3] clusters; popular ones are liked by more users. With fewer than three clusters, tastes repeat."""
    # Ranking exponential draws over weights is a weighted draw without replacement (Efraimidis, Spirakis 2006).
    race_UT = rng.exponential(size=(n_users, len(level_T))) / level_T
    ranked = np.argsort(race_UT, axis=1)[:, :3]  # the shortest first
    return np.pad(ranked, ((0, 0), (0, 3 - ranked.shape[1])), mode="edge").astype(np.int64)


def _draw_items_without_repeats(world: World, user_N: Ints, time_N: Floats, rng: np.random.Generator) -> Ints:
    n_items = len(world.cluster_I)
    item_N = _draw_items(world, user_N, time_N, OWN_TASTE, rng)
    for attempt in range(REDRAWS):
        again = np.ones(len(user_N), bool)
        again[np.unique(user_N * n_items + item_N, return_index=True)[1]] = False
        if not again.any():
            break
        # A user who has had all of a taste looks elsewhere in the end.
        own = OWN_TASTE if attempt < REDRAWS // 2 else 0.0
        item_N[again] = _draw_items(world, user_N[again], time_N[again], own, rng)
    return item_N


def _draw_items(world: World, user_N: Ints, time_N: Floats, own_taste: float, rng: np.random.Generator) -> Ints:
    n = len(user_N)
    share_N3 = TASTE_SHARES[world.n_tastes_U[user_N] - 1]
    slot_N = (rng.random(n)[:, None] > np.cumsum(share_N3, axis=1)[:, :2]).sum(axis=1)
    follows_N = rng.random(n) < own_taste
    cluster_N = np.where(follows_N, world.tastes_U3[user_N, slot_N], _trending(world, time_N, rng))
    # Zipf's law by inverting its continuous distribution: one power a row, whatever the size of the cluster.
    size_N = world.size_T[cluster_N]
    rank_N = ((rng.random(n) * ((size_N + 1.0) ** (1 - TAIL) - 1) + 1) ** (1 / (1 - TAIL))).astype(np.int64) - 1
    return world.order_I[world.start_T[cluster_N] + np.minimum(rank_N, size_N - 1)]


def _trending(world: World, time_N: Floats, rng: np.random.Generator) -> Ints:
    """A cluster for each instant: each one's share swings over the year around its own level."""
    days = 365
    swing_DT = 1 + 0.9 * np.cos(2 * np.pi * (np.arange(days)[:, None] / days - world.phase_T))
    share_DT = world.level_T * swing_DT
    cumulative_DT = np.cumsum(share_DT / share_DT.sum(axis=1, keepdims=True), axis=1)
    day_N = np.minimum((time_N * days).astype(np.int64), days - 1)
    # Adding the day turns 365 distributions into one sorted list, which a single search serves.
    flat = (cumulative_DT + np.arange(days)[:, None]).ravel()
    found_N = np.searchsorted(flat, day_N + rng.random(len(time_N)), side="right")
    cluster_N: Ints = np.minimum(found_N - day_N * len(world.level_T), len(world.level_T) - 1)
    return cluster_N


def _draw_ratings(world: World, user_N: Any, item_N: Any, rng: np.random.Generator) -> Ints:
    """1..5: about 4 for what fits the user's tastes, about 3 for the rest."""
    cluster_N = world.cluster_I[item_N]
    has_N3 = np.arange(3) < world.n_tastes_U[user_N][:, None]
    fits_N = ((world.tastes_U3[user_N] == cluster_N[:, None]) & has_N3).any(axis=1)
    mean_N = np.where(fits_N, 4.1, 2.9)
    return np.clip(np.rint(rng.normal(mean_N, 0.9)), 1, 5).astype(np.int64)
