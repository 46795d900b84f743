"""What may go from the data folder: folders that are older than a moment, belong to the dataset, and nobody needs."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tasks.gc.kept import Keep
from tasks.store.store import MANIFEST, Store
from tasks.store.traces import Trace, finished_at, folders, read_json, removal

Whose = Callable[[Path], str | None]


def find_old(
    store: Store, dataset: str, keep: Keep, before: datetime, published: str | None, taken_in: Collection[str]
) -> Iterator[Trace]:
    """In the order in which they go: what refers to others first. A folder that does not say whose it is stays.

    `published` is the folder that production serves; `taken_in` are the sha256 of the contents that the dataset
    consists of, which nights look for in staging."""
    yield from _records(store, f"nights/{dataset}", before, ())
    yield from _records(store, "decisions", before, keep.runs, _dataset_of_run(store, dataset))
    for folder in _old(store, "recommendations", dataset, before, _dataset_of_lists):
        name = f"recommendations/{folder.name}"
        run = folder.name.removeprefix("run=")
        if name != published and not any(run == one or run.startswith(f"{one}-") for one in keep.runs):
            yield removal(store.root, folder)
    for folder in _old(store, "metrics", dataset, before, _made_from):
        if _snapshot(folder) not in keep.snapshots:
            yield removal(store.root, folder)
    for folder in _old(store, "checkpoints", dataset, before, _made_from):
        if folder.name not in keep.keys:
            yield removal(store.root, folder)
    for place in ("prepared", "tuning"):
        yield from (removal(store.root, folder) for folder in _old(store, place, dataset, before, _made_from))
    for folder in folders(store.path(f"staging/{dataset}")):
        content = (read_json(folder / MANIFEST) or {}).get("sha256")
        if content is not None and content not in taken_in and finished_at(folder) < before:
            yield removal(store.root, folder)


def _old(store: Store, place: str, dataset: str, before: datetime, whose: Whose) -> Iterator[Path]:
    for folder in folders(store.path(place)):
        if whose(folder) == dataset and finished_at(folder) < before:
            yield folder


def _records(
    store: Store, place: str, before: datetime, kept: Collection[str], whose: Callable[[Path], bool] = lambda path: True
) -> Iterator[Trace]:
    """Single JSON files; those with a kept name stay."""
    root = store.path(place)
    for path in sorted(root.glob("*.json")) if root.is_dir() else []:
        if path.stem not in kept and datetime.fromtimestamp(path.stat().st_mtime, UTC) < before and whose(path):
            yield removal(store.root, path)


def _dataset_of_run(store: Store, dataset: str) -> Callable[[Path], bool]:
    """Whether a run's decision is of this dataset: its lists say so. Without lists nobody can tell: it stays."""
    return lambda path: _dataset_of_lists(store.path(f"recommendations/run={path.stem}")) == dataset


def _made_from(folder: Path) -> str | None:
    """Which dataset a folder was made from, by its manifest or, for checkpoints, the record beside the bundle."""
    for name in (MANIFEST, "made_from.json"):
        content = read_json(folder / name) or {}
        made_from = content.get("made_from", content if name == "made_from.json" else {})
        if "dataset" in made_from:
            return str(made_from["dataset"])
    return None


def _snapshot(folder: Path) -> str | None:
    return ((read_json(folder / MANIFEST) or {}).get("made_from") or {}).get("snapshot")


def _dataset_of_lists(folder: Path) -> str | None:
    return (read_json(folder / MANIFEST) or {}).get("dataset")
