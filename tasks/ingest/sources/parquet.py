"""Parquet, a block of rows at a time, whatever the size of its row groups."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ingest.progress import Progress
from tasks.ingest.sources.base import BLOCK_ROWS, Part
from tasks.schema import UNREAD

BUFFER = 1 << 20  # bytes read at a time of each column: without it Arrow reads a row group's whole columns


def read(path: Path, mapping_of: Callable[[Sequence[str]], Mapping[str, str]]) -> Iterator[Part]:
    """Only the columns that are needed. `mapping_of` the column names gives ours: theirs.

    Raises what Arrow raises for a damaged file."""
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        mapping = mapping_of(names)
        as_words = [name for name in mapping.values() if _is_text(file.schema_arrow.field(name).type)]
        n_rows, n_groups = file.metadata.num_rows, file.num_row_groups
        # Arrow's dictionary of a column grows to the end of a row group, and each block carries all of it.
        if max((file.metadata.row_group(group).num_rows for group in range(n_groups)), default=0) > 2 * BLOCK_ROWS:
            as_words = []
    size = path.stat().st_size
    first = 1
    with (
        pq.ParquetFile(path, read_dictionary=as_words, buffer_size=BUFFER, pre_buffer=False) as file,
        Progress(f"reading {path.name}", size) as progress,
    ):
        for table in _of_a_size(file.iter_batches(BLOCK_ROWS, columns=list(mapping.values()))):
            renamed = table.select(list(mapping.values())).rename_columns(list(mapping))
            yield Part(renamed, np.arange(first, first + table.num_rows), UNREAD.empty_table())
            first += table.num_rows
            progress.advance(size * table.num_rows // n_rows)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _of_a_size(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Small row groups together: the first block tells the unit of the instants, and each one costs a little."""
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += batch.num_rows
        if n_held >= BLOCK_ROWS:
            yield pa.Table.from_batches(held).combine_chunks()
            held, n_held = [], 0
    if n_held:
        yield pa.Table.from_batches(held).combine_chunks()
