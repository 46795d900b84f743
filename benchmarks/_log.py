"""A log of any size as one Parquet file, drawn a million rows at a time: skewed users and items, a year of seconds."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = 1 << 20
FIRST_SECOND, SECONDS = 1_700_000_000, 365 * 24 * 3600
SCHEMA = pa.schema(
    [("user_id", pa.int64()), ("item_id", pa.int64()), ("rating", pa.float32()), ("timestamp", pa.int64())]
)


def write_log(path: Path, rows: int, seed: int = 0, begin: float = 0.0, end: float = 1.0) -> None:
    """`rows` rows of the year's part from `begin` to `end`. A hundred rows a user, at most 200,000 items."""
    n_users, n_items = max(100, rows // 100), int(np.clip(rows // 100, 200, 200_000))
    rng = np.random.default_rng([seed, rows])
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as file:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            share_N = (start + np.sort(rng.random(n)) * n) / rows
            columns = [
                (n_users * rng.random(n) ** 2).astype(np.int64) * 7919 % 10_000_019 + 1,
                (n_items * rng.random(n) ** 3).astype(np.int64) + 1,
                rng.integers(1, 6, n).astype(np.float32),
                FIRST_SECOND + ((begin + (end - begin) * share_N) * SECONDS).astype(np.int64),
            ]
            file.write_table(pa.table(columns, schema=SCHEMA))
