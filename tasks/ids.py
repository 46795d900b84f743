"""Raw ids and their indices: as they came at every border, integers inside."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def as_typed_ids(ids: pa.Array) -> pa.Array:
    """Ids as integers where every one of them survives the way there and back; else as they came ("007" is text)."""
    try:
        numbers = ids.cast(pa.int64())
    except pa.ArrowInvalid:
        return ids
    return numbers if numbers.cast(pa.string()).equals(ids) else ids


def index_in(ids: pa.ChunkedArray | pa.Array, catalogue: pa.Array) -> npt.NDArray[np.int32]:
    """[N] position of each id in the catalogue, -1 where it is not in it."""
    found = pc.fill_null(pc.index_in(ids, value_set=catalogue.cast(ids.type)), -1)
    return np.ascontiguousarray(found.to_numpy(), dtype=np.int32)
