"""Several models on the same test rows: who is best, by how much, and at what cost.

S seeds, U test users
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.config import ModelConfig
from models.ranking.bootstrap import bootstrap_mean
from models.ranking.significance import compare
from tasks.errors import RunFailed
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.logic import SEED

METRICS = {"ndcg_at_10": "NDCG@10", "hit_at_10": "HR@10"}  # the first one ranks


@dataclass(frozen=True)
class Fit:
    """A model as one seed made it: how it was trained, and what it is worth to each test user."""

    seed: int
    run_id: str
    cached: bool
    table: str  # path of the file with each user's metrics
    training: Mapping[str, Any]
    test_fingerprint: str
    per_user: Mapping[str, npt.NDArray[np.float64]]  # [U] by metric
    peak_mb: float | None = None  # of the process tree in training; None where it was trained before


@dataclass(frozen=True)
class Entry:
    """One model with all its seeds; with an error where one of them could not be trained."""

    label: str
    config: ModelConfig
    fits: tuple[Fit, ...]
    error: str | None = None

    def values(self, metric: str) -> npt.NDArray[np.float64]:
        """[S, U] by seed and user."""
        return np.stack([fit.per_user[metric] for fit in self.fits])


def rank(entries: Sequence[Entry], evaluate: EvaluateConfig) -> list[dict[str, Any]]:
    """One row a model, the best on the test first, those that failed last. Raises RunFailed for different tests."""
    same_rows(entries)
    judged = [entry for entry in entries if entry.error is None]
    judged.sort(key=lambda entry: float(entry.values("ndcg_at_10").mean()), reverse=True)
    rows = [{**_named(entry), **_quality(entry, judged[0], evaluate), **_cost(entry)} for entry in judged]
    best = frontier([(row["train_seconds"], row["ndcg_at_10"]) for row in rows])
    ranked = [{**row, "rank": at + 1, "frontier": at in best} for at, row in enumerate(rows)]
    return ranked + [_named(entry) for entry in entries if entry.error is not None]


def frontier(points: Sequence[tuple[float, float]]) -> set[int]:
    """The places of those (seconds, quality) that no other beats: none is as good in less time, or better in as much.

    Equal points are all in it. Source: Pareto, Manuale di economia politica, 1906."""

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    return {at for at, point in enumerate(points) if not any(beats(other, point) for other in points)}


def same_rows(entries: Sequence[Entry]) -> str | None:
    """The fingerprint of the test rows that all were judged on; None where none was. Raises RunFailed for several."""
    judged = {fit.test_fingerprint: entry.label for entry in entries for fit in entry.fits}
    if len(judged) > 1:
        raise RunFailed(
            f"{' and '.join(judged.values())} were judged on different test rows", "this is a fault: please report it"
        )
    return next(iter(judged), None)


def _named(entry: Entry) -> dict[str, Any]:
    """What a row says of a model whatever became of it."""
    return {
        "model": entry.label,
        "name": entry.config.name,
        "error": entry.error,
        "seeds": [fit.seed for fit in entry.fits],
        "run_ids": [fit.run_id for fit in entry.fits],
        "per_user": [fit.table for fit in entry.fits],
        "config": entry.fits[0].training["config"] if entry.fits else entry.config.model_dump(mode="json"),
    }


def _quality(entry: Entry, best: Entry, evaluate: EvaluateConfig) -> dict[str, Any]:
    """Mean over seeds and users with its interval, its standard error over seeds, and the difference to the best model.

    Intervals and p-values are over users: each user's value is averaged over seeds first.
    """
    found: dict[str, Any] = {}
    asked = (SEED, evaluate.resamples, evaluate.level)
    for metric in METRICS:
        value_SU = entry.values(metric)
        own = bootstrap_mean(value_SU.mean(axis=0), *asked)
        found |= {metric: float(value_SU.mean()), f"{metric}_interval": [own.low, own.high]}
        found[f"{metric}_se"] = standard_error(value_SU.mean(axis=1))
        if entry is not best:
            gap = compare(value_SU.mean(axis=0), best.values(metric).mean(axis=0), *asked)
            named = {"difference": gap.mean, "low": gap.low, "high": gap.high, "p_value": gap.p_value}
            found |= {f"{metric}_{name}": value for name, value in named.items()}
    return found


def standard_error(mean_S: npt.NDArray[np.float64]) -> float | None:
    """How far the mean over seeds would move with other seeds; None for a single one."""
    return float(mean_S.std(ddof=1) / math.sqrt(len(mean_S))) if len(mean_S) > 1 else None


def _cost(entry: Entry) -> dict[str, Any]:
    """What the training came to: means over seeds, the largest memory, and each seed's best epoch."""
    trainings = [fit.training for fit in entry.fits]
    valid = [training["valid"]["ndcg_at_10"] for training in trainings if "ndcg_at_10" in training["valid"]]
    return {
        "valid_ndcg_at_10": float(np.mean(valid)) if valid else None,
        "train_seconds": float(np.mean([training["seconds"] for training in trainings])),
        "samples_per_second": float(np.mean([training["samples_per_second"] for training in trainings])) or None,
        "peak_mb": max((fit.peak_mb for fit in entry.fits if fit.peak_mb is not None), default=None),
        "parameters": trainings[0]["n_parameters"],
        "best_epoch": [training["best_epoch"] for training in trainings],
        "cached": [fit.cached for fit in entry.fits],
    }
