"""What a registered version's night kept, understood: nothing else is needed to make the version once more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.errors import RunFailed
from tasks.store.atomic import link_or_copy
from tasks.store.refs import ChampionRef, DatasetRef, SnapshotRef
from tasks.store.store import Store

NEEDED = ("config", "snapshot", "files", "result", "environment")
_SNAPSHOT = TypeAdapter(SnapshotRef)


@dataclass(frozen=True)
class Kept:
    """By which a version can be made once more, and held against itself."""

    config: Mapping[str, Any]
    snapshot: SnapshotRef
    files: Mapping[str, Mapping[str, str]]  # by option: path and sha256
    result: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def metrics(self) -> Mapping[str, float]:
        found: Mapping[str, float] = self.result["metrics"]
        return found


def understood(ref: ChampionRef, files: Mapping[str, Any]) -> Kept:
    """Raises RunFailed where the night kept nothing, or what it kept cannot be read."""
    called = f"{ref.name} version {ref.version}"
    if missing := [name for name in NEEDED if name not in files]:
        raise RunFailed(
            f"the night of {called} kept no {missing[0]}.json: it was cut short, or is older than such records",
            "reproduce a version of a later night",
        )
    try:
        snapshot = _SNAPSHOT.validate_python(files["snapshot"])
    except ValidationError as error:
        raise RunFailed(f"what the night of {called} kept of its snapshot cannot be read", "") from error
    return Kept(files["config"], snapshot, files["files"], files["result"], files["environment"])


def parts_of(snapshot: SnapshotRef) -> tuple[DatasetRef, ...]:
    return (*snapshot.interactions, *snapshot.users, *snapshot.items)


def link_snapshot(store: Store, snapshot: SnapshotRef, scratch: Store) -> None:
    """The snapshot's rows under the same paths in another store: what is removed here meanwhile stays there.

    Raises RunFailed, naming the file, where one is gone."""
    for part in parts_of(snapshot):
        source, place = store.path(part.path), scratch.path(part.path)
        if not source.is_file():
            raise RunFailed(
                f"{part.path} is gone from {store.root}: it was removed by encore gc, or written anew without a "
                f"person whom encore erase took out; snapshot {snapshot.hash} can no longer be had as it was",
                "reproduce a version of a later night, or restore it from a backup",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, place)


def link_folder(store: Store, folder: str, scratch: Store) -> bool:
    """The finished training in this folder under the same path in another store; False where it is not there."""
    source = store.path(folder)
    for path in source.rglob("*"):
        if path.is_file():
            place = scratch.path(folder) / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, place)
    return scratch.find(f"{folder}/bundle") is not None


def refuse_changed_files(files: Mapping[str, Mapping[str, str]], hash_of: Callable[[str, str], str | None]) -> None:
    """Raises RunFailed for a file of the configuration that is not what the night read, ConfigError for one that is
    gone. `hash_of`: path and option to sha256."""
    for option, kept in files.items():
        if hash_of(kept["path"], option) != kept["sha256"]:
            raise RunFailed(
                f"{option}: {Path(kept['path'])} is not the file that the night read", "restore it as it was then"
            )
