"""The lake: immutable partitions, each the accepted rows of one source content, and snapshots, each a list of them.

lake/<dataset>/<sha256>-<hash>/    interactions.parquet (or users, items): the rows that count, in the file's order
                                   repeated.parquet: rows that another file has, too, and that count there
                                   user_counts.parquet, item_counts.parquet: rows by id
                                   the manifest: what a reader wants to know, and `Partition`
lake/<dataset>/snapshots/<hash>/   user_counts.parquet, item_counts.parquet of all its interactions; the manifest
lake/<dataset>/checked/<key>/      the report of each judgement that let a snapshot pass
lake/<dataset>/ledger.json         see ledger.py

A partition is named by what came in and by what is left out of it, so the same rows always have the same name.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.schema import ID_COUNTS
from tasks.store.engine import Engine
from tasks.store.refs import DatasetRef, SnapshotRef
from tasks.store.store import Store, Writer
from tasks.validate.profile import Profile, Span, merged

TABLES = ("interactions", "users", "items")
COUNTS = {"users": "user_counts", "items": "item_counts"}


@dataclass(frozen=True)
class Tally:
    """Where a file's rows went. Every row that was read is accounted for once."""

    read: int
    quarantined: int
    duplicates: int
    profile: Profile  # of the accepted rows
    reasons: tuple[tuple[str, int], ...] = ()  # why rows are in quarantine

    @property
    def accepted(self) -> int:
        return self.profile.rows

    def __post_init__(self) -> None:
        if self.accepted + self.quarantined + self.duplicates != self.read:
            raise ValueError(f"rows are lost: {self}")


@dataclass(frozen=True)
class Origin:
    """Where a partition's own rows came from, the repeated ones among them. It never changes."""

    table: str
    source: str
    sha256: str  # of the source file's bytes
    rules: str  # hash of the rules that the rows were held against
    staged: str  # fingerprint of the rows as they were read
    refused: str  # hash of the numbers of those that were refused
    columns: Mapping[str, str]
    span: Span


@dataclass(frozen=True)
class Partition:
    """One source content as it lies in the lake."""

    folder: str
    origin: Origin
    tally: Tally
    part: DatasetRef
    repeated: DatasetRef | None = None  # None: no other file has a row of this one
    lost_to: tuple[str, ...] = ()  # sha256 of the contents where the repeated rows count
    user_counts: DatasetRef | None = None
    item_counts: DatasetRef | None = None

    @property
    def table(self) -> str:
        return self.origin.table

    @property
    def files(self) -> tuple[DatasetRef, ...]:
        """Of its own rows."""
        return (self.part,) if self.repeated is None else (self.part, self.repeated)


_PARTITION = TypeAdapter(Partition)


def read_partition(store: Store, folder: str) -> Partition | None:
    """None where it, or a file of it, is gone, or where it was written by an earlier form of this program."""
    found = store.find(folder)
    if found is None:
        return None
    try:
        partition = _PARTITION.validate_python({"folder": folder, **found.manifest["partition"]})
    except (KeyError, ValidationError):
        return None
    files = (partition.part, partition.repeated, partition.user_counts, partition.item_counts)
    return partition if all(store.path(file.path).is_file() for file in files if file is not None) else None


def snapshot_hash(parts: Sequence[tuple[str, DatasetRef]]) -> str:
    """Over the rows only, by table and in the files' order: equal data gives an equal snapshot, whatever its name."""
    digest = hashlib.sha256()
    for table in TABLES:
        for kind, part in parts:
            if kind == table:
                digest.update(f"{table}\0{part.fingerprint}\0".encode())
    return digest.hexdigest()[:32]


def write_snapshot(engine: Engine, dataset: str, partitions: Sequence[Partition]) -> SnapshotRef:
    """The snapshot of these partitions, in their order. Needs the tables `all_users` and `all_items` (id, rows)."""
    store = engine.store
    parts = [(partition.table, partition.part) for partition in partitions]
    name = snapshot_hash(parts)
    folder = f"lake/{dataset}/snapshots/{name}"
    if (known := stored(store, folder)) is not None:
        return known
    shutil.rmtree(store.path(folder), ignore_errors=True)  # it names partitions that are gone

    def write(writer: Writer) -> dict[str, Any]:
        tables = {table: [asdict(part) for kind, part in parts if kind == table] for table in TABLES}
        profile = merged(p.tally.profile for p in partitions if p.table == "interactions")
        counts = {}
        for kind, file in COUNTS.items():
            sorted_counts = engine.blocks(f"SELECT id, rows FROM all_{kind} ORDER BY id")
            counts[file] = asdict(writer.stream(file, sorted_counts, ID_COUNTS))
        return {"dataset": dataset, "hash": name, **tables, **counts, "profile": asdict(profile)}

    built = store.build(folder, write)
    return snapshot_ref(built.path, built.manifest)


def snapshot_ref(path: str, manifest: dict[str, Any]) -> SnapshotRef:
    """The snapshot that a manifest describes."""
    tables = {table: tuple(DatasetRef(**part) for part in manifest[table]) for table in TABLES}
    return SnapshotRef(manifest["dataset"], manifest["hash"], path, **tables)


def stored(store: Store, path: str) -> SnapshotRef | None:
    """The snapshot in this folder, if it and all its partitions are still there."""
    found = store.find(path)
    if found is None:
        return None
    snapshot = snapshot_ref(path, found.manifest)
    parts = (*snapshot.interactions, *snapshot.users, *snapshot.items)
    return snapshot if all(store.path(part.path).is_file() for part in parts) else None
