"""What the diff command prints, for people."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_SETTINGS = 12


def print_diff(result: dict[str, Any]) -> None:
    """Which is better and by how much, what was changed, and where the page lies."""
    from tasks.cards.numbers import metric_name, p_value, signed

    console = Console(highlight=False, soft_wrap=True)  # paths and commands stay whole, to be copied
    console.print(Text(result["verdict"], "bold"))
    console.print(Text(result["paired"], "dim"))
    table = Table(box=None, pad_edge=False)
    table.add_column("difference")
    for name in ("mean", "interval", "p"):
        table.add_column(name, justify="right")
    for name, by in result["differences"].items():
        ends = f"{signed(by['low'])} to {signed(by['high'])}"
        table.add_row(metric_name(name), signed(by["mean"]), ends, p_value(by["p_value"]) if "p_value" in by else "")
    console.print(table)
    for name, (before, after) in list(result["settings"].items())[:MOST_SETTINGS]:
        console.print(Text(f"  {name}: {before} → {after}"))
    if (more := len(result["settings"]) - MOST_SETTINGS) > 0:
        console.print(Text(f"  and {more} more settings"))
    for name, (before, after) in result["data"].items():
        if before != after:
            console.print(Text(f"  {name}: {before} → {after}", "dim"))
    if result["overlap_at_10"] is not None:
        console.print(Text(f"of each user's first ten items {result['overlap_at_10']:.1%} stay"))
    console.print(Text(f"page       {result['page']}"))
