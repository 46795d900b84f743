"""A night's figures under the names that they have in MLflow, and the tags that runs are filtered by."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.differences import LEAD


def figures(metrics: Mapping[str, float], training: Mapping[str, Any]) -> dict[str, float]:
    """The night's metrics under the names that they have in MLflow: `valid/…` is a curve there, which shows its last
    epoch, so the best epoch's value is called `best/valid/…`."""
    best = {f"best/{name}": value for name, value in metrics.items() if name.startswith("valid/")}
    own = {name: value for name, value in metrics.items() if not (training["history"] and name.startswith("valid/"))}
    return {**own, **best, "train/best_epoch": training["best_epoch"]}


def difference_figures(differences: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """`difference/champion/ndcg_at_10`, and the ends of its interval and its p-value as `…_low`, `…_high`, `…_p`."""
    ends = {"mean": "", "low": "_low", "high": "_high", "p_value": "_p"}
    return {
        f"difference/{whom}/{metric}{ends[end]}": value
        for whom, by in differences.items()
        for metric, one in by.items()
        for end, value in one.items()
    }


def interval_figures(intervals: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """`interval/test/ndcg_at_10_low` and `_high`: of the metric that decides, for the run table's columns."""
    low, high = intervals[f"test/{LEAD}"]
    return {f"interval/test/{LEAD}_low": low, f"interval/test/{LEAD}_high": high}


def data_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """`data/accepted`, `data/quarantined` and so on, and how many expectations failed that are only shown."""
    return {
        **{f"data/{name}": count for name, count in result["rows"].items()},
        "data/warnings": len(result["warnings"]),
    }


def segment_figures(segments: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """`test_by_history_length/005-009/ndcg_at_10` and so on: names that MLflow takes, in an order that makes sense."""
    return {
        f"test_by_{kind}/{sortable(row['bucket'])}/{name}": float(value)
        for kind, rows in segments.items()
        for row in rows
        for name, value in row.items()
        if name != "bucket"
    }


def sortable(bucket: str) -> str:
    """A bucket with its numbers in three digits: `5-9` as 005-009, `<7` as 000-007, `365+` as 365-up."""
    spelt = bucket.replace("<", "0-").replace("+", "-up")
    return re.sub(r"\d+", lambda number: number[0].zfill(3), spelt)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as `section.field`, the names that every flag has."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and (value or not prefix):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def tags(result: Mapping[str, Any]) -> dict[str, str]:
    """What an analyst filters runs by."""
    decision, warm = result["decision"], result["warm"]
    return {
        "decision": "promoted" if decision["promote"] else "waiting" if decision["awaits_approval"] else "refused",
        "reason": decision["reason"],
        "snapshot": result["snapshot"],
        "protocol": result["protocol"],
        "weights_sha256": result["weights_sha256"],
        "model_version": result["model"]["version"],
        **{f"beside_{whom}": rival["version"] for whom, rival in result["beside"].items()},
        **({"start": "cold" if "cold_because" in warm else "warm"} if warm else {}),
        "fitted_on": "everything" if result["on_everything"] else "rows before the test",
    }
