"""Several models on the same test rows: who is best, by how much, and at what cost.

S seeds, U test users
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from flows.summary import mlflow_command
from models.config import ModelConfig
from models.ranking.bootstrap import paired_bootstrap
from tasks.errors import RunFailed
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.logic import SEED

METRICS = {"ndcg_at_10": "NDCG@10", "hit_at_10": "HR@10"}  # the first one ranks
WIDE = 160  # of a table that goes into a file


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
    failed = [_named(entry) for entry in entries if entry.error is not None]
    return [{**_named(entry), **_quality(entry, judged[0], evaluate), **_cost(entry)} for entry in judged] + failed


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
    """Mean over seeds and users, its standard error over seeds, and the difference to the best model.

    The interval of the difference is over users: each user's value is averaged over seeds first.
    """
    found: dict[str, Any] = {}
    for metric in METRICS:
        value_SU = entry.values(metric)
        found |= {metric: float(value_SU.mean()), f"{metric}_se": standard_error(value_SU.mean(axis=1))}
        if entry is not best:
            difference_U = value_SU.mean(axis=0) - best.values(metric).mean(axis=0)
            interval = paired_bootstrap(difference_U, SEED, evaluate.resamples, evaluate.level)
            named = {"difference": interval.mean, "low": interval.low, "high": interval.high}
            found |= {f"{metric}_{name}": value for name, value in named.items()}
    return found


def standard_error(mean_S: npt.NDArray[np.float64]) -> float | None:
    """How far the mean over seeds would move with other seeds; None for a single one."""
    return float(mean_S.std(ddof=1) / math.sqrt(len(mean_S))) if len(mean_S) > 1 else None


def _cost(entry: Entry) -> dict[str, Any]:
    """What the training came to: means over seeds, and each seed's best epoch."""
    trainings = [fit.training for fit in entry.fits]
    valid = [training["valid"]["ndcg_at_10"] for training in trainings if "ndcg_at_10" in training["valid"]]
    return {
        "valid_ndcg_at_10": float(np.mean(valid)) if valid else None,
        "train_seconds": float(np.mean([training["seconds"] for training in trainings])),
        "samples_per_second": float(np.mean([training["samples_per_second"] for training in trainings])) or None,
        "parameters": trainings[0]["n_parameters"],
        "best_epoch": [training["best_epoch"] for training in trainings],
        "cached": [fit.cached for fit in entry.fits],
    }


# for people

COLUMNS = ("model", "seeds", *METRICS.values(), "to the best", "valid NDCG@10", "train s", "samples/s", "parameters",
           "best epoch")  # fmt: skip


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as text, in the order of COLUMNS; of a model that failed, its error alone."""
    if row["error"]:
        return [row["model"], "", "failed", *[""] * (len(COLUMNS) - 3)]
    n_seeds, valid, speed = len(row["seeds"]), row["valid_ndcg_at_10"], row["samples_per_second"]
    return [
        row["model"],
        f"{n_seeds} seed{'s' if n_seeds > 1 else ''}",
        *(f"{row[metric]:.4f}" + ("" if (se := row[f"{metric}_se"]) is None else f" ±{se:.4f}") for metric in METRICS),
        "{ndcg_at_10_difference:+.4f} ({ndcg_at_10_low:+.4f} to {ndcg_at_10_high:+.4f})".format_map(row)
        if "ndcg_at_10_difference" in row
        else "best",
        "" if valid is None else f"{valid:.4f}",
        f"{row['train_seconds']:.1f}",
        "" if speed is None else f"{speed:,.0f}",
        f"{row['parameters']:,}",
        ", ".join(str(epoch) for epoch in row["best_epoch"] if epoch),
    ]


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints the leaderboard; machines read --json."""
    if console is None:
        console = Console(highlight=False, soft_wrap=True)
        console = console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)
    table = Table(title=title(result))
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 2 else "right")
    for row in result["leaderboard"]:
        table.add_row(*cells(row))
    console.print(table)
    for line in (*failures(result), legend(result)):
        console.print(line, markup=False)
    console.print(f"seconds    {result['seconds']['total']:.1f} in all")
    console.print(f"MLflow     {mlflow_command(result)}", markup=False)
    console.print(f"           run {result['run_id']} of experiment {result['experiment']}", markup=False)


def title(result: Mapping[str, Any]) -> str:
    users = "" if result["test_users"] is None else f"{result['test_users']:,} test users, "
    return f"{result['dataset']}: {users}{result['protocol']} split"


def legend(result: Mapping[str, Any]) -> str:
    """How the columns are to be read."""
    level = f"{result['level']:.0%}"
    return f"± standard error over seeds; to the best: difference of NDCG@10 with its {level} interval over users"


def failures(result: Mapping[str, Any]) -> list[str]:
    return [f"{row['model']} failed: {row['error']}" for row in result["leaderboard"] if row["error"]]


def as_markdown(result: Mapping[str, Any]) -> str:
    """The leaderboard for the pages of Prefect and MLflow."""
    lines = [f"| {' | '.join(text)} |" for text in (COLUMNS, *map(cells, result["leaderboard"]))]
    lines.insert(1, f"|{'---|' * len(COLUMNS)}")
    failed = [f"- {line}" for line in failures(result)]
    return "\n".join([f"## {title(result)}\n", *lines, "", *failed, "", legend(result), ""])


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """All figures of the leaderboard; lists of one value a seed are separated by spaces."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "config"))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue()
