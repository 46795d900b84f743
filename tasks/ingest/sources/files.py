"""The user's own files: found, identified, read into our tables."""

import lzma
import os
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from tasks.errors import ConfigError, DataRefused, EncoreError, RunFailed, without_passwords
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import delimited, jsonl, parquet, remote
from tasks.ingest.sources.base import MENDED, Part, SourceFile, TableName, hash_file
from tasks.ingest.sources.columns import feature_columns, map_columns, refuse_missing_header
from tasks.ingest.sources.streams import COMPRESSIONS, compression, unpacked
from tasks.store.store import Store

DELIMITED = frozenset((".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".psv", *delimited.UNQUOTED))
JSON_LINES = frozenset((".jsonl", ".ndjson", ".json"))
PARQUET = frozenset((".parquet", ".pq"))
READ = DELIMITED | JSON_LINES | PARQUET


def identify(config: IngestConfig, store: Store) -> list[SourceFile]:
    """Every file that the configuration names, hashed: each once, in the order of the patterns, then by name.

    Raises ConfigError, RunFailed or DataRefused."""
    tables: tuple[tuple[TableName, tuple[str, ...]], ...] = (
        ("interactions", config.interactions),
        ("users", config.users),
        ("items", config.items),
    )
    return [file for table, patterns in tables for file in _files(table, patterns, config.dataset, store)]


def _files(table: TableName, patterns: tuple[str, ...], dataset: str, store: Store) -> list[SourceFile]:
    found: dict[Hashable, SourceFile] = {}
    for pattern in patterns:
        if pattern.startswith(remote.SCHEME):
            found |= {
                file.label: file
                for file in remote.identify(table, pattern, dataset, store, READ)
                if file.label not in found
            }
            continue
        for place, path in _places(pattern):
            if place not in found:
                found[place] = _identified(table, path)
    return list(found.values())


def find(patterns: tuple[str, ...]) -> list[Path]:
    """The files of this machine behind paths, globs and folders: each once."""
    found: dict[tuple[int, int], Path] = {}
    for pattern in patterns:
        for place, path in _places(pattern):
            found.setdefault(place, path)
    return list(found.values())


def _places(pattern: str) -> list[tuple[tuple[int, int], Path]]:
    """Each file and where it stands on the disk: two names of it are one file."""
    with explained(pattern):
        return [((path.stat().st_dev, path.stat().st_ino), path) for path in _matching(pattern)]


def read(file: SourceFile, given: Mapping[str, str]) -> Iterator[Part]:
    """The file under our names; `given` is the user's mapping. Every way in which it can be bad becomes one line that
    names it."""
    assert file.path is not None
    n_rows = 0
    with explained(file.label, file):
        for part in _parts(file.path, file.table, given, file.label):
            n_rows += part.cells.num_rows + part.unread.num_rows
            yield part
        _refuse_change(file)
    if n_rows == 0:
        raise DataRefused(f"{file.label} is empty: it has columns and no rows")


def _refuse_change(file: SourceFile) -> None:
    assert file.path is not None
    if stamp(file.path) != file.stamp:
        raise RunFailed(f"{file.label} changed while it was read", "run again once it is complete")


def _identified(table: TableName, path: Path) -> SourceFile:
    with explained(str(path)):
        size_and_time = stamp(path)
        if size_and_time[0] == 0:
            raise DataRefused(f"{path} is empty")
        label = str(path)
        if label.startswith(MENDED):  # the user's folder of that name: its rows are no mended ones, and are judged
            label = f"./{label}"
        return SourceFile(table, label, hash_file(path), path, size_and_time)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: shows a file that changes under us."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _matching(pattern: str) -> list[Path]:
    if "://" in pattern:
        raise ConfigError(
            f"{without_passwords(pattern)} is a URL that is not read", "give s3://…, or copy it here first"
        )
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
        files += [path for path in paths if _extension(path) in READ and path.is_file()]
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


def _parts(path: Path, table: TableName, given: Mapping[str, str], label: str) -> Iterator[Part]:
    packing = compression(path)
    extension = format_of(path, packing)

    def mapping_of(names: Sequence[str]) -> dict[str, str]:
        return _mapping(names, table, given, label)

    if extension in PARQUET:
        if packing is not None:
            raise DataRefused(f"{label} is Parquet packed once more", "unpack it: Parquet is compressed inside")
        return parquet.read(path, mapping_of)
    if extension in JSON_LINES:
        return jsonl.read(path, packing, mapping_of, label, whole=table != "interactions")
    layout = delimited.layout(path, packing, label)
    refuse_missing_header(layout.names, table, given, label)
    return delimited.read(path, packing, layout, mapping_of(layout.names), label)


def _mapping(names: Sequence[str], table: TableName, given: Mapping[str, str], label: str) -> dict[str, str]:
    """Ours: theirs, of the columns that are read."""
    mapping = map_columns(names, table, given, label)
    chosen = list(mapping.values()) if table == "interactions" else list(names)
    if double := sorted({name for name in chosen if list(names).count(name) > 1}):
        raise ConfigError(f"columns of {label}: {', '.join(names)}; two are called {double[0]}", "rename one of them")
    return mapping if table == "interactions" else feature_columns(names, mapping, label)


def format_of(path: Path, packing: str | None) -> str:
    """The extension, or for a name that tells nothing the one that fits the content."""
    extension = _extension(path)
    if extension in READ:
        return extension
    with unpacked(path, packing) as stream:
        head = stream.read(1 << 12)
    if head.startswith(b"PAR1"):
        return ".parquet"
    return ".jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else ".csv"


@contextmanager
def explained(label: str, file: SourceFile | None = None) -> Iterator[None]:
    """Says in one line, with the file's name, what the libraries below say in their own ways. What goes wrong in a
    `file` that changed meanwhile is no fault of its data."""
    try:
        yield
    except (EncoreError, OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, pa.ArrowException) as error:
        if file is not None and not isinstance(error, RunFailed):
            with explained(label):
                _refuse_change(file)
        if isinstance(error, EncoreError):
            raise
        raise _in_one_line(error, label) from error


def _in_one_line(error: Exception, label: str) -> EncoreError:
    if isinstance(error, FileNotFoundError):
        return RunFailed(f"{label} vanished while it was read", "run again")
    if isinstance(error, PermissionError):
        return RunFailed(f"no permission to read {error.filename or label}", "give this user the right to read it")
    if isinstance(error, OSError) and error.errno is not None:
        return RunFailed(f"{label} could not be read: {error.strerror}")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return DataRefused(f"{label} is damaged or cut short: {reason}")
