"""How pages write names and numbers: rounded here and nowhere before. A number that is none is a dash."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

METRIC_NAMES = {"ndcg": "NDCG", "hit": "HitRate", "map": "MAP", "mrr": "MRR", "auc": "AUC", "gauc": "GAUC"}
"""The rest only gets a capital."""
NONE = "–"


def metric_name(metric: str) -> str:
    """`test/ndcg_at_10`, or without its part, as people write it: NDCG@10; one without a cutoff: AUC."""
    name, _, k = metric.rpartition("/")[2].partition("_at_")
    return METRIC_NAMES.get(name, name.capitalize()) + (f"@{k}" if k else "")


def metric(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.4f}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−") if math.isfinite(value) else NONE


def share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else NONE


def p_value(value: float) -> str:
    """Three digits after the point; below that only that it is below."""
    return NONE if not math.isfinite(value) else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def interval(ends: Sequence[float] | None) -> str:
    """A dash where there is none."""
    return f"{metric(ends[0])} to {metric(ends[1])}" if ends else NONE


def difference(one: Mapping[str, Any]) -> str:
    """A difference with its interval, for a line of text."""
    return f"{signed(one['mean'])} ({signed(one['low'])} to {signed(one['high'])})"


def colour(low: float, high: float) -> str:
    """The class of an interval of differences: good above zero, bad below, none where it holds zero."""
    return " good" if low > 0 else " bad" if high < 0 else ""


def in_words(value: Any) -> str:
    """A value of a configuration: fields by commas, the name first and on its own."""
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        own = [f"{key} {in_words(one)}" for key, one in value.items() if key != "name" and one is not None]
        return ", ".join(name + own)
    return ", ".join(map(in_words, value)) if isinstance(value, list) else str(value)
