"""Columns and types of every table: the data contract. A table that does not fit its schema is never written.

Ids are text up to the split, exactly as they came; the split's `users` and `items` tables then hold them as integers
where every value round-trips.
"""

import pyarrow as pa

ID = pa.string()
TIME = pa.timestamp("us", tz="UTC")

INTERACTIONS = pa.schema(
    [
        pa.field("user_id", ID),
        pa.field("item_id", ID),
        pa.field("rating", pa.float64()),  # null where the source has none
        pa.field("timestamp", TIME),  # null where the source has none
        pa.field("source_row", pa.int64(), nullable=False),  # from 1, the header not counted: the order within a file
    ]
)
"""Accepted interactions, one partition per source file."""

STAGED_INTERACTIONS = INTERACTIONS.append(pa.field("unparsed", pa.string()))
"""As parsed, not yet accepted; `unparsed` names a cell that could not be read, such as `timestamp='yesterday'`."""

SPLIT_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("item_idx", pa.int32(), nullable=False),
        pa.field("timestamp", TIME),
        pa.field("rating", pa.float64()),
        pa.field("place", pa.int64(), nullable=False),  # in the order of the whole log
    ]
)
"""Training and validation rows, in the order of time (ties: file, then row)."""

RATED_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),
        pa.field("item_idx", pa.int32(), nullable=False),
        pa.field("before_test", pa.bool_(), nullable=False),  # earlier than the user's first test row
    ]
)
"""Rows that are no positives (rated below ingest.min_rating): never trained on or judged by, but not shown again."""

TEST_ROWS = pa.schema(
    [
        pa.field("user_idx", pa.int32(), nullable=False),  # -1: a user with no row before the test
        pa.field("item_idx", pa.int32(), nullable=False),  # -1: an item with no row before the test
        pa.field("user_id", ID, nullable=False),
        pa.field("item_id", ID, nullable=False),
        pa.field("timestamp", TIME),
        pa.field("place", pa.int64()),  # in the order of the whole log; null for rows that were not ingested
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

PER_USER = pa.schema(
    [
        pa.field("user_id", ID, nullable=False),
        pa.field("n_relevant", pa.int32(), nullable=False),
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
            pa.field("reason", pa.string(), nullable=False),  # model | fallback
        ]
    )
