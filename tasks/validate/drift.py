"""Drift: tonight's rows by popularity, rating and hour of day against those of the last good night.

Histograms of all rows are small, so Great Expectations judges every row in bounded memory: it is handed a column with
the shares of the histogram, and compares it with the shares of the last good night by its own expectation.

B buckets, I items of the last good night
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.expect.agree import judge_counted
from tasks.expect.contract import Judge, Rule, Similar
from tasks.validate.result import Count, Distribution, Finding, finding

IntArray = npt.NDArray[np.int64]

N_SHOWN = 20_000
"""Rows of the column that stands for a histogram: shares are exact to 1 in 20,000."""
LEAST_ROWS = 10_000
"""On either side. With fewer, chance decides: users come in sessions, and on MovieLens 100K the hours of the next 3,000
rows diverge by .36 from those of all rows before them (median), of the next 10,000 by .16."""
LEAST_RATINGS = 3_000
"""Ratings differ less from user to user: there the next 3,000 diverge by at most .07, the next 1,000 by up to .34."""
N_POPULARITY, N_RATINGS = 10, 20
NEW, OTHER, BELOW, ABOVE = "new", "other", "below", "above"
NEW_SHARE = 0.05
"""Expected of items that the last good night did not know. Half of the rows on them are a divergence of .8."""
BLUR = 0.01
"""Spread evenly over the buckets: an hour or rating that comes up for the first time is no infinite divergence."""


def popularity(before_I: IntArray, today_I: IntArray, new_rows: int) -> Distribution:
    """Rows by how popular their item was: ten buckets of about a tenth of the last good night's rows each, the most
    popular items first, equally popular ones together; and tonight's rows on items that were not known."""
    counts_C, group_I = np.unique(-before_I, return_inverse=True)  # the most popular first
    rows_C = -counts_C * np.bincount(group_I, minlength=len(counts_C))
    bucket_I = _bucket(rows_C, N_POPULARITY)[group_I]
    before_B = np.bincount(bucket_I, weights=before_I, minlength=N_POPULARITY).astype(np.int64)
    today_B = np.bincount(bucket_I, weights=today_I, minlength=N_POPULARITY).astype(np.int64)
    labels = [f"{10 * bucket}-{10 * bucket + 10}%" for bucket in range(N_POPULARITY)]
    return _distribution("popularity", [*labels, NEW], [*today_B, new_rows], [*before_B, 0])


def rating(today: Mapping[str, int], before: Mapping[str, int]) -> Distribution:
    """Rows by rating, of histograms by value: each value of the last good night, or where it had more than twenty, as
    many ranges of about equal numbers of rows."""
    values_V, rows_V = _sorted(before)
    new_V, new_rows_V = _sorted(today)
    if len(values_V) <= N_RATINGS:
        labels, bucket_V = [f"{value:g}" for value in values_V], np.arange(len(values_V))
        place_V = np.searchsorted(values_V, new_V)
        known_V = np.isin(new_V, values_V)
        today_B = np.bincount(place_V[known_V], weights=new_rows_V[known_V], minlength=len(labels))
        return _distribution("rating", [*labels, OTHER], [*today_B, new_rows_V[~known_V].sum()], [*rows_V, 0])
    bucket_V = _bucket(rows_V, N_RATINGS)
    used_B = np.unique(bucket_V)
    first_B, last_B = (np.searchsorted(bucket_V, used_B, side=side) for side in ("left", "right"))
    low_B, high_B = values_V[first_B], values_V[last_B - 1]
    labels = [f"{low:g} to {high:g}" for low, high in zip(low_B, high_B, strict=True)]
    place_V = np.searchsorted(high_B, new_V) + (new_V >= low_B[0])  # 0: below all, the last: above all
    today_B = np.bincount(place_V, weights=new_rows_V, minlength=len(labels) + 2)
    before_B = np.bincount(np.searchsorted(used_B, bucket_V) + 1, weights=rows_V, minlength=len(labels) + 2)
    return _distribution("rating", [BELOW, *labels, ABOVE], list(today_B), list(before_B))


def hour(today: Mapping[str, int], before: Mapping[str, int]) -> Distribution:
    """Rows by the hour of the day, UTC."""
    hours = [str(hour) for hour in range(24)]
    return _distribution("hour", hours, [today.get(h, 0) for h in hours], [before.get(h, 0) for h in hours])


def _distribution(column: str, labels: Sequence[str], today: Sequence[Any], before: Sequence[Any]) -> Distribution:
    return Distribution(column, tuple(labels), tuple(map(int, today)), tuple(map(int, before)))


def _sorted(histogram: Mapping[str, int]) -> tuple[npt.NDArray[np.float64], IntArray]:
    values_V = np.array([float(value) for value in histogram])
    rows_V = np.array(list(histogram.values()), dtype=np.int64)
    order_V = np.argsort(values_V)
    return values_V[order_V], rows_V[order_V]


def _bucket(rows_C: IntArray, n_buckets: int) -> IntArray:
    """The bucket of each group, given the groups' rows in their order: where the group's middle row falls."""
    middle_C = (np.cumsum(rows_C) - rows_C / 2) / max(rows_C.sum(), 1)
    return np.asarray(middle_C * n_buckets).astype(np.int64).clip(max=n_buckets - 1)


def shares(before: Distribution) -> tuple[tuple[str, float], ...]:
    """The share that is expected of each bucket; none is 0."""
    known_B = np.array(before.before) / sum(before.before)
    share_B = (1 - BLUR) * known_B + BLUR / len(known_B)
    if NEW in before.labels:
        is_new_B = np.array(before.labels) == NEW
        share_B = np.where(is_new_B, NEW_SHARE, (1 - NEW_SHARE) * share_B / share_B[~is_new_B].sum())
    return tuple(zip(before.labels, share_B.tolist(), strict=True))


def shown(counts: Sequence[int], most: int = N_SHOWN) -> IntArray:
    """Counts in the same shares that add up to `most`, or the counts themselves where they do not exceed it."""
    count_B = np.array(counts, dtype=np.int64)
    if (n := int(count_B.sum())) <= most:
        return count_B
    exact_B = count_B / n * most
    shown_B = exact_B.astype(np.int64)
    largest = np.argsort(shown_B - exact_B, kind="stable")[: most - shown_B.sum()]
    shown_B[largest] += 1
    return shown_B


def divergence(today_B: IntArray, share_B: npt.ArrayLike) -> float:
    """Kullback-Leibler divergence of counts from shares, in nats."""
    observed_B = today_B / today_B.sum()
    present_B = observed_B > 0
    ratio_B = observed_B[present_B] / np.asarray(share_B)[present_B]
    return float((observed_B[present_B] * np.log(ratio_B)).sum())


def is_judged(distribution: Distribution) -> bool:
    return min(sum(distribution.today), sum(distribution.before)) >= least_rows(distribution.column)


def least_rows(column: str) -> int:
    """Of tonight and of the last good night, for that distribution to be judged."""
    return LEAST_RATINGS if column == "rating" else LEAST_ROWS


def judge_drift(
    distributions: Sequence[Distribution], rules: Sequence[Rule], source: str, judge: Judge
) -> list[Finding]:
    """Findings of the rules (`contract.drift_rules`) on those distributions that have rows enough."""
    by_column = {distribution.column: distribution for distribution in distributions if is_judged(distribution)}
    asked = tuple(_filled(rule, by_column[rule.column]) for rule in rules if rule.column in by_column)
    if not asked:
        return []
    columns = {rule.column: shown(by_column[rule.column].today) for rule in asked}
    found = [divergence(columns[rule.column], [share for _, share in _similar(rule).shares]) for rule in asked]
    n_failing = [int(value > _similar(rule).max_divergence) for value, rule in zip(found, asked, strict=True)]
    frame = _frame({column: (by_column[column].labels, counts) for column, counts in columns.items()})
    verdicts = judge_counted("drift", frame, asked, n_failing, judge, whole=True)
    return [
        finding("dataset", source, rule, Count(failing, 0, observed=f"{value:.3g}"), verdict)
        for rule, failing, value, verdict in zip(asked, n_failing, found, verdicts, strict=True)
    ]


def _filled(rule: Rule, distribution: Distribution) -> Rule:
    return replace(rule, check=Similar(shares(distribution), _similar(rule).max_divergence))


def _similar(rule: Rule) -> Similar:
    if not isinstance(rule.check, Similar):
        raise ValueError(f'"{rule.sentence}" is about no distribution')
    return rule.check


def _frame(columns: Mapping[str, tuple[Sequence[str], IntArray]]) -> pd.DataFrame:
    """Each label as often as it counts; shorter columns end in nulls, which are not judged."""
    series = {name: pd.Series(np.repeat(np.array(labels), counts)) for name, (labels, counts) in columns.items()}
    return pd.DataFrame(series)
