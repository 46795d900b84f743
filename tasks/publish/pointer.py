"""The pointer to what production serves: a link `published/<dataset>`, switched in one step.

It belongs to the registered model whose champion's lists it shows; a floor's lists, and none, are nobody's.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.atomic import scratch_folder
from tasks.store.store import Store

LISTS = "recommendations.parquet"
FLOOR_MARK = "floor/"  # before the name of a floor whose lists go out, where a model's have the number of its version


def switch(store: Store, dataset: str, folder: str) -> str:
    """Lets the dataset's pointer show this folder. Readers see the old lists or the new ones, never neither."""
    pointer = store.path(f"published/{dataset}")
    with scratch_folder(pointer.parent) as scratch:  # where no other run's sweep finds it
        temporary = scratch / dataset
        temporary.symlink_to(Path("..") / folder, target_is_directory=True)  # as seen from the pointer's place
        temporary.replace(pointer)
    return f"published/{dataset}/{LISTS}"


def published(store: Store, dataset: str) -> str | None:
    """The lists that production serves, or None before the first publication."""
    path = f"published/{dataset}/{LISTS}"
    return path if store.path(path).is_file() else None


def shown(store: Store, dataset: str) -> tuple[str, str] | None:
    """The version whose lists production serves (a floor's name with its mark) and the registered model that it is of
    (empty: the lists do not say); None where nothing is served."""
    found = store.find(f"published/{dataset}") if published(store, dataset) else None
    return (found.manifest["model_version"], found.manifest.get("registered_model", "")) if found else None


def serves_a_champion(store: Store, dataset: str) -> bool:
    """Whether production serves a promoted model's lists; false where it serves the floor's, or nothing yet."""
    found = shown(store, dataset)
    return found is not None and not found[0].startswith(FLOOR_MARK)


def owner(store: Store, dataset: str) -> str | None:
    """The registered model whose champion's lists production serves; None where they are nobody's."""
    found = shown(store, dataset)
    return found[1] or None if found is not None and not found[0].startswith(FLOOR_MARK) else None


def are_whole(store: Store, folder: str, dataset: str, version: str) -> bool:
    """Whether the folder has this version's lists, and they can be read."""
    manifest: dict[str, Any] = found.manifest if (found := store.find(folder)) else {}
    if (manifest.get("model_version"), manifest.get("dataset")) != (version, dataset):
        return False
    try:
        return bool(pq.read_metadata(store.path(f"{folder}/{LISTS}")).num_rows)
    except (OSError, pa.ArrowInvalid):
        return False
