"""Parquet in and out, and the fingerprint of a table's rows."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import RunFailed


class _HashSink:
    """A writable file that keeps only the sha256 of what was written to it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None: ...
    def close(self) -> None: ...


def fingerprint(table: pa.Table) -> str:
    """sha256 of the rows in their order, whatever the chunks, the file's compression or its metadata."""
    sink = _HashSink()
    for name, column in zip(table.column_names, table.columns, strict=True):
        sink.write(f"{name}\0{len(column)}\0".encode())
        for kind, values in _parts(column):
            part = pa.table([values.combine_chunks()], names=[kind])
            with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), part.schema) as writer:
                writer.write_table(part, max_chunksize=1 << 20)
    return sink.digest.hexdigest()


def _parts(column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """A column without what is no data: memory under a null, the last bits of a bitmap, the name in a list's type."""
    if column.null_count:
        yield "valid", column.is_valid().cast(pa.uint8())
        column = column.drop_null()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield "lengths", pc.list_value_length(column)
        yield from _parts(pc.list_flatten(column))
    elif pa.types.is_boolean(column.type):
        yield "booleans", column.cast(pa.uint8())
    else:
        yield "values", column


def write_table(path: Path, table: pa.Table, schema: pa.Schema | None = None) -> None:
    """Writes a table, cast to its schema. Raises pyarrow.ArrowInvalid where it does not fit."""
    if schema is not None:
        table = table.select(schema.names).cast(schema)
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a table that we wrote. Raises RunFailed, with what to delete, where it is damaged."""
    try:
        # without partitioning: a folder such as run=3 on the way to the file must not become a column
        return pq.read_table(path, columns=list(columns) if columns is not None else None, partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise RunFailed(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            f"delete the folder {path.parent} and run again: the step that made it runs anew",
        ) from error
