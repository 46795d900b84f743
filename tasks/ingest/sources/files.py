"""The user's own files: found, identified, read into our tables."""

import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import ConfigError, DataRefused, EncoreError, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.progress import Progress
from tasks.ingest.sources import delimited, jsonl, shape
from tasks.ingest.sources.base import SourceFile, TableName, hash_file
from tasks.ingest.sources.columns import feature_columns, map_columns, refuse_missing_header
from tasks.ingest.sources.streams import COMPRESSIONS, compression, unpacked

DELIMITED = frozenset((".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".psv", *delimited.UNQUOTED))
JSON_LINES = frozenset((".jsonl", ".ndjson", ".json"))
PARQUET = frozenset((".parquet", ".pq"))


def identify(config: IngestConfig) -> list[SourceFile]:
    """Every file that the configuration names, hashed. Raises ConfigError, RunFailed or DataRefused."""
    tables: tuple[tuple[TableName, tuple[str, ...]], ...] = (
        ("interactions", config.interactions),
        ("users", config.users),
        ("items", config.items),
    )
    return [_identified(table, path) for table, patterns in tables for path in find(patterns)]


def find(patterns: tuple[str, ...]) -> list[Path]:
    """The files behind paths, globs and folders: each once, in the order of the patterns, then by name."""
    found: dict[tuple[int, int], Path] = {}
    for pattern in patterns:
        with _explained(pattern):
            for path in _matching(pattern):
                status = path.stat()
                found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def read(file: SourceFile, config: IngestConfig) -> pa.Table:
    """The file in our columns. Every way in which it can be bad becomes one line that names the file."""
    assert file.path is not None
    with _explained(file.label):
        raw, mapping = _raw(file.path, file.table, config.columns, file.label)
        if _stamp(file.path) != file.stamp:
            raise RunFailed(f"{file.label} changed while it was read", "run again once it is complete")
    if raw.num_rows == 0:
        raise DataRefused(f"{file.label} is empty: it has columns and no rows")
    return (shape.interactions if file.table == "interactions" else shape.features)(raw, mapping, file.label)


def _identified(table: TableName, path: Path) -> SourceFile:
    with _explained(str(path)):
        stamp = _stamp(path)
        if stamp[0] == 0:
            raise DataRefused(f"{path} is empty")
        return SourceFile(table, str(path), hash_file(path), path, stamp)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _matching(pattern: str) -> list[Path]:
    if "://" in pattern:
        raise ConfigError(f"{pattern} is a URL, and only files on this machine are read", "copy it here first")
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = _data_files(path)
    elif path.exists():
        files = [path]
    else:
        files = sorted(match for match in _glob(path) if match.is_file())
    if not files:
        missing = f"no data file in folder: {pattern}" if path.is_dir() else f"no such file: {pattern}"
        raise ConfigError(missing, f"looked in {_nearest_folder(path)}")
    if other := [file for file in files if not file.is_file()]:
        raise ConfigError(f"{other[0]} is not a file", "give a path or glob of files")
    return files


def _glob(path: Path) -> Iterator[Path]:
    anchor = path.anchor or "."
    relative = str(path.relative_to(path.anchor)) if path.anchor else str(path)
    if any(mark in relative for mark in "*?["):
        shows_hidden = path.name.startswith(".")
        yield from (match for match in Path(anchor).glob(relative) if shows_hidden or not match.name.startswith("."))


def _data_files(folder: Path) -> list[Path]:
    """Files with an extension that we read, at any depth. A folder is entered once, so a loop of links ends."""
    entered: set[tuple[int, int]] = set()
    files: list[Path] = []
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        paths = [Path(here, name) for name in names if not name.startswith((".", "_"))]
        files += [path for path in paths if _extension(path) in DELIMITED | JSON_LINES | PARQUET and path.is_file()]
    return sorted(files)


def _raise(error: OSError) -> None:
    raise error


def _nearest_folder(path: Path) -> Path:
    return next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))


def _extension(path: Path) -> str:
    """The extension that tells the format: the one before `.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _raw(path: Path, table: TableName, given: dict[str, str], label: str) -> tuple[pa.Table, dict[str, str]]:
    """The file's columns as they are, and which of them is which of ours (ours: theirs)."""
    packing = compression(path)
    extension = _format(path, packing)
    if extension in PARQUET:
        if packing is not None:
            raise DataRefused(f"{label} is Parquet packed once more", "unpack it: Parquet is compressed inside")
        raw, mapping = _parquet(path, table, given, label)
    elif extension in JSON_LINES:
        raw = jsonl.load(path, packing, label)
        mapping = _mapping(raw.column_names, table, given, label)
    else:
        layout = delimited.layout(path, packing, label)
        refuse_missing_header(layout.names, table, given, label)
        mapping = _mapping(layout.names, table, given, label)
        raw = delimited.load(path, packing, layout, list(mapping.values()), label)
    return raw, mapping


def _mapping(
    names: "tuple[str, ...] | list[str]", table: TableName, given: dict[str, str], label: str
) -> dict[str, str]:
    mapping = map_columns(names, table, given, label)
    chosen = list(mapping.values()) if table == "interactions" else list(names)
    if double := sorted({name for name in chosen if list(names).count(name) > 1}):
        raise ConfigError(f"columns of {label}: {', '.join(names)}; two are called {double[0]}", "rename one of them")
    return mapping if table == "interactions" else feature_columns(names, mapping, label)


def _format(path: Path, packing: str | None) -> str:
    """The extension, or for a name that tells nothing the one that fits the content."""
    extension = _extension(path)
    if extension in DELIMITED | JSON_LINES | PARQUET:
        return extension
    with unpacked(path, packing) as stream:
        head = stream.read(1 << 12)
    if head.startswith(b"PAR1"):
        return ".parquet"
    return ".jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else ".csv"


def _parquet(path: Path, table: TableName, given: dict[str, str], label: str) -> tuple[pa.Table, dict[str, str]]:
    """Only the columns that are needed, one row group after another."""
    with pq.ParquetFile(path) as file, Progress(f"reading {path.name}", path.stat().st_size) as progress:
        names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        mapping = _mapping(names, table, given, label)
        groups = []
        for index in range(file.num_row_groups):
            groups.append(file.read_row_group(index, columns=list(mapping.values())))
            progress.advance(path.stat().st_size // file.num_row_groups)
        return pa.concat_tables(groups) if groups else file.schema_arrow.empty_table(), mapping


@contextmanager
def _explained(label: str) -> Iterator[None]:
    """Says in one line, with the file's name, what the libraries below say in their own ways."""
    try:
        yield
    except EncoreError:
        raise
    except FileNotFoundError as error:
        raise RunFailed(f"{label} vanished while it was read", "run again") from error
    except PermissionError as error:
        raise RunFailed(
            f"no permission to read {error.filename or label}", "give this user the right to read it"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise RunFailed(f"{label} could not be read: {error.strerror}") from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataRefused(f"{label} is damaged or cut short: {reason}") from error
