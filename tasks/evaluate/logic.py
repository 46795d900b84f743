"""Scores models on the test rows, each user once, all by the same ranking.

U test users, N places of the longest cutoff, R test rows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import FloatArray, Ragged
from models.bundle import Bundle
from models.ids import IdMap
from models.ranking.bootstrap import bootstrap_mean
from models.ranking.curves import auc, precision_recall, roc_curve, weighted
from models.ranking.full import FullRanking, rank_fully
from models.ranking.top_k import rank_candidates
from tasks.evaluate.beyond import Catalogue, beyond_accuracy
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fair import learned_rows
from tasks.evaluate.segments import Segment, by_history_length, by_item_age, by_item_popularity, by_reason
from tasks.judging import Judges, curve, judge_lists, make_judges

SEED = 20_090_618  # of the bootstrap: equal scores must always get equal intervals
PLOTTED = ("ndcg", "recall")
LONGEST_PLOTTED = 100  # each point of a curve costs a look at all places before it


@dataclass(frozen=True)
class Evaluation:
    """One model's metrics, `test/…` by full ranking and `sampled/…` among candidates, [U] numbers each."""

    per_user: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    users: Mapping[str, Judges]
    curves: Mapping[str, Any] = field(default_factory=dict)  # by full ranking, as `make_curves` gives them
    segments: Mapping[str, Segment] = field(default_factory=dict)  # by full ranking
    beyond: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by part, what its lists are like

    def figures(self) -> dict[str, FloatArray]:
        """`test/ndcg_at_10` and so on: numbers of the users who have one, whose mean is the figure."""
        found: dict[str, FloatArray] = {}
        for part, metrics in self.per_user.items():
            for name, values_U in metrics.items():
                found[f"{part}/{name}"] = values_U[np.isfinite(values_U)]
            if "auc" in metrics:
                has_U = np.isfinite(metrics["auc"])
                rows_U = self.users[part].n_relevant_U[has_U]
                found[f"{part}/gauc"] = weighted(metrics["auc"][has_U], rows_U) if has_U.any() else np.empty(0)
        return {name: values_U for name, values_U in found.items() if len(values_U)}

    def means(self) -> dict[str, float]:
        """`test/ndcg_at_10` and so on: averages over the users; a metric that nobody has is left out."""
        return {name: float(values_U.mean()) for name, values_U in self.figures().items()}


def evaluate_bundle(
    bundle: Bundle,
    test: Judges,
    candidates: pa.Table | None,
    catalogue: Catalogue,
    cutoffs: Sequence[int],
    strangers: pa.Table | None = None,
    age_R: FloatArray | None = None,
) -> Evaluation:
    """Full ranking over all items, as they are served; with candidates (tasks.schema.CANDIDATES) a sampled one beside.

    `strangers` has features of users with no row before the test, and `age_R` the age in days of each test row's item.
    """
    query, n_items = bundle.query(test.users_U, test.known, test.features), len(bundle.items)
    ranking = rank_fully(bundle.as_served, query, test.seen, test.relevant, min(max(cutoffs), n_items))
    items_UN = ranking.items_UK
    per_user, users = {"test": judge_lists(items_UN, test, cutoffs)}, {"test": test}
    segments = {
        "history_length": by_history_length(per_user["test"], test.known.lengths_U),
        "item_popularity": by_item_popularity(items_UN, test, catalogue.owners_I),
        **({} if age_R is None else {"item_age": by_item_age(items_UN, test, age_R)}),
        "reason": by_reason(per_user["test"], bundle.as_served.reasons(query)),
    }
    per_user["test"]["auc"] = auc(ranking, test.relevant, test.n_relevant_U)
    curves = make_curves(ranking, test, min(max(cutoffs), LONGEST_PLOTTED), n_items)
    beyond = {"test": beyond_accuracy(items_UN, test.known, catalogue)}
    if candidates is not None:
        users["sampled"], per_user["sampled"] = _sampled(bundle, candidates, catalogue.known, cutoffs, strangers)
    return Evaluation(per_user, users, curves, segments, beyond)


def make_curves(ranking: FullRanking, test: Judges, longest: int, n_items: int) -> dict[str, Any]:
    """What is plotted: `ndcg` and `recall` at the cutoffs 1..longest; `roc`, the share of the relevant items found
    (`relevant`) at each share of the `negatives`; and `precision_recall`, both at rising `cutoffs`. The last two are
    left out where nobody judges."""
    curves: dict[str, Any] = {name: curve(ranking.items_UK, test, name, longest) for name in PLOTTED}
    judged = test.relevant, test.n_relevant_U
    if (ranking.ranks.negatives_U > 0).any():
        roc = roc_curve(ranking, *judged)
        curves["roc"] = {"negatives": roc.negatives_P.tolist(), "relevant": roc.relevant_P.tolist()}
    if len(test):
        both = precision_recall(ranking, *judged, n_items)
        points = both.cutoffs_P, both.precision_P, both.recall_P
        curves["precision_recall"] = dict(
            zip(("cutoffs", "precision", "recall"), (one_P.tolist() for one_P in points), strict=True)
        )
    return curves


def _sampled(
    bundle: Bundle, candidates: pa.Table, known: Ragged, cutoffs: Sequence[int], strangers: pa.Table | None
) -> tuple[Judges, dict[str, npt.NDArray[np.float64]]]:
    """Who judges by candidates, and their metrics. Candidates only judge: none is ever masked."""
    relevant = candidates.filter(candidates["relevant"])
    judges = make_judges(relevant, known, keeps_repeats=True, features=bundle.features, strangers=strangers)
    query = bundle.query(judges.users_U, judges.known, judges.features)
    items_UN, _ = rank_candidates(bundle.as_served, query, candidate_lists(candidates, judges), max(cutoffs))
    return judges, judge_lists(items_UN, judges, cutoffs)


def candidate_lists(candidates: pa.Table, judges: Judges) -> Ragged:
    """[U] lists of each judging user's candidates; those that the model does not know are left out: they rank last."""
    place = IdMap(np.asarray(judges.user_ids, dtype=np.str_))
    user_R = place.index(candidates["user_id"].to_numpy())
    item_R = candidates["item_idx"].to_numpy()
    kept_R = (user_R >= 0) & (item_R >= 0)
    return Ragged.from_pairs(user_R[kept_R], item_R[kept_R], len(judges)).as_sets()


def fitted_test_rows(bundle: Bundle, test: Judges) -> int:
    """How many of the test rows the model was fitted on: more than none is a leak."""
    return int(learned_rows(bundle, test).sum())


def intervals(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, tuple[float, float]]:
    """`test/ndcg_at_10` and so on to the ends of its confidence interval."""
    found = {}
    for name, values_U in evaluation.figures().items():
        interval = bootstrap_mean(values_U, SEED, config.resamples, config.level)
        found[name] = (interval.low, interval.high)
    return found
