"""What the lists are like besides right or wrong, against the catalogue and the histories of the night.

U users, N places of a list, I items
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.base import FloatArray, Ragged
from models.ranking import beyond
from models.ranking.genres import Genres, diversity, miscalibration

PLACES = 10
GENRES = "genres"  # the column of the items table: text, split at |


@dataclass(frozen=True)
class Catalogue:
    """Tonight's items, and what all users had of them before the test: the same for every model of the night."""

    known: Ragged
    """Each user's items before the test."""
    n_items: int
    genres: Genres | None = None

    @cached_property
    def owners_I(self) -> npt.NDArray[np.int64]:
        """How many users have each item."""
        return beyond.owners(self.known, self.n_items)


def beyond_accuracy(items_UN: npt.NDArray[np.int32], histories: Ragged, catalogue: Catalogue) -> dict[str, float]:
    """`coverage_at_10` and so on, of the first ten places; `histories` are what these users had, [U] lists.

    A figure that no list has is left out: all where nobody is shown anything, the last two where there are no genres.
    """
    items_UK, n_items = items_UN[:, :PLACES], catalogue.n_items
    if not (items_UK >= 0).any():
        return {}
    popular = items_UK, catalogue.owners_I, len(catalogue.known)
    figures = {
        "coverage": beyond.coverage(items_UK, n_items),
        "novelty": _mean(beyond.novelty(*popular)),
        "popularity": _mean(beyond.popularity(*popular)),
        "gini": beyond.gini(items_UK, n_items),
    }
    if catalogue.genres is not None:
        figures["diversity"] = _mean(diversity(items_UK, catalogue.genres))
        figures["miscalibration"] = _mean(miscalibration(items_UK, histories, catalogue.genres))
    return {f"{name}_at_{PLACES}": figure for name, figure in figures.items() if np.isfinite(figure)}


def overlap(items_UN: npt.NDArray[np.int32], other_UN: npt.NDArray[np.int32]) -> Mapping[str, float]:
    """`overlap_at_10`: the mean share of the first model's ten that the other one shows the same user; empty where the
    first shows nothing."""
    share = _mean(beyond.overlap(items_UN[:, :PLACES], other_UN[:, :PLACES]))
    return {f"overlap_at_{PLACES}": share} if np.isfinite(share) else {}


def read_genres(items: pa.Table) -> Genres | None:
    """The genres of the split's items table; None where it tells of none."""
    if GENRES not in items.column_names:
        return None
    lists = pc.split_pattern(items[GENRES].combine_chunks().cast(pa.string()), "|")
    item_G, name_G = pc.list_parent_indices(lists), pc.utf8_trim_whitespace(pc.list_flatten(lists))
    named_G = pc.not_equal(name_G, "")
    codes = name_G.filter(named_G).dictionary_encode()
    if not len(codes):
        return None
    of_I = Ragged.from_pairs(item_G.filter(named_G).to_numpy(), codes.indices.to_numpy(), items.num_rows)
    return Genres(of_I.as_sets(), len(codes.dictionary))


def _mean(value_U: FloatArray) -> float:
    """Over the users who have one."""
    return float(np.nanmean(value_U)) if np.isfinite(value_U).any() else float("nan")
