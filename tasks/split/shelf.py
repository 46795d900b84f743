"""The log between two passes: every row with its part, on disk, in blocks of whole users.

R rows of a block
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.split.parts import Block, Ints, Longs, PartArray


@dataclass(frozen=True)
class Parted:
    """Rows of whole users with their parts. Users and items are codes in the log."""

    users_R: Ints
    items_R: Ints
    part_R: PartArray
    time_R: Longs | None
    rating_R: npt.NDArray[np.float64] | None
    weight_R: npt.NDArray[np.float32]
    place_R: Longs

    @classmethod
    def of(cls, block: Block, part_R: PartArray) -> "Parted":
        return cls(block.users_R, block.items_R, part_R, block.time_R, block.rating_R, block.weight_R, block.place_R)


@dataclass(frozen=True)
class Shelf:
    """A file of such blocks, plain and uncompressed: it is read several times, and then is gone."""

    path: Path

    def fill(self, blocks: Iterable[Parted]) -> None:
        sink: pa.RecordBatchFileWriter | None = None
        try:
            for block in blocks:
                batch = pa.record_batch({name: one for name, one in vars(block).items() if one is not None})
                sink = pa.ipc.new_file(str(self.path), batch.schema) if sink is None else sink
                sink.write_batch(batch)
        finally:
            if sink is not None:
                sink.close()

    def blocks(self) -> Iterator[Parted]:
        for batch in self._batches(None):
            columns = {name: batch[name].to_numpy() for name in batch.schema.names}
            yield Parted(**{"time_R": None, "rating_R": None, **columns})

    def pairs(self) -> Iterator[tuple[Ints, Ints, PartArray]]:
        """Users, items and parts alone."""
        for batch in self._batches(["users_R", "items_R", "part_R"]):
            yield tuple(batch[name].to_numpy() for name in ("users_R", "items_R", "part_R"))

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        # read, not mapped: mapped pages count as this process's memory
        with pa.OSFile(str(self.path)) as source:
            schema = pa.ipc.open_file(source).schema
            fields = None if columns is None else [schema.get_field_index(name) for name in columns]
            file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields or []))
            for number in range(file.num_record_batches):
                yield file.get_batch(number)
