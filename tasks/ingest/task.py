"""Ingest: each source file becomes one staged table, once."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadFailed
from tasks.ingest.ahead import one_ahead
from tasks.ingest.config import IngestConfig
from tasks.ingest.erased import NOBODY, ErasedUsers, load
from tasks.ingest.sources import remote
from tasks.ingest.sources.base import MOST_UNREAD, MOST_UNREAD_BYTES, Block, SourceFile, TableName, too_many_unread
from tasks.ingest.sources.registry import identify, read_features, read_log
from tasks.schema import INTERACTIONS, UNREAD
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, Staged, StagedRef
from tasks.store.store import Store, Writer


def can_mend(task: Any, task_run: Any, state: Any) -> bool:
    """Only a download gets better by itself."""
    return isinstance(state.result(raise_on_failure=False), DownloadFailed)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=can_mend)
def ingest(store: Store, config: IngestConfig, files: Sequence[SourceFile] | None = None) -> Staged:
    """Stages what is not staged yet. `files`: what `identify` has already found, so that nothing is hashed twice."""
    erased = load(store, config.dataset)
    staged = [stage(file, config, store, erased) for file in (identify(config, store) if files is None else files)]
    return Staged(tuple(ref for ref, _ in staged), cached=all(was_there for _, was_there in staged))


def stage(file: SourceFile, config: IngestConfig, store: Store, erased: ErasedUsers = NOBODY) -> tuple[StagedRef, bool]:
    """The staged table of one file, and whether it was there already: then it is neither fetched nor parsed again."""
    key = make_key(
        "tasks.ingest.task", file.sha256, file.table, file.is_mended, config.source, config.columns, erased.key
    )

    def write(writer: Writer) -> dict[str, Any]:
        if file.table == "interactions":
            data, unread = _write_log(writer, erased_from(read_log(file, config, store), erased), file.label)
        else:
            data, unread = _write_features(writer, read_features(file, config, store), file.table, erased), None
        parts = {"data": asdict(data), "unread": asdict(unread) if unread else None}
        return {"source": file.label, "sha256": file.sha256, **parts}

    built = store.build(f"staging/{config.dataset}/{key}", write)
    remote.let_go(file)
    data, unread = (built.manifest[name] for name in ("data", "unread"))
    unread_ref = DatasetRef(**unread) if unread else None
    return StagedRef(file.table, file.label, file.sha256, DatasetRef(**data), unread_ref), built.cached


def erased_from(blocks: Iterable[Block], erased: ErasedUsers) -> Iterator[Block]:
    """Without erased people: nothing of them is written or counted."""
    return (erased.without(block) for block in blocks)


def _write_log(writer: Writer, blocks: Iterator[Block], label: str) -> tuple[DatasetRef, DatasetRef | None]:
    """Rows go to the disk as they come; the few that could not be read are held until the end."""
    unread: list[pa.Table] = []

    def rows() -> Generator[pa.Table, None, None]:
        n_unread = n_bytes = 0
        with closing(one_ahead(blocks)) as ahead:
            for block in ahead:
                if block.unread.num_rows:
                    unread.append(block.unread)
                    n_unread, n_bytes = n_unread + block.unread.num_rows, n_bytes + block.unread.nbytes
                    if n_unread > MOST_UNREAD or n_bytes > MOST_UNREAD_BYTES:
                        raise too_many_unread(label)
                yield block.rows

    with closing(rows()) as written:  # also where the disk is full: then nothing may go on reading
        data = writer.stream("interactions", written, INTERACTIONS)
    return data, writer.stream("unread", unread, UNREAD) if unread else None


def _write_features(writer: Writer, table: pa.Table, name: TableName, erased: ErasedUsers) -> DatasetRef:
    return writer.table(name, table.filter(erased.keep(table["user_id"])) if name == "users" else table)
