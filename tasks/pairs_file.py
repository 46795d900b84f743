"""Reads the user's small files of pairs: test rows, validation rows, candidates."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.errors import ConfigError, DataRefused

TABLE = "a Parquet or CSV file"


def read_pairs(path: str, option: str, columns: Sequence[str] = ("user_id", "item_id")) -> pa.Table:
    """The named columns as text, from Parquet or CSV.

    Raises ConfigError where the file or a column is missing, DataRefused where it cannot be read or is empty;
    `option` is the configuration field that names the file.
    """
    file = _existing(path, option)
    try:
        table = pq.read_table(file, partitioning=None) if _is_parquet(file) else _read_csv(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataRefused(f"{path} cannot be read: {str(error).splitlines()[0]}", "write the file again") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ConfigError(
            f"{option}: {path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}",
            f"name the columns {', '.join(columns)}",
        )
    table = pa.table({name: table[name].cast(pa.string()) for name in columns})
    if not table.num_rows:
        raise DataRefused(f"{path} is empty", f"set {option} to a file with rows")
    empty = [name for name in columns if table[name].null_count or pc.any(pc.equal(table[name], "")).as_py()]
    if empty:
        raise DataRefused(f"{path} has rows without {', '.join(empty)}", "fill or remove them")
    return table


def read_candidates(path: str) -> pa.Table:
    """user_id, item_id as text and `relevant` as booleans (true/false or 1/0 in the file)."""
    table = read_pairs(path, "evaluate.candidates", ("user_id", "item_id", "relevant"))
    try:
        flags = table["relevant"].cast(pa.bool_())
    except pa.ArrowInvalid as error:
        raise DataRefused(f"{path}: the column relevant must hold true and false, or 1 and 0", str(error)) from error
    if not pc.any(flags).as_py():
        raise DataRefused(f"{path}: no row is relevant", "mark what the users took with relevant = true")
    return table.set_column(2, "relevant", flags)


def content_hash(path: str | None, option: str, what: str = TABLE) -> str | None:
    """sha256 of a file that the user names, so that its content and not its name is part of a key.

    None where the option is not set. Raises ConfigError where there is no such file.
    """
    if path is None:
        return None
    with _existing(path, option, what).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(path: str, option: str, what: str = TABLE) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"{option}: no such file: {path}", f"set {option} to {what}")
    return file


def _is_parquet(file: Path) -> bool:
    with file.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def _read_csv(file: Path) -> pa.Table:
    with file.open("rb") as handle:
        header = handle.readline().decode("utf-8-sig", errors="replace").strip()
    if not header:
        raise DataRefused(f"{file} is empty", "write the file again")
    delimiter = "\t" if "\t" in header else ";" if ";" in header else ","
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    return pyarrow.csv.read_csv(
        file,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
