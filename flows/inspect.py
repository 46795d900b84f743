"""`encore inspect PATH`: what a file holds, which column is what, and what a night would make of it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.commands import InspectConfig
from flows.config import Settings
from flows.inspected import print_columns, print_result
from flows.judged import judge
from flows.proposal import configuration, fitting_checks, write
from tasks.errors import ConfigError, DataRefused, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import remote
from tasks.ingest.sources.base import SourceFile
from tasks.ingest.sources.columns import recognise
from tasks.ingest.sources.raw import Raw, look
from tasks.ingest.sources.registry import identify
from tasks.inspect.columns import SAMPLE_ROWS, Column, commonest_share, nested_column, profile_columns
from tasks.inspect.propose import Proposed, propose, to_write
from tasks.inspect.scratch import as_parquet
from tasks.store.atomic import scratch_folder
from tasks.store.engine import Engine, engine, parquet
from tasks.store.refs import StagedRef
from tasks.store.store import Store


class NothingToMap(ConfigError):
    """No column can be told to be the user, or the item. `result` is what was found all the same."""

    def __init__(self, message: str, hint: str, result: dict[str, Any]) -> None:
        super().__init__(message, hint)
        self.result = result


@dataclass(frozen=True)
class Columns:
    """The columns of all files together, and what they may be."""

    profiled: tuple[Column, ...]
    named: dict[str, str]  # theirs: ours, of the names that a night recognises
    headers: tuple[tuple[str, ...], ...]  # of each file
    proposed: Proposed


def inspect(config: InspectConfig, settings: Settings) -> dict[str, Any]:
    """What `show` prints. Raises ConfigError where nothing can be mapped, DataRefused where a file cannot be read."""
    with _scratch(settings) as store:
        files, repeated = _once(identify(config.ingest, store))
        raws = [look(remote.here(file), config.ingest.columns) for file in files if file.table == "interactions"]
        with engine(store) as asked:
            paths = [path for number, raw in enumerate(raws) for path in _as_parquet(store, raw, number)]
            if not paths:
                raise DataRefused(f"{config.path} has no row that can be read", "look at its first lines")
            with _shown("profiling the columns"), _damage_named(raws):
                columns = _columns(asked, raws, paths, config.ingest)
            result = _of_columns(config, raws, columns)
            _refuse_unmapped(columns, result)
            mapped = config.ingest.columns | to_write(columns.proposed, columns.named, columns.headers)
            ingest = config.ingest.model_copy(update={"columns": mapped})
            staged = [_staged(file, ingest, store) for file in files]
            with _shown("judging the rows"):
                checks = fitting_checks(asked, staged, config.checks)
                judged = judge(asked, staged, checks, settings.night, len(repeated))
    lines = configuration(ingest, columns.proposed, judged, checks, config.checks)
    result["repeated_files"] = repeated
    return result | judged.as_result(staged) | write(lines, config, checks, judged)


def show_inspect(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_result(result)


def _once(files: Sequence[SourceFile]) -> tuple[list[SourceFile], list[str]]:
    """Each content once, as a night takes it in, and the names of the files that repeat another's."""
    first: dict[tuple[str, str], SourceFile] = {}
    for file in files:
        first.setdefault((file.table, file.sha256), file)
    return list(first.values()), [file.label for file in files if first[file.table, file.sha256] is not file]


def _columns(asked: Engine, raws: Sequence[Raw], paths: Sequence[str], ingest: IngestConfig) -> Columns:
    """One profile of all files: what one of them lacks is null in its rows."""
    nested = {name for raw in raws for name in raw.nested}
    source = parquet(map(Path, paths))
    read = asked.table(f"SELECT * FROM {source} LIMIT 0").column_names
    names = [name for name in dict.fromkeys(name for raw in raws for name in (*raw.names, *read)) if name in read]
    profiled = profile_columns(asked, source, [name for name in names if name not in nested])
    columns = (*profiled, *(nested_column(name) for name in sorted(nested)))
    headers = tuple(raw.header for raw in raws)
    every = dict.fromkeys(name for header in (*headers, names) for name in header)
    known = {name: ours for name in every if (ours := recognise(name, "interactions")) is not None}
    proposed = propose(columns, known, ingest.columns, headers, lambda name: commonest_share(asked, source, name))
    return Columns(columns, known, headers, proposed)


def _as_parquet(store: Store, raw: Raw, number: int) -> list[str]:
    """Parquet is asked where it lies, by a name without the letters that DuckDB takes for a glob."""
    assert raw.file.path is not None
    folder = store.path("raw")
    folder.mkdir(exist_ok=True)
    if raw.format == "Parquet":
        link = folder / f"{number}.parquet"
        link.symlink_to(raw.file.path.absolute())
        return [str(link)]
    return [str(path) for path in as_parquet((part.cells for part in raw.parts()), folder, str(number))]


def _staged(file: SourceFile, ingest: IngestConfig, store: Store) -> StagedRef:
    from tasks.ingest.task import stage  # late: it loads Prefect

    return stage(file, ingest, store)[0]


def _of_columns(config: InspectConfig, raws: Sequence[Raw], columns: Columns) -> dict[str, Any]:
    rows = max((column.rows for column in columns.profiled), default=0)
    return {
        "path": config.path,
        "files": [_of_file(raw) for raw in raws],
        "sampled_rows": min(rows, SAMPLE_ROWS),
        "columns": [asdict(column) for column in columns.profiled],
        "mapping": [asdict(one) for one in columns.proposed.proposals],
        "missing": list(columns.proposed.missing),
        "same_columns": len({frozenset(header) for header in columns.headers}) <= 1,
    }


def _of_file(raw: Raw) -> dict[str, Any]:
    return {
        "path": raw.file.label,
        "format": raw.format,
        "compression": raw.packing,
        "delimiter": raw.layout.delimiter if raw.layout else None,
        "bytes": raw.file.stamp[0],
    }


def _refuse_unmapped(columns: Columns, result: dict[str, Any]) -> None:
    """What there is to see is shown before: nobody maps columns blindly."""
    missing = [field for field in ("user_id", "item_id") if field in columns.proposed.missing]
    if not missing:
        return
    names = [column.name for column in columns.profiled]
    free = [name for name in names if name not in {one.column for one in columns.proposed.proposals}]
    print_columns(result)
    example = ", ".join(f"{name}: {field}" for name, field in zip(free or names, missing, strict=False))
    raise NothingToMap(
        f"columns of {result['path']}: {', '.join(names)}; none can be told to be the {' or the '.join(missing)}",
        f"say which it is: --ingest.columns={{{example}}}",
        result,
    )


@contextmanager
def _damage_named(raws: Sequence[Raw]) -> Iterator[None]:
    """Parquet is asked by DuckDB, which does not say whose fault it is: Arrow's reading names the file."""
    try:
        yield
    except RunFailed:
        for raw in raws:
            for _ in raw.parts():
                pass
        raise


@contextmanager
def _scratch(settings: Settings) -> Iterator[Store]:
    """A data folder for the time of one look, on the disk that is meant for data."""
    is_new = not settings.data_dir.exists()
    try:
        with scratch_folder(settings.data_dir) as folder:
            yield Store(folder, settings.store.memory_bytes)
    finally:
        if is_new and settings.data_dir.exists() and not any(settings.data_dir.iterdir()):
            settings.data_dir.rmdir()


@contextmanager
def _shown(what: str) -> Iterator[None]:
    """Says on a terminal what takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
