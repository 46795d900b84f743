"""How much better one model is than another, user by user, from the tables of metrics that judging leaves.

U users of both
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.ranking.significance import compare
from tasks.schema import PER_USER
from tasks.store.tables import read_table

SEED = 20_090_618  # of the bootstrap, as of every interval: equal scores must always get equal differences
LEAD = "ndcg_at_10"
SHOWN = (LEAD, "recall_at_10", "hit_at_10", "mrr_at_10", "auc")
"""Metrics of which a difference is shown: one of a kind, for each costs thousands of resamples of the users."""
Differences = dict[str, dict[str, float]]
"""By metric: mean, low, high and p_value."""


class NotPaired(ValueError):
    """The tables are of other users, or of other test rows."""


def differences(new: Path, old: Path, samples: int, level: float, metrics: Sequence[str] = SHOWN) -> Differences:
    """`new - old` for those of the metrics that both tables have. Users without a value in either are left out.

    Raises NotPaired where the rows of the tables are not the same users with as many test rows."""
    base = PER_USER.names[:2]
    tables = [read_table(path) for path in (new, old)]
    if not tables[0].select(base).equals(tables[1].select(base)):
        raise NotPaired(f"{new} and {old} are of different users")
    found: Differences = {}
    for metric in metrics:
        if all(metric in table.column_names for table in tables):
            new_U, old_U = (np.asarray(table[metric].to_numpy(), dtype=np.float64) for table in tables)
            both_U = np.isfinite(new_U) & np.isfinite(old_U)
            if both_U.any():
                found[metric] = asdict(compare(new_U[both_U], old_U[both_U], SEED, samples, level))
    return found
