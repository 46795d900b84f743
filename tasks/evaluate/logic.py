"""Scores models on the test rows, each user once, all by the same ranking.

U test users, K places, R test rows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import Ragged
from models.bundle import Bundle
from models.ids import IdMap
from models.ranking.bootstrap import bootstrap_mean
from models.ranking.top_k import rank_candidates
from models.serving import popularity
from tasks.evaluate.config import EvaluateConfig
from tasks.judging import Judges, curve, judge_lists, make_judges, means, rank_all

SEED = 20_090_618  # of the bootstrap: equal scores must always get equal intervals
PLOTTED = ("ndcg", "recall")
LONGEST_PLOTTED = 100  # each point of a curve costs a look at all places before it


class Champion(Protocol):
    """What is asked of the model in production; it answers with the code that it was shipped with."""

    def recommend(
        self,
        user_ids: npt.NDArray[Any],
        k: int,
        histories: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
        exclude_seen: bool = True,
        seen: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.bool_]]: ...

    def was_fitted_on(self, user_ids: npt.NDArray[Any], item_ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Evaluation:
    """One model's metrics, `test/…` by full ranking and `sampled/…` among candidates, [U] numbers each."""

    per_user: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    users: Mapping[str, Judges]
    curves: Mapping[str, list[float]]  # metric at the cutoffs 1, 2, … 100, by full ranking

    def means(self) -> dict[str, float]:
        """`test/ndcg_at_10` and so on: averages over the users."""
        return {
            f"{part}/{name}": mean for part, one in self.per_user.items() for name, mean in means(dict(one)).items()
        }


def evaluate_bundle(
    bundle: Bundle, test: Judges, candidates: pa.Table | None, known: Ragged, cutoffs: Sequence[int]
) -> Evaluation:
    """Full ranking over all items; with candidates (tasks.schema.CANDIDATES) a sampled one beside it."""
    popularity_I = popularity(bundle.fitted, len(bundle.items))
    query = bundle.query(test.users_U, test.known)
    items_UN = rank_all(bundle.model, popularity_I, test, query, max(cutoffs))
    per_user, users = {"test": judge_lists(items_UN, test, cutoffs)}, {"test": test}
    curves = {name: curve(items_UN, test, name, min(max(cutoffs), LONGEST_PLOTTED)) for name in PLOTTED}
    if candidates is not None:
        relevant = candidates.filter(candidates["relevant"])
        judges = make_judges(relevant, known, keeps_repeats=True)  # candidates only judge: none is ever masked
        query = bundle.query(judges.users_U, judges.known)
        lists = candidate_lists(candidates, judges)
        items_UN = rank_candidates(bundle.model, query, lists, max(cutoffs))[0]
        per_user["sampled"] = judge_lists(items_UN, judges, cutoffs)
        users["sampled"] = judges
    return Evaluation(per_user, users, curves)


def candidate_lists(candidates: pa.Table, judges: Judges) -> Ragged:
    """[U] lists of each judging user's candidates; those that the model does not know are left out: they rank last."""
    place = IdMap(np.asarray(judges.user_ids, dtype=np.str_))
    user_R = place.index(candidates["user_id"].to_numpy())
    item_R = candidates["item_idx"].to_numpy()
    kept_R = (user_R >= 0) & (item_R >= 0)
    return Ragged.from_pairs(user_R[kept_R], item_R[kept_R], len(judges)).as_sets()


def evaluate_champion(
    champion: Champion, test: Judges, items: IdMap, cutoffs: Sequence[int]
) -> dict[str, npt.NDArray[np.float64]]:
    """The champion's metrics, with tonight's histories. Items unknown to it are never in its lists: last.

    Hits are told by raw id, for the champion may know an item that tonight's catalogue (`items`) does not.
    """
    raw = (test.known.offsets_U1, items.ids_N[test.known.items_R])
    seen = (test.seen.offsets_U1, items.ids_N[test.seen.items_R]) if test.seen is not None else None
    lists = champion.recommend(test.user_ids, max(cutoffs), raw, test.seen is not None, seen)
    held_out = IdMap(np.unique(np.asarray(test.rows["item_id"].to_numpy(), dtype=np.str_)))
    user_R = IdMap(np.asarray(test.user_ids, dtype=np.str_)).index(test.rows["user_id"].to_numpy())
    wanted = Ragged.from_pairs(user_R, held_out.index(test.rows["item_id"].to_numpy()), len(test))
    items_UK = np.where(np.isfinite(lists[1]), held_out.index(lists[0].reshape(-1)).reshape(lists[0].shape), -1)
    return judge_lists(items_UK.astype(np.int32), replace(test, relevant=wanted), cutoffs)


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
