"""Columns and types of every table: the data contract. A table that does not fit its schema is never written.

Ids are text up to the split, exactly as they came; the split's `users` and `items` tables then hold them as integers
where every value round-trips.
"""

from collections.abc import Iterable

import pyarrow as pa

ID = pa.string()
TIME = pa.timestamp("us", tz="UTC")

INTERACTIONS = pa.schema(
    [
        pa.field("user_id", ID),
        pa.field("item_id", ID),
        pa.field("rating", pa.float64()),  # null where the source has none
        pa.field("timestamp", TIME),  # null where the source has none
        pa.field("event", pa.string()),  # such as view, cart, purchase; null where the source has none
        pa.field("source_row", pa.int64(), nullable=False),  # from 1, the header not counted: the order within a file
    ]
)
"""Interactions, one partition per source file: staged where every cell of them could be read, and in the lake."""

UNREAD = pa.schema(
    [
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),  # such as `timestamp='yesterday'`, or `3 cells, not 4`
        pa.field("row", pa.string(), nullable=False),  # as it came: JSON of the cells by our names, or {"line": ...}
    ]
)
"""Staged rows that could not be read."""

QUARANTINE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # the file as a person calls it
        pa.field("sha256", pa.string(), nullable=False),  # of the file's content
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # the sentence of the expectation, or the problem of UNREAD
        pa.field("row", pa.string(), nullable=False),  # as in UNREAD
        pa.field("night", TIME, nullable=False),
    ]
)
"""Refused rows. Nothing that came in is lost."""

ID_COUNTS = pa.schema([pa.field("id", ID, nullable=False), pa.field("rows", pa.int64(), nullable=False)])
"""How many rows of a partition each user, or each item, has; beside the partition as `user_counts`, `item_counts`."""

SPLIT_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("item_idx", pa.int32(), nullable=False),
        pa.field("timestamp", TIME),
        pa.field("rating", pa.float64()),
        pa.field("weight", pa.float32(), nullable=False),  # of the event, by ingest.events; 1 without
        pa.field("place", pa.int64(), nullable=False),  # in the order of user, time, file and row
    ]
)
"""Training and validation rows, user by user in index order, a user's in the order of time (ties: file, then row)."""

RATED_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("item_idx", pa.int32(), nullable=False),
        pa.field("before_test", pa.bool_(), nullable=False),  # earlier than the user's first test row, or left out
        pa.field("place", pa.int64(), nullable=False),  # as in SPLIT_ROWS
    ]
)
"""Rows that are never trained on or judged by, but not shown again: no positives (rated below ingest.min_rating), and
those that split.min_user_rows, min_item_rows and k_core leave out."""

TEST_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),  # -1: a user with no row before the test
        pa.field("item_idx", pa.int32(), nullable=False),  # -1: an item with no row before the test
        pa.field("user_id", ID, nullable=False),
        pa.field("item_id", ID, nullable=False),
        pa.field("timestamp", TIME),
        pa.field("place", pa.int64()),  # as in SPLIT_ROWS; null for rows that were not ingested
    ]
)
"""Test rows. Raw ids too, because the test may hold users and items that nothing before it knew."""

CANDIDATES = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("item_idx", pa.int32(), nullable=False),
        pa.field("user_id", ID, nullable=False),
        pa.field("item_id", ID, nullable=False),
        pa.field("relevant", pa.bool_(), nullable=False),
    ]
)
"""The items that a sampled evaluation ranks for each user."""

HISTORIES = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("items", pa.list_(pa.int32()), nullable=False),
    ]
)
"""Each user's items, oldest first; one row per user in index order."""

HISTORY_WEIGHTS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("weights", pa.list_(pa.float32()), nullable=False),
    ]
)
"""What each row of a histories file weighs, in the same order: beside it, where events have weights."""

FEATURE = b"encore:feature"
"""In the metadata of a column of `windows`: the feature's own name, where that is another column's too."""


def windows(features: Iterable[str]) -> pa.Schema:
    """Rows that models of histories learn from, and with label 0 items beside each that its user has not taken: user by
    user, oldest first. Items, users and features are as indices and codes (0: unknown); ids are in the split's tables.
    """
    columns = {
        "user": pa.int32(),
        "target": pa.int32(),
        "label": pa.int32(),  # 1: it was taken; 0: stored negatives of the row with label 1 before them
        "history": pa.list_(pa.field("element", pa.int32(), nullable=False)),  # what preceded it, the newest last
        "history_length": pa.int32(),
    }
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    for name in features:
        stored = f"feature_{name}" if name in columns else name
        fields.append(pa.field(stored, pa.int32(), nullable=False, metadata={FEATURE: name.encode()}))
    return pa.schema(fields)


PER_USER = pa.schema(
    [
        pa.field("user_id", ID, nullable=False),
        pa.field("n_relevant", pa.int32(), nullable=False),
        pa.field("history_length", pa.int32(), nullable=False),  # items before the test
    ]
)
"""One row per test user; one float64 column per metric stands behind these."""


def recommendations(user_id: pa.DataType, item_id: pa.DataType) -> pa.Schema:
    """The published table. Ids have the type that the dataset's raw ids have."""
    return pa.schema(
        [
            pa.field("user_id", user_id, nullable=False),
            pa.field("rank", pa.int32(), nullable=False),  # from 1
            pa.field("item_id", item_id, nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field("model_version", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),  # model | fold-in | features | segment | fallback
        ]
    )
