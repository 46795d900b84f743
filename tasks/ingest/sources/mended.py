"""Rows that were refused once and have been mended since: taken in again after all that the source gives."""

from tasks.ingest.sources.base import MENDED, SourceFile, hash_file
from tasks.ingest.sources.files import stamp
from tasks.store.store import Store


def identify(dataset: str, store: Store) -> list[SourceFile]:
    """Files in `mended/<dataset>`, with the columns of INTERACTIONS, by name."""
    paths = sorted(store.path(f"mended/{dataset}").glob("[!._]*.parquet"))
    return [
        SourceFile("interactions", f"{MENDED}{path.stem}", hash_file(path), path, stamp(path), is_mended=True)
        for path in paths
    ]
