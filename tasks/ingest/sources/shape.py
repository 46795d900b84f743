"""From a file's own columns to our tables."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, DataRefused
from tasks.ingest.sources import cells
from tasks.schema import STAGED_INTERACTIONS, TIME

T = TypeVar("T")


def interactions(raw: pa.Table, mapping: Mapping[str, str], label: str = "the log") -> pa.Table:
    """STAGED_INTERACTIONS; `mapping` is ours: theirs. Raises ConfigError where a column's type does not fit."""
    n_rows = raw.num_rows
    rating, bad_rating = _optional(raw, mapping, "rating", cells.ratings, label)
    timestamp, bad_timestamp = _optional(raw, mapping, "timestamp", cells.timestamps, label)
    columns = [
        _as(cells.id_text, raw[mapping["user_id"]], "user_id", label),
        _as(cells.id_text, raw[mapping["item_id"]], "item_id", label),
        rating if rating is not None else pa.nulls(n_rows, pa.float64()),
        timestamp if timestamp is not None else pa.nulls(n_rows, TIME),
        pa.array(np.arange(1, n_rows + 1, dtype=np.int64)),
        cells.unparsed(bad_rating, bad_timestamp, n_rows),
    ]
    return pa.table(columns, schema=STAGED_INTERACTIONS)


def features(raw: pa.Table, mapping: Mapping[str, str], label: str = "the features") -> pa.Table:
    """The columns of `mapping` (ours: theirs), all as text, null where empty; the first is the id."""
    id_name = next(iter(mapping))
    converted = {
        ours: _as(cells.id_text if ours == id_name else cells.text, raw[theirs], ours, label)
        for ours, theirs in mapping.items()
    }
    return pa.table(converted)


def _as(convert: Callable[[pa.ChunkedArray], T], column: pa.ChunkedArray, field: str, label: str) -> T:
    try:
        return convert(column)
    except (cells.UnsupportedTypeError, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"the column for {field} in {label} holds {column.type}, which cannot be a {field}",
            "map another column with ingest.columns, or write this one as text or numbers",
        ) from error
    except pa.ArrowInvalid as error:
        raise DataRefused(f"the column for {field} in {label} cannot be read: {str(error).splitlines()[0]}") from error


def _optional(
    raw: pa.Table,
    mapping: Mapping[str, str],
    field: str,
    convert: Callable[[pa.ChunkedArray], tuple[pa.ChunkedArray, pa.ChunkedArray]],
    label: str,
) -> tuple[pa.ChunkedArray | None, pa.ChunkedArray | None]:
    return _as(convert, raw[mapping[field]], field, label) if field in mapping else (None, None)
