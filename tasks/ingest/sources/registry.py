"""Which source answers for a configuration. Cheap to import: it is used before Prefect is."""

import pyarrow as pa

from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import files, movielens, synthetic
from tasks.ingest.sources.base import SourceFile
from tasks.store.store import Store


def identify(config: IngestConfig, store: Store) -> list[SourceFile]:
    """What would be ingested, with the identity of each content; the order is the order of ties in time.

    Reads no more than it must: paths that do not exist, empty and unreadable files are refused here.
    """
    match config.source:
        case "files":
            return files.identify(config)
        case "synthetic":
            return synthetic.identify(config)
        case _:
            return movielens.identify(config)


def read(file: SourceFile, config: IngestConfig, store: Store) -> pa.Table:
    """The rows: `STAGED_INTERACTIONS`, or for users and items the id and every other column as text."""
    match config.source:
        case "files":
            return files.read(file, config)
        case "synthetic":
            return synthetic.read(file, config)
        case _:
            return movielens.read(file, config, store)
