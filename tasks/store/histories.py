"""Users' histories between Parquet and the arrays that models take."""

import numpy as np
import pyarrow as pa

from models.base import Ragged
from tasks.schema import HISTORIES


def histories_table(histories: Ragged) -> pa.Table:
    """One row per user, in index order."""
    items = pa.LargeListArray.from_arrays(histories.offsets_U1, histories.items_R)
    users = np.arange(len(histories), dtype=np.int32)
    return pa.table([users, items.cast(pa.list_(pa.int32()))], schema=HISTORIES)


def read_histories(table: pa.Table) -> Ragged:
    """The inverse, in whole arrays."""
    items = table["items"].combine_chunks()
    items = items.cast(pa.large_list(pa.int32()))
    offsets_U1 = items.offsets.to_numpy().astype(np.int64)
    values_R = items.values.to_numpy()[offsets_U1[0] : offsets_U1[-1]] if len(offsets_U1) else np.empty(0, np.int32)
    # writable, as torch wants every array that it shares
    return Ragged(offsets_U1 - offsets_U1[0], np.require(values_R, np.int32, ["C", "W"]))
