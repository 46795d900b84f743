"""The model in production beside tonight's: both make lists for the same users, and the same rows judge them.

U test users, K and N places, R test rows, P rows that the champion has learned, S items left out of the lists of all
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.base import Ragged
from models.bundle import Bundle
from models.features import UserFeatures
from models.ids import IdMap
from tasks.evaluate.beyond import Catalogue, beyond_accuracy, overlap
from tasks.evaluate.fair import of_judges
from tasks.features import raw_features
from tasks.judging import Judges, judge_lists


class Champion(Protocol):
    """What is asked of the model in production; it answers with the code that it was shipped with.

    Only one that has `features` takes the argument of that name: raw values [U] of users whom it does not know."""

    def recommend(
        self,
        user_ids: npt.NDArray[Any],
        k: int,
        histories: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
        exclude_seen: bool = True,
        seen: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[Any]]: ...

    def was_fitted_on(self, user_ids: npt.NDArray[Any], item_ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Duel:
    """Champion and challenger, by these names, on the same users."""

    per_user: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]  # of metrics, [U] each
    beyond: Mapping[str, Mapping[str, float]]
    overlap: Mapping[str, float]  # `overlap_at_10`: the share of the champion's lists that the challenger shows too


def duel(
    champion: Champion,
    bundle: Bundle,
    test: Judges,
    catalogue: Catalogue,
    cutoffs: Sequence[int],
    learned: pa.Table | None = None,
) -> Duel:
    """Both models' metrics by the lists that they would serve, and what these lists are like. The rows that the
    champion has `learned` are left out of both, unless users take items again."""
    k = max(cutoffs)
    theirs_UN, judges = champion_lists(champion, test, bundle.items, k, bundle.features, learned)
    ours_UN = bundle.lists(test.users_U, test.known, _left_out(test, learned), k, test.features).items_UK
    lists = {"champion": theirs_UN, "challenger": ours_UN}
    return Duel(
        {"champion": judge_lists(theirs_UN, judges, cutoffs), "challenger": judge_lists(ours_UN, test, cutoffs)},
        {name: beyond_accuracy(items_UN, test.known, catalogue) for name, items_UN in lists.items()},
        overlap(theirs_UN, ours_UN),
    )


def champion_lists(
    champion: Champion,
    test: Judges,
    items: IdMap,
    k: int,
    features: UserFeatures | None = None,
    learned: pa.Table | None = None,
) -> tuple[npt.NDArray[np.int32], Judges]:
    """[U, K] the champion's lists, with tonight's histories and features. Items unknown to it are never in them: last.

    The champion may know items that tonight's catalogue (`items`) does not. They, and test rows of new items, have the
    indices after it, here and among the relevant items of the judges that are returned."""
    raw = (test.known.offsets_U1, items.ids_N[test.known.items_R])
    seen = _left_out_raw(test, items, learned)
    more: dict[str, Any] = {}
    if features is not None and getattr(champion, "features", None) is not None:  # else it does not know the argument
        more["features"] = raw_features(features, test.features)
    ids_UK, score_UK, _ = champion.recommend(test.user_ids, k, raw, test.seen is not None, seen, **more)
    shown_N, wanted_R = ids_UK.reshape(-1), np.asarray(test.rows["item_id"].to_numpy(), dtype=np.str_)
    shown_index_N, item_R = items.index(shown_N), test.rows["item_idx"].to_numpy()
    others = np.concatenate([shown_N[shown_index_N < 0].astype(np.str_), wanted_R[item_R < 0]])
    foreign = IdMap(np.unique(others))
    items_N = np.where(shown_index_N >= 0, shown_index_N, len(items) + foreign.index(shown_N))
    items_UK = np.where(np.isfinite(score_UK), items_N.reshape(ids_UK.shape), -1).astype(np.int32)
    relevant_R = np.where(item_R >= 0, item_R, len(items) + foreign.index(wanted_R))
    return items_UK, replace(test, relevant=Ragged.from_pairs(test.users_R, relevant_R, len(test)))


def _left_out(test: Judges, learned: pa.Table | None) -> Ragged | None:
    """[U] what is left out of the lists, by the indices of tonight's catalogue."""
    if test.seen is None or learned is None:
        return test.seen
    user_P, rows = of_judges(learned, test)
    item_P = rows["item_idx"].to_numpy()
    users_S = np.concatenate([test.seen.users_R, user_P[item_P >= 0]])
    return Ragged.from_pairs(users_S, np.concatenate([test.seen.items_R, item_P[item_P >= 0]]), len(test))


def _left_out_raw(
    test: Judges, items: IdMap, learned: pa.Table | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None:
    """The same by raw ids, as offsets [U + 1] and ids [S]: with what tonight's catalogue does not have, too."""
    seen = _left_out(test, learned)
    if seen is None:
        return None
    users_S, ids_S = seen.users_R.astype(np.int64), items.ids_N[seen.items_R]
    if learned is not None and (new := learned.filter(pc.less(learned["item_idx"], 0))).num_rows:
        user_P, rows = of_judges(new, test)
        users_S = np.concatenate([users_S, user_P])
        ids_S = np.concatenate([ids_S.astype(np.str_), np.asarray(rows["item_id"].to_numpy(), dtype=np.str_)])
        order_S = np.argsort(users_S, kind="stable")
        users_S, ids_S = users_S[order_S], ids_S[order_S]
    return np.searchsorted(users_S, np.arange(len(test) + 1)), ids_S
