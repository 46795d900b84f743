"""A search for people: a line a trial, a bar while it goes on, the table at its end; and its result as JSON."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.config import TuneConfig
from flows.summary import show as show_night
from models.search import Choice, Space
from tasks.tune.study import Study, Tried

WIDE = 150  # of a table that goes into a file
SHOWN = 10  # trials in the table; trials.csv has all


class Bar:
    """Trials that are over, and the best of them. Shown on a terminal only."""

    def __init__(self, config: TuneConfig) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(f"tune {config.model.name}", total=config.trials, best="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, study: Study) -> None:
        best = study.best
        text = "" if best is None else f"best NDCG@10 {best.value:.4f} (trial {best.place})"
        self._progress.update(self._task, completed=len(study.tried), best=text)


def trial_line(one: Tried, best: Tried | None) -> str:
    """One trial in a line."""
    came = {"pruned": "given up at", "complete": "NDCG@10"}.get(one.state, "failed")
    value = "" if one.value is None else f" {one.value:.4f}"
    why = f": {one.told['error']}" if "error" in one.told else ""
    seconds = f" in {one.told['seconds']:.1f} s" if "seconds" in one.told else ""
    new = ", the best so far" if best is not None and best.place == one.place else ""
    return f"trial {one.place}: {came}{value}{seconds}{new}{why} ({settings(one.params)})"


def settings(params: Mapping[str, Any]) -> str:
    """`dim=64, learning_rate=0.0123`; the model's own choice where nothing is set."""
    told = (f"{name.rpartition('.')[2]}={number(value)}" for name, value in params.items())
    return ", ".join(told) or "all left to the fit"


def number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_result(study: Study, facts: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """What a later reader may ask of a search."""
    tried, best = study.tried, study.best
    return {
        "run_id": run_id,
        **facts,
        "space": {name: describe(space) for name, space in study.space.items()},
        "best": None if best is None else row_of(best),
        "default": next((row_of(one) for one in tried if one.place == 0), None),
        "counts": dict(Counter(one.state for one in tried)),
        "importance": study.importance(),
        "trials": [row_of(one) for one in tried],
    }


def row_of(one: Tried) -> dict[str, Any]:
    return {"trial": one.place, "state": one.state, "value": one.value, "params": dict(one.params), **one.told}


def describe(space: Space) -> str:
    """A space in a few words."""
    if isinstance(space, Choice):
        return ", ".join(map(str, space.values))
    return f"{space.low:g} to {space.high:g}{' by its logarithm' if space.log else ''}"


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints the search, then the night that it ended with; machines read --json."""
    found = result["tune"]
    if console is None:
        console = Console(highlight=False, soft_wrap=True)
        console = console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)
    columns, rows = table_of(found)
    table = Table(title=title(found), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column in ("state", "") else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for line in notes(found):
        console.print(line, markup=False)
    console.print("")
    show_night(result, console)


def title(found: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    return f"{len(found['trials'])} trials ({counts}), by {found['validation_rows']:,} validation rows"


def table_of(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The best trials and the first, the best on top: what the columns are, and the rows."""
    judged = [row for row in found["trials"] if row["value"] is not None]
    judged.sort(key=lambda row: (row["state"] != "complete", -row["value"]))
    shown = judged[:SHOWN] + [row for row in judged[SHOWN:] if row["trial"] == 0]
    names = list(found["space"])
    heads = ["trial", "NDCG@10", "seconds", *(name.rpartition(".")[2] for name in names), ""]
    return heads, [
        [
            str(row["trial"]),
            f"{row['value']:.4f}",
            f"{row['seconds']:.1f}" if "seconds" in row else "",
            *(number(row["params"][name]) if name in row["params"] else "" for name in names),
            "given up" if row["state"] == "pruned" else "the defaults" if row["trial"] == 0 else "",
        ]
        for row in shown
    ]


def notes(found: Mapping[str, Any]) -> list[str]:
    """What a setting is worth, what failed, and what the value of the best is not."""
    shares = sorted(found["importance"].items(), key=lambda entry: -entry[1])
    told = ", ".join(f"{name.rpartition('.')[2]} {share:.0%}" for name, share in shares)
    errors = [f"trial {row['trial']} failed: {row['error']}" for row in found["trials"] if "error" in row]
    return [
        *([f"what the best tenth differ by: {told}"] if told else []),
        *errors[:3],
        *([f"and {len(errors) - 3} more failed"] if len(errors) > 3 else []),
        "the best of many is lucky on the validation rows, too: what it is worth is what the test says below",
    ]


def as_markdown(found: Mapping[str, Any]) -> str:
    """The search for the page of MLflow."""
    heads, rows = table_of(found)
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    lines.insert(1, f"|{'---|' * len(heads)}")
    return "\n".join([f"## {title(found)}\n", *lines, "", *(f"- {line}" for line in notes(found)[:-1]), ""])


def as_csv(found: Mapping[str, Any]) -> str:
    """All trials, one a row."""
    rows = [
        {**{name: value for name, value in row.items() if name != "params"}, **row["params"]} for row in found["trials"]
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
