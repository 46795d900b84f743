"""The pointer to what production serves: a link `published/<dataset>`, switched in one step."""

import uuid
from pathlib import Path

from tasks.store.atomic import TEMPORARY
from tasks.store.store import Store

LISTS = "recommendations.parquet"


def switch(store: Store, dataset: str, folder: str) -> str:
    """Lets the dataset's pointer show this folder. Readers see the old lists or the new ones, never neither."""
    pointer = store.path(f"published/{dataset}")
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.symlink_to(Path("..") / folder, target_is_directory=True)
    temporary.replace(pointer)
    return f"published/{dataset}/{LISTS}"


def published(store: Store, dataset: str) -> str | None:
    """The lists that production serves, or None before the first publication."""
    path = f"published/{dataset}/{LISTS}"
    return path if store.path(path).is_file() else None
