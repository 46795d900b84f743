"""Refused rows on their way out, for a person to mend, and back."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from tasks.errors import ConfigError, DataRefused
from tasks.quarantine.rows import CELLS
from tasks.schema import INTERACTIONS
from tasks.store.atomic import new_file
from tasks.store.engine import Engine, literal
from tasks.store.tables import fingerprint, write_table

FORMATS = {".csv": "CSV, HEADER", ".jsonl": "JSON", ".parquet": "PARQUET"}
MENDED = pa.schema(
    [*(field for field in INTERACTIONS if field.name != "source_row"), pa.field("quarantine_id", pa.string())]
)
"""Mended rows as they wait for the next night."""


def check_name(path: str, option: str) -> None:
    """Raises ConfigError for a file of another kind."""
    if Path(path).suffix not in FORMATS:
        raise ConfigError(f"{option}: {path} is no {', '.join(FORMATS)} file", f"write --{option}=FILE.csv")


def export(engine: Engine, path: str) -> int:
    """Writes the rows of the view `refused` that were not taken in yet; returns how many. Streams."""
    cells = ", ".join(f"json_extract_string(row, '$.{name}') AS {name}" for name in CELLS)
    rows = (
        f"SELECT id AS quarantine_id, source, source_row, reason, {cells} FROM refused WHERE NOT taken "
        "ORDER BY source, source_row"
    )
    target = Path(path).expanduser().absolute()
    with new_file(target) as temporary:
        engine.run(f"COPY ({rows}) TO {literal(str(temporary))} (FORMAT {FORMATS[target.suffix]})")
    return int(engine.one("SELECT count(*) FROM refused WHERE NOT taken")[0])


def read_mended(path: str) -> pa.Table:
    """The rows of an exported file that somebody has mended: every cell as text, by our names, and `quarantine_id`.

    Raises ConfigError where there is no such file or column, DataRefused where it cannot be read."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"take: {path} does not exist", "name a file that --export wrote")
    try:
        table = _read(file)
        columns = {name: table[name].cast(pa.string()) for name in table.column_names}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataRefused(f"{path} cannot be read: {str(error).splitlines()[0]}", "export the rows again") from error
    if missing := [name for name in ("quarantine_id", "user_id", "item_id") if name not in columns]:
        raise ConfigError(f"take: {path} has no column {missing[0]}", "keep the columns as --export wrote them")
    wanted = [name for name in ("quarantine_id", *INTERACTIONS.names) if name in columns and name != "source_row"]
    return pa.table({name: pc.if_else(pc.equal(columns[name], ""), None, columns[name]) for name in wanted})


def check_ids(engine: Engine, mended: pa.Table, path: str) -> None:
    """Raises DataRefused where a row is none that waits in quarantine: unknown, there twice, or taken in already."""
    ids = mended["quarantine_id"].to_pylist()
    if doubled := [one for one, n in Counter(ids).items() if n > 1]:
        raise DataRefused(f"{path}: quarantine_id {doubled[0]} is there twice", "keep each row once")
    engine.put("mended", mended.select(["quarantine_id"]))
    states = "SELECT m.quarantine_id AS id, r.taken FROM mended AS m LEFT JOIN refused AS r ON r.id = m.quarantine_id"
    unknown, taken = (
        engine.table(f"SELECT id FROM ({states}) WHERE {condition} ORDER BY id").column("id").to_pylist()
        for condition in ("taken IS NULL", "taken")
    )
    if unknown:
        raise DataRefused(
            f"{path}: {_rows(unknown)} not in quarantine, by a quarantine_id such as {unknown[0]}", "export them again"
        )
    if taken:
        raise DataRefused(
            f"{path}: {_rows(taken, 'was', 'were')} taken in before, such as {taken[0]}", "leave them out"
        )


def _rows(ids: list[str], one: str = "is", more: str = "are") -> str:
    return f"1 row {one}" if len(ids) == 1 else f"{len(ids):,} rows {more}"


def place_of(dataset: str, rows: pa.Table) -> str:
    """Where these rows (MENDED) wait for the next night: equal rows have one place."""
    return f"mended/{dataset}/{fingerprint(rows)[:16]}.parquet"


def keep(engine: Engine, place: str, rows: pa.Table) -> None:
    """Lets the rows wait there. From then on they count as taken in."""
    with new_file(engine.store.path(place)) as temporary:
        write_table(temporary, rows, MENDED)


def _read(file: Path) -> pa.Table:
    match file.suffix:
        case ".parquet":
            return pq.read_table(file, partitioning=None)
        case ".jsonl":
            return pa_json.read_json(file)
        case _:
            header = file.open(encoding="utf-8-sig").readline()
            text = {name.strip().strip('"'): pa.string() for name in header.split(",")}
            return pc_csv.read_csv(file, convert_options=pc_csv.ConvertOptions(column_types=text))
