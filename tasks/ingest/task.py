"""Ingest: each source file becomes one staged table, once."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources.base import SourceFile
from tasks.ingest.sources.registry import identify, read
from tasks.schema import STAGED_INTERACTIONS
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, Staged, StagedRef
from tasks.store.store import Store


def can_mend(task: Any, task_run: Any, state: Any) -> bool:
    """Only a download gets better by itself."""
    return isinstance(state.result(raise_on_failure=False), DownloadFailed)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=can_mend)
def ingest(store: Store, config: IngestConfig, files: Sequence[SourceFile] | None = None) -> Staged:
    """Stages what is not staged yet. `files`: what `identify` has already found, so that nothing is hashed twice."""
    staged = [stage(file, config, store) for file in (identify(config, store) if files is None else files)]
    return Staged(tuple(ref for ref, _ in staged), cached=all(was_there for _, was_there in staged))


def stage(file: SourceFile, config: IngestConfig, store: Store) -> tuple[StagedRef, bool]:
    """The staged table of one file, and whether it was there already: then it is neither fetched nor parsed again."""
    key = make_key("tasks.ingest.task", file.sha256, file.table, config.source, config.columns)
    schema = STAGED_INTERACTIONS if file.table == "interactions" else None
    built = store.build(
        f"staging/{config.dataset}/{key}",
        lambda writer: {
            "source": file.label,
            "sha256": file.sha256,
            "data": asdict(writer.table(file.table, read(file, config, store), schema)),
        },
    )
    return StagedRef(file.table, file.label, file.sha256, DatasetRef(**built.manifest["data"])), built.cached
