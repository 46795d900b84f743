"""What the reproduce command prints, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_ROWS = 40
"""Differences of one kind that are printed; --json has all of them."""


def print_comparison(result: Mapping[str, Any]) -> None:
    """What is equal in one line, and what is not figure by figure."""
    console = Console(soft_wrap=True)
    title = f"{result['name']} version {result['version']}"
    console.print(Text(f"{title}, snapshot {result['snapshot']}, night of {result['as_of'][:16].replace('T', ' ')}"))
    _show_rows(console, "metric", result["metrics"])
    weights = result["weights"]
    if weights["then"] != weights["now"]:
        console.print(Text(f"weights    {weights['then']} then\n           {weights['now']} now"))
    if result["identical"]:
        console.print(f"identical: {result['n_metrics']} metrics, weights")
    if others := result["not_repeated"]:
        kinds = sorted({name.partition("/")[0] for name in others})
        console.print(Text(f"not repeated: {len(others)} figures of other models ({', '.join(kinds)})", "dim"))
    _show_rows(console, "environment", result["environment"])
    if (line := about_code(result)) is not None:
        console.print(Text(f"{line}; it computes the same" if result["identical"] else line))
    console.print(f"seconds    {result['seconds']['total']:.1f}")


def cause(result: Mapping[str, Any]) -> str:
    """What most likely made it come out otherwise, and what to do."""
    if (line := about_code(result)) is not None:
        return line
    if result["environment"]:
        return "compare the environment above: " + ", ".join(one["name"] for one in result["environment"][:5])
    if not result["deterministic"]:
        return "the night ran with trainer.deterministic=false, which leaves the last digits to chance"
    return "same code, same environment: please report it"


def about_code(result: Mapping[str, Any]) -> str | None:
    """None where the code that computes a version is the same."""
    code, revision = result["code"], result["revision"]
    if code["then"] == code["now"]:
        return None
    if revision["then"] is None:
        return "the code has changed since, and was not in git then"
    told = f"made by revision {revision['then']}; this is {revision['now'] or 'not in git'}"
    return told if result["identical"] else f"{told}: {checkout(revision['then'])}"


def checkout(revision: str) -> str:
    """What to type to have the code of a revision, which may have had changes beside it."""
    return f"git checkout {revision.partition(',')[0]}"


def _show_rows(console: Console, what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in (what, "then", "now"):
        table.add_column(name)
    for one in rows[:MOST_ROWS]:
        table.add_row(Text(one["name"]), *(Text("" if one[at] is None else repr(one[at])) for at in ("then", "now")))
    console.print(table)
    if (more := len(rows) - MOST_ROWS) > 0:
        console.print(f"and {more} more")
