"""Accepting files: each becomes an immutable partition of the lake, and the partitions of a night make a snapshot."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from tasks.schema import INTERACTIONS
from tasks.store.refs import DatasetRef, SnapshotRef, StagedRef
from tasks.store.store import Store, Writer
from tasks.store.tables import fingerprint
from tasks.validate.result import Counts
from tasks.validate.rows import BoolArray, bounds

REPORT = "report.html"
TABLES = ("interactions", "users", "items")


def accept(
    store: Store, staged: Sequence[StagedRef], kept: Sequence[BoolArray], dataset: str, counts: Counts, report: str
) -> SnapshotRef:
    """Writes what is not in the lake yet. `kept` holds one mask for each interactions file, in the files' order."""
    masks = iter(kept)
    parts: list[tuple[str, DatasetRef]] = []
    for ref in staged:
        mask = next(masks) if ref.table == "interactions" else None
        parts.append((ref.table, _partition(store, ref, mask, dataset)))
    name = snapshot_hash(parts)

    def write(writer: Writer) -> dict[str, Any]:
        writer.path(REPORT).write_text(report, encoding="utf-8")
        tables = {table: [asdict(part) for kind, part in parts if kind == table] for table in TABLES}
        return {"dataset": dataset, "hash": name, **tables, "counts": asdict(counts)}

    built = store.build(f"lake/{dataset}/snapshots/{name}", write)
    return snapshot_ref(built.path, built.manifest)


def snapshot_hash(parts: Sequence[tuple[str, DatasetRef]]) -> str:
    """Over the rows only, by table and in the files' order: equal data gives an equal snapshot, whatever its name."""
    digest = hashlib.sha256()
    for table in TABLES:
        for kind, part in parts:
            if kind == table:
                digest.update(f"{table}\0{part.fingerprint}\0".encode())
    return digest.hexdigest()[:32]


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


def _partition(store: Store, ref: StagedRef, kept: BoolArray | None, dataset: str) -> DatasetRef:
    table = store.read(ref.data)
    if kept is not None:
        table = table.filter(pa.array(kept)).select(INTERACTIONS.names).cast(INTERACTIONS)
    # Named by what came in and by what is left of it: duplicates of an earlier file are gone, so the same source may
    # leave other rows on another night.
    name = f"{ref.sha256[:16]}-{fingerprint(table)[:8]}"

    def write(writer: Writer) -> dict[str, Any]:
        part = writer.table(ref.table, table)
        return {
            "table": ref.table,
            "source": ref.source,
            "sha256": ref.sha256,
            "part": asdict(part),
            "columns": {field.name: str(field.type) for field in table.schema},
            "duplicates": 0 if kept is None else int((~kept).sum()),
            **_time_range(table),
        }

    return DatasetRef(**store.build(f"lake/{dataset}/{name}", write).manifest["part"])


def _time_range(table: pa.Table) -> dict[str, str | None]:
    if "timestamp" not in table.column_names or table["timestamp"].null_count == table.num_rows:
        return {"first": None, "last": None}
    first, last = bounds(table["timestamp"])
    return {"first": first, "last": last}
