"""Scores models on the test rows, each user once, all by the same ranking.

U test users, K places, R test rows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import FloatArray, IntArray, Ragged
from models.bundle import Bundle
from models.features import UserFeatures
from models.ids import IdMap
from models.ranking.bootstrap import bootstrap_mean
from models.ranking.top_k import rank_candidates
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.segments import Segment, by_history_length, by_item_age, by_reason
from tasks.judging import Judges, curve, judge_lists, make_judges, means

SEED = 20_090_618  # of the bootstrap: equal scores must always get equal intervals
PLOTTED = ("ndcg", "recall")
LONGEST_PLOTTED = 100  # each point of a curve costs a look at all places before it


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
class Evaluation:
    """One model's metrics, `test/…` by full ranking and `sampled/…` among candidates, [U] numbers each."""

    per_user: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    users: Mapping[str, Judges]
    curves: Mapping[str, list[float]]  # metric at the cutoffs 1, 2, … 100, by full ranking
    segments: Mapping[str, Segment] = field(default_factory=dict)  # by full ranking

    def means(self) -> dict[str, float]:
        """`test/ndcg_at_10` and so on: averages over the users."""
        return {
            f"{part}/{name}": mean for part, one in self.per_user.items() for name, mean in means(dict(one)).items()
        }


def evaluate_bundle(
    bundle: Bundle,
    test: Judges,
    candidates: pa.Table | None,
    known: Ragged,
    cutoffs: Sequence[int],
    strangers: pa.Table | None = None,
    age_R: FloatArray | None = None,
) -> Evaluation:
    """Full ranking over all items, as they are served; with candidates (tasks.schema.CANDIDATES) a sampled one beside.

    `strangers` has features of users with no row before the test, and `age_R` the age in days of each test row's item.
    """
    lists = bundle.lists(test.users_U, test.known, test.seen, max(cutoffs), test.features)
    items_UN = lists.items_UK
    per_user, users = {"test": judge_lists(items_UN, test, cutoffs)}, {"test": test}
    segments = {
        "history_length": by_history_length(per_user["test"], test.known.lengths_U),
        **({} if age_R is None else {"item_age": by_item_age(items_UN, test, age_R)}),
        "reason": by_reason(per_user["test"], lists.reason_U),
    }
    curves = {name: curve(items_UN, test, name, min(max(cutoffs), LONGEST_PLOTTED)) for name in PLOTTED}
    if candidates is not None:
        relevant = candidates.filter(candidates["relevant"])
        # candidates only judge: none is ever masked
        judges = make_judges(relevant, known, keeps_repeats=True, features=bundle.features, strangers=strangers)
        query = bundle.query(judges.users_U, judges.known, judges.features)
        items_UN = rank_candidates(bundle.as_served, query, candidate_lists(candidates, judges), max(cutoffs))[0]
        per_user["sampled"] = judge_lists(items_UN, judges, cutoffs)
        users["sampled"] = judges
    return Evaluation(per_user, users, curves, segments)


def candidate_lists(candidates: pa.Table, judges: Judges) -> Ragged:
    """[U] lists of each judging user's candidates; those that the model does not know are left out: they rank last."""
    place = IdMap(np.asarray(judges.user_ids, dtype=np.str_))
    user_R = place.index(candidates["user_id"].to_numpy())
    item_R = candidates["item_idx"].to_numpy()
    kept_R = (user_R >= 0) & (item_R >= 0)
    return Ragged.from_pairs(user_R[kept_R], item_R[kept_R], len(judges)).as_sets()


def evaluate_champion(
    champion: Champion, test: Judges, items: IdMap, cutoffs: Sequence[int], features: UserFeatures | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """The champion's metrics, with tonight's histories and features. Items unknown to it are never in its lists: last.

    Hits are told by raw id, for the champion may know an item that tonight's catalogue (`items`) does not.
    """
    raw = (test.known.offsets_U1, items.ids_N[test.known.items_R])
    seen = (test.seen.offsets_U1, items.ids_N[test.seen.items_R]) if test.seen is not None else None
    more: dict[str, Any] = {}
    if features is not None and getattr(champion, "features", None) is not None:  # else it does not know the argument
        more["features"] = raw_features(features, test.features)
    lists = champion.recommend(test.user_ids, max(cutoffs), raw, test.seen is not None, seen, **more)
    held_out = IdMap(np.unique(np.asarray(test.rows["item_id"].to_numpy(), dtype=np.str_)))
    user_R = IdMap(np.asarray(test.user_ids, dtype=np.str_)).index(test.rows["user_id"].to_numpy())
    wanted = Ragged.from_pairs(user_R, held_out.index(test.rows["item_id"].to_numpy()), len(test))
    items_UK = np.where(np.isfinite(lists[1]), held_out.index(lists[0].reshape(-1)).reshape(lists[0].shape), -1)
    return judge_lists(items_UK.astype(np.int32), replace(test, relevant=wanted), cutoffs)


def raw_features(features: UserFeatures, codes: Mapping[str, IntArray]) -> dict[str, list[str | None]]:
    """By name, the values [U] that these codes stand for; None for what is unknown."""
    return {
        name: [str(features.values[name].ids_N[code - 1]) if code else None for code in codes_U.tolist()]
        for name, codes_U in codes.items()
    }


def fair_rows(champion: Champion, test: Judges) -> pa.Table:
    """The test rows that the champion was not fitted on: only these may judge between it and a challenger."""
    fitted_R = champion.was_fitted_on(test.rows["user_id"].to_numpy(), test.rows["item_id"].to_numpy())
    return test.rows.filter(pa.array(~fitted_R))


def intervals(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, tuple[float, float]]:
    """`test/ndcg_at_10` and so on to the ends of its confidence interval."""
    found = {}
    for part, metrics in evaluation.per_user.items():
        for name, values_U in metrics.items():
            interval = bootstrap_mean(values_U[np.isfinite(values_U)], SEED, config.resamples, config.level)
            found[f"{part}/{name}"] = (interval.low, interval.high)
    return found
