"""What can be told of the order of the written tables, in one reading of each.

R rows of a row group
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.compiled import compiled
from tasks.split.audit.claim import Claim
from tasks.split.parts import Ints, Longs
from tasks.store.refs import DatasetRef
from tasks.store.store import Store

Bits = npt.NDArray[np.uint8]


def order_facts(store: Store, parts: Mapping[str, DatasetRef], claim: Claim) -> dict[str, int]:
    """Rows whose place another row has, and rows that stand before a row that they should follow."""
    n_places = claim.snapshot.rows
    bits = np.zeros(n_places // 8 + 1, dtype=np.uint8)  # one for each row of the log: whether a part has it
    found = np.zeros(2, dtype=np.int64)
    ingested = ("train", "valid", "rated") if claim.protocol == "given" else ("train", "valid", "test", "rated")
    for name in ingested:
        columns = ["user_idx", "place"] + (["timestamp"] if name != "rated" else [])
        last = np.array([-1, -1, np.iinfo(np.int64).min])  # user, place and time of the row before
        for table in store.blocks(parts[name], columns):
            time_R = np.zeros(table.num_rows, dtype=np.int64)
            if name != "rated":
                time_R = pc.fill_null(table["timestamp"].cast(pa.int64()), 0).to_numpy()
            place_R = pc.fill_null(table["place"], -1).to_numpy()
            found += _look(table["user_idx"].to_numpy(), place_R, time_R, last, bits, n_places)
    return {"rows_twice": int(found[0]), "rows_disordered": int(found[1])}


@compiled()
def _look(user_R: Ints, place_R: Longs, time_R: Longs, last: Longs, bits: Bits, n_places: int) -> Longs:
    """Marks the places and returns how many were marked before (or are none), and how many rows are out of order."""
    n_twice, n_disordered = 0, 0
    for r in range(len(place_R)):
        place, user = place_R[r], user_R[r]
        if place < 0 or place >= n_places or bits[place >> 3] & (1 << (place & 7)):
            n_twice += 1
        else:
            bits[place >> 3] |= 1 << (place & 7)
        late = place > last[1] and (user < 0 or user > last[0] or (user == last[0] and time_R[r] >= last[2]))
        n_disordered += not late
        last[1] = place
        if user >= 0:  # test rows of unknown users stand among the others
            last[0], last[2] = user, time_R[r]
    return np.array([n_twice, n_disordered])
