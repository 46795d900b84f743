"""What the lake no longer needs: snapshots that are old and nobody asks for, and partitions that are in none that stay.

Quarantine stays whole: nothing that came in is lost by tidying up.
"""

from collections.abc import Collection, Iterator
from datetime import datetime

from tasks.store.store import MANIFEST, Store
from tasks.store.traces import Trace, finished_at, folders, read_json, removal
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
        if folder.name in snapshots or name == last or finished_at(folder) >= before:
            needed |= _partitions(store, name)
        else:
            yield removal(store.root, folder)
    for folder in folders(store.path(f"{root}/checked")):
        if f"{root}/checked/{folder.name}" != ledger.checked and finished_at(folder) < before:
            yield removal(store.root, folder)
    for folder in folders(store.path(root)):
        if folder.name not in BESIDE and f"{root}/{folder.name}" not in needed and finished_at(folder) < before:
            yield removal(store.root, folder)


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
