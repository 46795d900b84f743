"""The leaderboard for people: on the terminal, as Markdown, as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.summary import mlflow_command

WIDE = 170  # of a table that goes into a file
COLUMNS = ("model", "seeds", "NDCG@10", "interval", "to the best", "p", "HR@10", "valid", "train s", "samples/s",
           "peak MB", "parameters", "best epoch")  # fmt: skip
ON_FRONTIER = "*"


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as text, in the order of COLUMNS; of a model that failed, its error alone."""
    if row["error"]:
        return [row["model"], "", "failed", *[""] * (len(COLUMNS) - 3)]
    valid, speed, memory = row["valid_ndcg_at_10"], row["samples_per_second"], row["peak_mb"]
    behind = "ndcg_at_10_difference" in row
    gap = "{ndcg_at_10_difference:+.4f} ({ndcg_at_10_low:+.4f} to {ndcg_at_10_high:+.4f})"
    return [
        row["model"],
        str(len(row["seeds"])),
        _with_error(row, "ndcg_at_10"),
        "{:.4f} to {:.4f}".format(*row["ndcg_at_10_interval"]),
        gap.format_map(row) if behind else "best",
        p_text(row["ndcg_at_10_p_value"]) if behind else "",
        _with_error(row, "hit_at_10"),
        "" if valid is None else f"{valid:.4f}",
        f"{row['train_seconds']:.1f}{ON_FRONTIER if row['frontier'] else ''}",
        "" if speed is None else f"{speed / 1e6:.2f} M",
        "" if memory is None else f"{memory:,.0f}",
        f"{row['parameters']:,}",
        ", ".join(str(epoch) for epoch in row["best_epoch"] if epoch),
    ]


def _with_error(row: Mapping[str, Any], metric: str) -> str:
    error = row[f"{metric}_se"]
    return f"{row[metric]:.4f}{'' if error is None else f' ±{error:.4f}'}"


def p_text(value: float) -> str:
    """A p-value as journals print it: what is smaller than a thousandth is only called so."""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints the leaderboard; machines read --json."""
    if console is None:
        console = Console(highlight=False, soft_wrap=True)
        console = console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)
    table = Table(title=title(result), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 2 else "right")
    for row in result["leaderboard"]:
        table.add_row(*cells(row))
    console.print(table)
    for line in (*failures(result), *looks(result), *legend(result)):
        console.print(line, markup=False)
    console.print(f"seconds    {result['seconds']['total']:.1f} in all")
    console.print(f"MLflow     {mlflow_command(result)}", markup=False)
    console.print(f"           run {result['run_id']} of experiment {result['experiment']}", markup=False)


def title(result: Mapping[str, Any]) -> str:
    users = "" if result["test_users"] is None else f"{result['test_users']:,} test users, "
    return f"{result['dataset']}: {users}{result['protocol']} split"


def legend(result: Mapping[str, Any]) -> list[str]:
    """How the columns are to be read."""
    level = f"{result['level']:.0%}"
    return [
        f"± standard error over seeds; to the best: difference of NDCG@10; intervals of {level} over users",
        "p by Wilcoxon's signed-rank test; valid: NDCG@10 of the validation rows",
        f"{ON_FRONTIER} no other is as good in less time, or better in as much; peak MB: of the process tree meanwhile",
    ]


def failures(result: Mapping[str, Any]) -> list[str]:
    return [f"{row['model']} failed: {row['error']}" for row in result["leaderboard"] if row["error"]]


def looks(result: Mapping[str, Any]) -> list[str]:
    """What the validation and the split have noticed."""
    return [f"look: {warning}" for warning in result["warnings"]]


def as_markdown(result: Mapping[str, Any]) -> str:
    """The leaderboard for the pages of Prefect and MLflow."""
    lines = [f"| {' | '.join(text)} |" for text in (COLUMNS, *map(cells, result["leaderboard"]))]
    lines.insert(1, f"|{'---|' * len(COLUMNS)}")
    noted = [f"- {line}" for line in (*failures(result), *looks(result))]
    return "\n".join([f"## {title(result)}\n", *lines, "", *noted, "", "; ".join(legend(result)), ""])


def row_note(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What the description of one fit's run says: its model's place, and how far that is from the best."""
    n_models = sum(not one["error"] for one in result["leaderboard"])
    told = dict(zip(COLUMNS, cells(row), strict=True))
    behind = "the best" if told["to the best"] == "best" else f"{told['to the best']} to the best, p {told['p']}"
    return (
        f"Rank {row['rank']} of {n_models}: {told['model']}, NDCG@10 {told['NDCG@10']} ({told['interval']}), {behind}."
    )


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """All figures of the leaderboard; lists, of one value a seed or of two ends, are separated by spaces."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "config"))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue()
