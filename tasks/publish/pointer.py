"""The pointer to what production serves: a link `published/<dataset>`, switched in one step."""

from pathlib import Path

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


def serves_a_champion(store: Store, dataset: str) -> bool:
    """Whether production serves a promoted model's lists; false where it serves the floor's, or nothing yet."""
    if published(store, dataset) is None:
        return False
    version: str = store.manifest(f"published/{dataset}")["model_version"]
    return not version.startswith(FLOOR_MARK)
