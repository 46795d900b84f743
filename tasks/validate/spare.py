"""What the lake no longer needs: snapshots that are old and nobody asks for, and partitions that are in none that stay.

Quarantine stays whole: nothing that came in is lost by tidying up.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tasks.store.store import MANIFEST, Store
from tasks.store.traces import Trace, folders, read_json, remove
from tasks.validate.lake import snapshot_ref
from tasks.validate.ledger import read_ledger

BESIDE = ("snapshots", "checked")  # of what is in the lake, no partitions


def find_spare(store: Store, dataset: str, snapshots: Collection[str], before: datetime) -> Iterator[Trace]:
    """Snapshots first, then partitions, for a snapshot without its partitions is none. `snapshots` are hashes that are
    needed; the last good night's stays, too, and so does all that the ledger names."""
    ledger, root = read_ledger(store, dataset), f"lake/{dataset}"
    last = ledger.nights[-1].snapshot if ledger.nights else ""
    needed = {entry.partition for entry in ledger.entries}
    for folder in folders(store.path(f"{root}/snapshots")):
        name = f"{root}/snapshots/{folder.name}"
        if folder.name in snapshots or name == last or _is_young(folder, before):
            needed |= _partitions(store, name)
        else:
            yield _trace(store, folder)
    for folder in folders(store.path(f"{root}/checked")):
        if f"{root}/checked/{folder.name}" != ledger.checked and not _is_young(folder, before):
            yield _trace(store, folder)
    for folder in folders(store.path(root)):
        if folder.name not in BESIDE and f"{root}/{folder.name}" not in needed and not _is_young(folder, before):
            yield _trace(store, folder)


def contents_of(store: Store, dataset: str) -> frozenset[str]:
    """sha256 of the source files that the dataset consists of."""
    return frozenset(content.sha256 for content in read_ledger(store, dataset).contents)


def _partitions(store: Store, snapshot: str) -> set[str]:
    """The folders of a snapshot's partitions; none where it is no finished one."""
    manifest = read_json(store.path(snapshot) / MANIFEST)
    if manifest is None:
        return set()
    found = snapshot_ref(snapshot, manifest)
    return {part.path.rpartition("/")[0] for part in (*found.interactions, *found.users, *found.items)}


def _is_young(folder: Path, before: datetime) -> bool:
    manifest = folder / MANIFEST
    stat = (manifest if manifest.is_file() else folder).stat()
    return datetime.fromtimestamp(stat.st_mtime, UTC) >= before


def _trace(store: Store, folder: Path) -> Trace:
    freed = sum(
        stat.st_size for stat in (path.stat() for path in folder.rglob("*") if path.is_file()) if stat.st_nlink == 1
    )
    return Trace("lake", str(folder.relative_to(store.root)), "removed", partial(remove, folder), bytes=freed)
