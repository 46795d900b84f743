"""Exact duplicates: rows whose user, item, rating, time and event are those of an earlier row, in whatever file.

A hash of each row narrows the search to the few rows that share one, and only these are compared: exact, since equal
rows have equal hashes, and within the memory that is set, since DuckDB groups the hashes over the disk where it must.
"""

from collections.abc import Collection

from tasks.store.engine import Engine

SAME = ("user_id", "item_id", "rating", "timestamp", "event")
"""Two rows that agree in these are one; nulls agree, and so do 0.0 and -0.0."""
_HASH = f"hash({', '.join(SAME)})"


def find_repeats(engine: Engine, rows: str, files: Collection[int]) -> int:
    """Makes the table `repeats` (file, source_row, first_file, is_first): each row of these files that repeats an
    earlier one, the file of the earliest, and whether it is at least its own file's first. Returns how many there are.

    `rows` is a query of file, source_row and the columns that are compared, for these files and all that may share rows
    with them. Lower file numbers are earlier, and within a file lower source rows.
    """
    hashes = f"SELECT {_HASH} AS h FROM ({rows})"
    engine.run(f"CREATE OR REPLACE TEMP TABLE shared AS SELECT h FROM ({hashes}) GROUP BY h HAVING count(*) > 1")
    suspects = f"SELECT * FROM ({rows}) WHERE {_HASH} IN (SELECT h FROM shared)"
    engine.run(f"CREATE OR REPLACE TEMP TABLE repeats AS {_repeats(suspects, files)}")
    engine.run("DROP TABLE shared")
    return int(engine.one("SELECT count(*) FROM repeats")[0])


def _repeats(suspects: str, files: Collection[int]) -> str:
    same, numbers = ", ".join(SAME), ", ".join(map(str, sorted(files))) or "NULL"
    in_order = f"OVER (PARTITION BY {same} ORDER BY file, source_row)"
    placed = (
        f"SELECT file, source_row, first_value(file) {in_order} AS first_file, row_number() {in_order} AS place, "
        f"row_number() OVER (PARTITION BY file, {same} ORDER BY source_row) = 1 AS is_first FROM ({suspects})"
    )
    return f"SELECT file, source_row, first_file, is_first FROM ({placed}) WHERE place > 1 AND file IN ({numbers})"
