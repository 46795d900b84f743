"""All columns of a text file as Parquet, for the time of one look: then every question is one query."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def as_parquet(tables: Iterable[pa.Table], folder: Path, stem: str) -> list[Path]:
    """Writes the tables below `folder`, one file for each set of columns and types among them; none for no rows."""
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        paths: list[Path] = []
        for table in tables:
            if not table.num_rows:
                continue
            told = str(table.schema)
            if told not in writers:
                paths.append(folder / f"{stem}-{len(paths)}.parquet")
                writers[told] = stack.enter_context(pq.ParquetWriter(paths[-1], table.schema, compression="lz4"))
            writers[told].write_table(table)
        return paths
