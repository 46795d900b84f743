"""Which source answers for a configuration. Cheap to import: it is used before Prefect is."""

from collections.abc import Iterator

import pyarrow as pa

from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import files, mended, movielens, remote, shape, synthetic
from tasks.ingest.sources.base import Block, Part, SourceFile
from tasks.store.store import Store

FEATURE_SHARE = 0.25
"""Of the memory that is set: what a table of users or items may take, which is never streamed."""


def identify(config: IngestConfig, store: Store) -> list[SourceFile]:
    """What would be ingested, with the identity of each content; the order is the order of ties in time.

    Reads no more than it must: paths that do not exist, empty and unreadable files are refused here.
    """
    match config.source:
        case "files":
            found = files.identify(config, store)
        case "synthetic":
            found = synthetic.identify(config)
        case _:
            found = movielens.identify(config)
    return [*found, *mended.identify(config.dataset, store)]


def read_log(file: SourceFile, config: IngestConfig, store: Store) -> Iterator[Block]:
    """The interactions, block by block: never more than a few blocks are in memory."""
    if config.source == "synthetic" and not file.is_mended:
        return synthetic.read_log(config)
    return shape.interactions(_parts(file, config, store), file.label)


def read_features(file: SourceFile, config: IngestConfig, store: Store) -> pa.Table:
    """Users or items, whole: the id and every other column as text."""
    if config.source == "synthetic":
        return synthetic.read(file, config)
    return shape.features(_parts(file, config, store), file.label, int(FEATURE_SHARE * store.memory_bytes))


def _parts(file: SourceFile, config: IngestConfig, store: Store) -> Iterator[Part]:
    if file.is_mended:
        return files.read(file, {})
    if config.source != "files":
        return movielens.read(file, config, store)
    return files.read(remote.here(file), config.columns)
