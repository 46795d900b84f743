"""The data folder: the only place that knows where things lie.

staging/<dataset>/<key>/         parsed, not yet accepted
lake/<dataset>/<key>/            accepted, immutable; one partition per source content
prepared/<key>/                  splits, samples, id maps
checkpoints/<key>/               what a killed training goes on from, the trained bundle, and epochs kept on demand
metrics/<key>/                   per user
recommendations/run=<run>/       each run's own lists
published/<dataset>              link to what production serves, switched atomically
nights/<dataset>/<key>.json      results, by which an unchanged night is recognised
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.errors import RunFailed
from tasks.store.atomic import link_or_copy, new_file, new_folder, remove_unheld, temporaries
from tasks.store.refs import DatasetRef
from tasks.store.sink import write_blocks
from tasks.store.tables import fingerprint, read_blocks, read_table, write_table

MANIFEST = "_manifest.json"  # readers of Parquet folders skip names with an underscore
FETCHED = "_remote"  # below staging/<dataset>/: what came from elsewhere and waits to be staged


@dataclass(frozen=True)
class Built:
    """A finished folder: where it is, what its manifest says, and whether it was there already."""

    path: str
    manifest: dict[str, Any]
    cached: bool


@dataclass(frozen=True)
class Store:
    """Reads and writes below one data root. Paths that leave it are relative, so that refs are valid everywhere."""

    root: Path
    memory_bytes: int = field(default=4 * 10**9, compare=False)
    """What a step may hold at a time; more goes to a scratch folder. Never a reason for another result."""

    def prepare(self) -> None:
        """Makes the data folder, readable by its owner and group, and tries to write there. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o750)
        with new_file(self.root / ".writable") as probe:
            probe.touch()
        (self.root / ".writable").unlink(missing_ok=True)

    def path(self, relative: str) -> Path:
        return self.root / relative

    def read(self, ref: DatasetRef, columns: Sequence[str] | None = None) -> pa.Table:
        return read_table(self.path(ref.path), columns)

    def blocks(self, ref: DatasetRef, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a file in their order, a row group at a time; text columns as dictionaries."""
        yield from read_blocks(self.path(ref.path), columns)

    def find(self, folder: str) -> Built | None:
        """The finished folder of this name, if there is one."""
        manifest = self.path(folder) / MANIFEST
        if not manifest.is_file():
            return None
        return Built(folder, json.loads(manifest.read_text(encoding="utf-8")), cached=True)

    def manifest(self, folder: str) -> dict[str, Any]:
        """The manifest of a finished folder. Raises RunFailed where it is gone."""
        if (found := self.find(folder)) is None:
            raise RunFailed(f"{self.path(folder)} is gone", "run again: what is missing is made anew")
        return found.manifest

    def build(self, folder: str, write: "Callable[[Writer], dict[str, Any]]") -> Built:
        """The folder of this name; where it does not exist, `write` fills it and returns its manifest.

        The folder appears whole, under its final name, or not at all.
        """
        if (found := self.find(folder)) is not None:
            return found
        with new_folder(self.path(folder)) as temporary:
            manifest = write(Writer(temporary, folder))
            text = json.dumps(manifest, indent=2, ensure_ascii=False, default=str)
            (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return Built(folder, self.manifest(folder), cached=False)  # another run's, where it was first

    def sweep(self) -> int:
        """Removes what killed runs left under temporary names, and nothing that a run is writing. Returns how many."""
        return sum(remove_unheld(path) for path in temporaries(self.root))


@dataclass(frozen=True)
class Writer:
    """Fills a folder that does not have its final name yet, and makes refs that will be valid once it has."""

    folder: Path
    final: str

    def path(self, name: str) -> Path:
        return self.folder / name

    def table(self, name: str, table: pa.Table, schema: pa.Schema | None = None) -> DatasetRef:
        """Writes `<name>.parquet`."""
        if schema is not None:
            table = table.select(schema.names).cast(schema)
        write_table(self.folder / f"{name}.parquet", table)
        return DatasetRef(f"{self.final}/{name}.parquet", table.num_rows, fingerprint(table))

    def stream(self, name: str, blocks: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema) -> DatasetRef:
        """Writes `<name>.parquet` of a table that never is in memory as a whole."""
        rows, digest = write_blocks(self.folder / f"{name}.parquet", blocks, schema)
        return DatasetRef(f"{self.final}/{name}.parquet", rows, digest)

    def link(self, name: str, source: Path, ref: DatasetRef) -> DatasetRef:
        """`<name>.parquet` is this finished file under a second name: no byte is copied, and finished files stay."""
        link_or_copy(source, self.folder / f"{name}.parquet")
        return DatasetRef(f"{self.final}/{name}.parquet", ref.rows, ref.fingerprint)
