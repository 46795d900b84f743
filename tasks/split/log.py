"""The log of a snapshot, sorted by DuckDB: user by user, each user's rows oldest first, in blocks of whole users.

R rows of a block
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataRefused
from tasks.ids import as_typed_ids
from tasks.split.config import Positives
from tasks.split.parts import Block
from tasks.store.engine import Engine, literal
from tasks.store.refs import DatasetRef

BLOCK_ROWS = 1 << 20
"""Rows of a block, before it is cut where a user ends. Without influence on any result."""
FILE_BITS = 40
"""File and row as one number, which orders ties in time: every column of an order costs in the sort. Rows of a file are
fewer than 2 to this power, files than the rest of 63 bits holds."""


@dataclass(frozen=True)
class Log:
    """The positive rows, and those rated too low beside them. The rows themselves stay with the engine."""

    engine: Engine
    user_ids: pa.Array  # of the positive rows, ascending; a user's code is the position here
    item_ids: pa.Array
    rows: int  # positive ones
    is_timed: bool  # every row has a timestamp; else no timestamp is used
    columns: tuple[str, ...]  # beside ids and time, those that are not the same in all rows: each costs in the sort

    def blocks(self) -> Iterator[Block]:
        """All rows, once and in order. Nothing else may run on the engine meanwhile."""
        time = ["epoch_us(timestamp) AS time"] if self.is_timed else []
        columns = ["u.code AS user_code", "i.code AS item_code", *time, *self.columns]
        order = ["user_code", *(["time"] if self.is_timed else []), "number"]
        batches = self.engine.blocks(
            f"SELECT {', '.join(columns)} FROM log JOIN user_codes u USING (user_id) JOIN item_codes i USING (item_id) "
            f"ORDER BY {', '.join(order)}",
            BLOCK_ROWS,
        )
        place = 0
        for table in whole_users(batches):
            yield _block(table, place)
            place += table.num_rows


def open_log(
    engine: Engine,
    refs: tuple[DatasetRef, ...],
    positives: Positives,
    judged: pa.Table | None = None,
    chosen: pa.Table | None = None,
) -> Log:
    """Finds the rows that count and codes their ids.

    `judged` are pairs (user_id, item_id as text) that only judge: the log is without them. Rows of the `chosen` pairs
    are marked. Raises DataRefused where no row counts.
    """
    engine.run(f"CREATE VIEW counted AS {_counted(engine.rows(refs), positives)}")
    n_rows, n_liked, n_timed, n_rated = engine.one(
        "SELECT count(*), count(*) FILTER (liked), count(timestamp), count(rating) FROM counted"
    )
    if not n_liked:
        raise _nothing_counts(positives, n_rows)
    without, mark = "", ""
    if judged is not None:
        engine.put("judged", judged.group_by(["user_id", "item_id"]).aggregate([]))
        without = " ANTI JOIN judged USING (user_id, item_id)"
    if chosen is not None:
        engine.put("chosen_pairs", chosen.group_by(["user_id", "item_id"]).aggregate([]))
        mark = ", EXISTS (FROM chosen_pairs c WHERE c.user_id = p.user_id AND c.item_id = p.item_id) AS chosen"
    engine.run(f"CREATE VIEW log AS SELECT p.*{mark} FROM (FROM counted{without}) p")
    user_ids, item_ids = (_catalogue(engine, column) for column in ("user_id", "item_id"))
    for table, column, ids in (("user_codes", "user_id", user_ids), ("item_codes", "item_id", item_ids)):
        engine.put(table, pa.table({column: ids, "code": np.arange(len(ids), dtype=np.int32)}))
    if judged is not None:
        (n_liked,) = engine.one("SELECT count(*) FROM log WHERE liked")
    columns = {
        "rating": n_rated > 0,
        "weight": bool(positives.events),
        "liked": positives.min_rating is not None,
        "chosen": chosen is not None,
    }
    varying = tuple(name for name, varies in columns.items() if varies)
    return Log(engine, user_ids, item_ids, n_liked, n_timed == n_rows, varying)


def whole_users(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, cut where a user ends."""
    held: list[pa.RecordBatch] = []
    for batch in _short(batches):
        user_R = batch["user_code"].to_numpy()
        n_finished = int(np.searchsorted(user_R, user_R[-1]))
        if n_finished == 0 and held and held[-1]["user_code"][0].as_py() == user_R[0]:
            held.append(batch)  # the user goes on
            continue
        finished = [*held, batch.slice(0, n_finished)]
        if any(one.num_rows for one in finished):
            yield pa.Table.from_batches(finished)
        held = [batch.slice(n_finished)]
    if held:
        yield pa.Table.from_batches(held)


def _short(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            yield batch.slice(start, BLOCK_ROWS)


def _counted(source: str, positives: Positives) -> str:
    """All rows, whether each is a positive, and its weight."""
    liked, weight, only = "TRUE", "1::FLOAT", ""
    if positives.min_rating is not None:
        liked = f"coalesce(rating >= {literal(positives.min_rating)}, FALSE)"
    if positives.events:
        cases = " ".join(f"WHEN {literal(name)} THEN {literal(value)}" for name, value in positives.events.items())
        weight = f"(CASE event {cases} END)::FLOAT"
        only = f" WHERE event IN ({', '.join(map(literal, positives.events))})"
    columns = f"user_id, item_id, timestamp, rating, (file_index::BIGINT << {FILE_BITS}) + source_row AS number"
    return f"SELECT {columns}, {liked} AS liked, {weight} AS weight FROM {source}{only}"


def _nothing_counts(positives: Positives, n_rows: int) -> DataRefused:
    if positives.events and not n_rows:
        names = ", ".join(positives.events)
        return DataRefused(f"no row is an event of the kind {names}", "name the log's own kinds in ingest.events")
    if positives.min_rating is not None:
        return DataRefused(f"no row is rated {positives.min_rating} or higher", "lower ingest.min_rating")
    return DataRefused("the log has no row", "check ingest.interactions")


def _catalogue(engine: Engine, column: str) -> pa.Array:
    """The distinct ids: integers by value, text by code point. This order breaks ties in score everywhere."""
    distinct = engine.table(f"SELECT {column} FROM log WHERE liked GROUP BY {column}")[column].combine_chunks()
    distinct = distinct.cast(pa.string())
    return distinct.take(pc.sort_indices(as_typed_ids(distinct)))


def _block(table: pa.Table, place: int) -> Block:
    column: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    n = table.num_rows
    return Block(
        users_R=column["user_code"],
        items_R=column["item_code"],
        time_R=column.get("time"),
        rating_R=column.get("rating"),
        weight_R=column.get("weight", np.ones(n, dtype=np.float32)),
        place_R=np.arange(place, place + n),
        liked_R=column.get("liked", np.ones(n, dtype=bool)),
        chosen_R=column.get("chosen"),
    )
