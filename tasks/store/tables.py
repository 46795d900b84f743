"""Parquet in and out, and the fingerprint of a table's rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
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
    for field, column in zip(table.schema, table.columns, strict=True):
        sink.write(f"{field.name}\0{field.type}\0{len(column)}\0{column.null_count}\0".encode())
        # What lies in memory under a null, and in the last byte of a bitmap, is not data: nulls go apart, bits as bytes.
        for values in ([column.is_valid()] if column.null_count else []) + [column.drop_null()]:
            plain = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
            part = pa.table([plain.combine_chunks()], names=[""])
            with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), part.schema) as writer:
                writer.write_table(part, max_chunksize=1 << 20)
    return sink.digest.hexdigest()


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
