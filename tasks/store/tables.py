"""Parquet in and out, and the fingerprint of a table's rows."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import RunFailed

BLOCK_ROWS = 1 << 20
"""Rows that are hashed together. A part of every fingerprint: another number gives other ones."""


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


class Fingerprint:
    """sha256 of rows in their order, whatever the blocks they come in, the file's compression or its metadata.

    Rows are hashed column by column in blocks of one size, so that a table of any length passes through in one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._digest = hashlib.sha256("\0".join(names).encode())
        self._held: list[pa.Table] = []
        self._n_held = 0

    def update(self, table: pa.Table) -> None:
        while table.num_rows:
            part = table.slice(0, BLOCK_ROWS - self._n_held)
            table = table.slice(part.num_rows)
            self._held.append(part)
            self._n_held += part.num_rows
            if self._n_held == BLOCK_ROWS:
                self._hash_block()

    def hexdigest(self) -> str:
        if self._held:
            self._hash_block()
        return self._digest.hexdigest()

    def _hash_block(self) -> None:
        self._digest.update(_block_digest(pa.concat_tables(self._held)))
        self._held, self._n_held = [], 0


def fingerprint(table: pa.Table) -> str:
    """sha256 of the rows in their order, as `Fingerprint`."""
    digest = Fingerprint(table.column_names)
    digest.update(table)
    return digest.hexdigest()


def _block_digest(table: pa.Table) -> bytes:
    sink = _HashSink()
    for name, column in zip(table.column_names, table.columns, strict=True):
        sink.write(f"{name}\0{len(column)}\0".encode())
        for kind, values in _parts(column):
            part = pa.table([values.combine_chunks()], names=[kind])
            with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), part.schema) as writer:
                writer.write_table(part)
    return sink.digest.digest()


def _parts(column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """A column without what is no data: memory under a null, the last bits of a bitmap, the name in a list's type."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
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


def read_blocks(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A table that we wrote, a row group at a time, its text as dictionaries. Raises RunFailed where it is damaged."""
    with damage_told(path), pq.ParquetFile(path) as plain:
        text = [field.name for field in plain.schema_arrow if pa.types.is_string(field.type)]
    with damage_told(path), pq.ParquetFile(path, read_dictionary=text) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=list(columns) if columns is not None else None)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a table that we wrote. Raises RunFailed, with what to delete, where it is damaged."""
    with damage_told(path):
        # without partitioning: a folder such as run=3 on the way to the file must not become a column
        return pq.read_table(path, columns=list(columns) if columns is not None else None, partitioning=None)


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Of a file that we wrote: RunFailed, with what to delete, where it cannot be read."""
    try:
        yield
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise RunFailed(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            f"delete the folder {path.parent} and run again: the step that made it runs anew",
        ) from error
