"""What lists are like, besides right or wrong: how much of the catalogue they show, how known it is, how alike.

U users, K places, I items of the catalogue

`items_UK` are item indices, best first, -1 for an empty place. An index of I or more is an item that the catalogue does
not have, as a champion of an earlier night may show: it covers nothing, and nobody has it.
"""

import numpy as np
import numpy.typing as npt

from ..base import FloatArray, IntArray, Ragged

Items = npt.NDArray[np.int32] | npt.NDArray[np.int64]


def owners(histories: Ragged, n_items: int) -> npt.NDArray[np.int64]:
    """[I] how many users have each item; one who has it twice counts once."""
    return np.bincount(histories.as_sets().items_R, minlength=n_items)


def coverage(items_UK: Items, n_items: int) -> float:
    """Share of the catalogue that anybody is shown. Source: Ge et al., RecSys 2010, catalogue coverage."""
    return float((exposure(items_UK, n_items) > 0).mean())


def gini(items_UK: Items, n_items: int) -> float:
    """Inequality of how often each item of the catalogue is shown: 0 where all are shown as often, towards 1 where one
    takes all places; NaN where nothing of the catalogue is shown. Source: Fleder & Hosanagar, Management Science 2009.
    """
    shown_I = np.sort(exposure(items_UK, n_items))
    total = shown_I.sum()
    rank_I = np.arange(1, n_items + 1)
    return float(((2 * rank_I - n_items - 1) @ shown_I) / (n_items * total)) if total else float("nan")


def exposure(items_UK: Items, n_items: int) -> npt.NDArray[np.int64]:
    """[I] in how many lists each item of the catalogue stands."""
    return np.bincount(items_UK[(items_UK >= 0) & (items_UK < n_items)], minlength=n_items)


def popularity(items_UK: Items, owners_I: IntArray, n_users: int) -> FloatArray:
    """[U] mean share of users who have the items of the list, 0..1; NaN for an empty list.

    Source: average recommendation popularity, Yin et al., VLDB 2012, as a share of the users."""
    return _mean_of_list(_owners_of(items_UK, owners_I) / n_users, items_UK)


def novelty(items_UK: Items, owners_I: IntArray, n_users: int) -> FloatArray:
    """[U] mean self-information of the items of the list, -log2(share of users who have it), in bits; NaN for an empty
    list. An item that nobody has counts as one that one user has.

    Source: Zhou et al., PNAS 2010."""
    return _mean_of_list(-np.log2(np.maximum(_owners_of(items_UK, owners_I), 1) / n_users), items_UK)


def overlap(items_UK: Items, other_UK: Items) -> FloatArray:
    """[U] share of the items of the first list that the other list of the same user shows too, in whatever place; NaN
    where the first is empty."""
    if len(items_UK) != len(other_UK):
        raise ValueError(f"lists of {len(items_UK)} and of {len(other_UK)} users")
    both_UK = np.zeros(items_UK.shape, dtype=np.bool_)
    for place in range(other_UK.shape[1]):  # one place at a time: K * K for every user would not fit
        both_UK |= items_UK == other_UK[:, place, None]
    return _mean_of_list(both_UK, items_UK)


def _owners_of(items_UK: Items, owners_I: IntArray) -> npt.NDArray[np.int64]:
    known_UK = (items_UK >= 0) & (items_UK < len(owners_I))
    return np.where(known_UK, owners_I[np.where(known_UK, items_UK, 0)], 0)


def _mean_of_list(value_UK: npt.NDArray[np.float64] | npt.NDArray[np.bool_], items_UK: Items) -> FloatArray:
    """[U] the mean over the places that are not empty."""
    shown_UK = items_UK >= 0
    n_U = shown_UK.sum(axis=1)
    mean_U = np.full(len(items_UK), np.nan)
    np.divide((value_UK * shown_UK).sum(axis=1), n_U, out=mean_U, where=n_U > 0)
    return mean_U
