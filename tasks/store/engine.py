"""DuckDB over our Parquet files: sort, join and group more rows than fit in memory, within the memory that is set.

The only file that imports it. Text in SQL goes through `literal` and `quoted`; nothing from outside is pasted.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.errors import RunFailed
from tasks.store.atomic import scratch_folder
from tasks.store.refs import DatasetRef
from tasks.store.sink import ROW_GROUP
from tasks.store.store import Store

if TYPE_CHECKING:
    import duckdb

# It is imported where it is used: then a step that finds its work done does not wait for it, and nothing of ours keeps
# it alive when Python ends, which it would report as a leak.

SHARE = 0.6
"""Of the memory that is set: DuckDB counts only its own buffers, and Python with its libraries lives beside it."""


@dataclass(frozen=True)
class Engine:
    """One connection. Views and tables made on it are gone with it."""

    store: Store
    connection: "duckdb.DuckDBPyConnection"

    def run(self, sql: str) -> None:
        """Runs a statement that returns nothing."""
        with _explained():
            self.connection.execute(sql)

    def table(self, sql: str) -> pa.Table:
        """A small result, whole."""
        with _explained():
            return self.connection.sql(sql).to_arrow_table()

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a result."""
        with _explained():
            (row,) = self.connection.execute(sql).fetchall()  # all: an unfinished result would block the next query
        return tuple(row)

    def blocks(self, sql: str, rows: int = ROW_GROUP) -> Iterator[pa.RecordBatch]:
        """A large result, block by block. Nothing else may run on this engine until it is read to its end."""
        with _explained():
            reader: pa.RecordBatchReader = self.connection.sql(sql).to_arrow_reader(rows)
            yield from reader

    def put(self, name: str, table: pa.Table) -> None:
        """Makes a table of DuckDB's own of an Arrow table: larger than memory is fine once it is there."""
        with _explained():
            self.connection.register("handed_over", table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS SELECT * FROM handed_over")
            self.connection.unregister("handed_over")

    def rows(self, refs: Sequence[DatasetRef]) -> str:
        """What to write behind FROM for the rows of these files; `file_row_number` and `file_index` (from 0, in the
        order of the refs) say where each one stands."""
        return parquet((self.store.path(ref.path) for ref in refs), numbered=True)


@contextmanager
def engine(store: Store, threads: int | None = None) -> Iterator[Engine]:
    """An engine within `store.memory_bytes`; what does not fit goes to a scratch folder beside the data."""
    import duckdb

    with scratch_folder(store.path("scratch")) as folder:
        settings: dict[str, Any] = {
            "memory_limit": f"{int(SHARE * store.memory_bytes)}B",
            "temp_directory": str(folder),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if threads is not None:
            settings["threads"] = threads
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET TimeZone='UTC'")
            yield Engine(store, connection)


def literal(value: str | float | int | None) -> str:
    """A constant in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value) if isinstance(value, int) else f"'{value!r}'::DOUBLE"  # 0.1 alone would be a decimal


def parquet(paths: Iterable[Path], numbered: bool = False) -> str:
    """What to write behind FROM for the rows of these files, also where a name looks like a pattern or a partition.

    `numbered` adds the column `file_row_number`, from 0 in each file."""
    files = ", ".join(literal(re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", str(path))) for path in paths)
    number = ", file_row_number=true" if numbered else ""
    return f"read_parquet([{files}]{number}, hive_partitioning=false, union_by_name=true)"


def quoted(name: str) -> str:
    """A name of a column or table in SQL."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _explained() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        told = f"the data does not pass through the memory that is set: {str(error).splitlines()[0]}"
        raise RunFailed(told, "raise --memory_gb") from error
    except duckdb.Error as error:
        # A damaged file is told in any of these; the other kinds are faults in our SQL.
        about_files = isinstance(error, duckdb.OperationalError | duckdb.InvalidInputException)
        if not about_files and type(error) is not duckdb.Error:
            raise
        raise RunFailed(f"DuckDB could not read or write: {str(error).splitlines()[0]}", "check the disk") from error
