"""A Parquet file written a block at a time: never more than one row group in memory, and the fingerprint on the way."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.tables import Fingerprint

ROW_GROUP = 1 << 20
"""Rows: large enough that a dictionary pays, small enough that one row group of every open file fits in memory."""
DICTIONARY_BYTES = 32 << 20
"""Of a column and row group. Arrow's own limit of 1 MB would write the ids of a large catalogue out in full."""


def write_blocks(path: Path, blocks: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema) -> tuple[int, str]:
    """Writes the blocks in their order, in row groups of one size whatever the blocks' sizes; returns the rows and
    their fingerprint.

    Text may come as dictionaries, which are written as they are. Raises pyarrow.ArrowInvalid where a block does not
    fit.
    """
    digest, rows, sink = Fingerprint(schema.names), 0, None
    try:
        for group in _row_groups(blocks):
            fitted = _fitted(group, schema)
            digest.update(fitted)
            if sink is None:
                sink = _open(path, fitted.schema)
            sink.write_table(fitted.cast(sink.schema), row_group_size=ROW_GROUP)
            rows += fitted.num_rows
        if sink is None:
            sink = _open(path, schema)
    finally:
        if sink is not None:
            sink.close()
    return rows, digest.hexdigest()


def _row_groups(blocks: Iterable[pa.Table | pa.RecordBatch]) -> Iterable[pa.Table]:
    held: list[pa.Table] = []
    n_held = 0
    for block in blocks:
        table = pa.Table.from_batches([block]) if isinstance(block, pa.RecordBatch) else block
        while table.num_rows:
            part = table.slice(0, ROW_GROUP - n_held)
            table = table.slice(part.num_rows)
            held.append(part)
            n_held += part.num_rows
            if n_held == ROW_GROUP:
                yield pa.concat_tables(held)
                held, n_held = [], 0
    if held:
        yield pa.concat_tables(held)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """In the types of the schema, but for dictionaries of them, which stay; one dictionary a column."""
    table = table.select(schema.names)
    fields = [
        pa.field(field.name, pa.dictionary(pa.int32(), field.type), field.nullable)
        if pa.types.is_dictionary(column.type)
        else field
        for field, column in zip(schema, table.columns, strict=True)
    ]
    table = table.cast(pa.schema(fields)).unify_dictionaries()
    return pa.table([_without_unused(column) for column in table.columns], schema=table.schema)


def _without_unused(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary would be written whole: of rows that were left out, of an erased person too, the text would stay."""
    if not pa.types.is_dictionary(column.type) or not column.num_chunks:
        return column
    dictionary = column.chunk(0).dictionary
    is_used_N = np.zeros(len(dictionary), dtype=bool)
    for chunk in column.chunks:
        is_used_N[chunk.indices.drop_null().to_numpy()] = True
    if is_used_N.all():
        return column
    place_N, kept = (
        pa.array(np.cumsum(is_used_N, dtype=np.int32) - 1, pa.int32()),
        dictionary.filter(pa.array(is_used_N)),
    )
    chunks = [pa.DictionaryArray.from_arrays(place_N.take(chunk.indices), kept) for chunk in column.chunks]
    return pa.chunked_array(chunks, column.type)


def _open(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Ids and ratings by dictionary, instants and row numbers by difference: half the size of the plain values."""
    by_difference = {f.name: "DELTA_BINARY_PACKED" for f in schema if _counts(f.type)}
    flat = [f.name for f in schema if not pa.types.is_nested(f.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[name for name in flat if name not in by_difference],
        column_encoding=by_difference or None,
        dictionary_pagesize_limit=DICTIONARY_BYTES,
        store_schema=False,  # else text that came as a dictionary would be one for every reader
    )


def _counts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_int64(kind))
