"""What the quarantine and erase commands print, for people."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.validate.text import one_line

MEANING = {
    "lake": "partitions rewritten without the rows",
    "snapshots": "rewritten, with another hash",
    "quarantine": "rewritten without the rows",
    "mended": "rewritten without the rows",
    "staging": "removed: what is needed is read again",
    "prepared": "removed: made anew by the next night",
    "metrics": "removed: made anew by the next night",
    "checkpoints": "removed: made anew by the next night",
    "recommendations": "rewritten without the person's list",
    "nights": "removed: the next night runs whole",
    "reports": "rewritten without the examples",
    "models": "id, history and features taken out; the weights stay",
    "runs": "pages rewritten without the examples",
}
"""What becomes of a person's traces, by place."""


def print_quarantine(result: dict[str, Any]) -> None:
    """The listing, and what was exported or taken in."""
    console = Console(soft_wrap=True)  # paths and commands stay whole, to be copied
    waiting = result["rows"] - result["taken"]
    told = f"{_rows(result['rows'])} of {result['dataset']} {'is' if result['rows'] == 1 else 'are'} in quarantine"
    told += f' by a reason that holds "{result["reason"]}"' if result["reason"] is not None else ""
    console.print(Text(told + (f", {result['taken']:,} of them mended, {waiting:,} not" if result["taken"] else "")))
    if result["groups"]:
        table = Table(box=None, pad_edge=False)
        for name, justify in (("night", "left"), ("rows", "right"), ("mended", "right"), ("source", "left")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        table.add_column("why, and an example")
        for one in result["groups"]:
            why = Text(one_line(one["reason"], 200)).append(f"\n{one_line(one['example'], 200)}", "dim")
            figures = (f"{one['rows']:,}", f"{one['taken']:,}" if one["taken"] else "")
            table.add_row(one["night"][:16].replace("T", " "), *figures, Text(one_line(one["source"], 200)), why)
        console.print(table)
    if (more := result["n_groups"] - len(result["groups"])) > 0:
        console.print(f"and {more:,} more of older nights or fewer rows")
    for night in result["refused_nights"]:
        told = f"{_rows(night['rows'])} of {night['sources']:,} {'file' if night['sources'] == 1 else 'files'}"
        console.print(f"the night of {night['night'][:16].replace('T', ' ')} was refused as a whole: {told}")
    _show_moved(console, result)


def _show_moved(console: Console, result: dict[str, Any]) -> None:
    name = f"--ingest.name={result['dataset']}"
    if moved := result["exported"]:
        console.print(
            Text(f"{_rows(moved['rows'])} went to {moved['file']}: mend them there, leave quarantine_id as it is")
        )
        console.print(Text(f"then: encore quarantine {name} --take={moved['file']}"))
    elif moved := result["taken_now"]:
        when = "waiting already" if moved["before"] else "waiting"
        console.print(Text(f"mended: {_rows(moved['rows'])}; {when} for the next night in {moved['file']}"))
    elif result["rows"] > result["taken"]:
        console.print(Text(f"to mend them: encore quarantine {name} --export=FILE.csv"))


def print_erase(result: dict[str, Any]) -> None:
    """What was removed where, and what can no longer be had as it was."""
    console, traces = Console(soft_wrap=True), result["traces"]
    if not traces:
        console.print("erased before; nothing is left")
        return
    table = Table(box=None, pad_edge=False)
    for name, justify in (("where", "left"), ("files", "right"), ("rows", "right"), ("what becomes of them", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for (place, change), count in Counter((one["place"], one["change"]) for one in traces).items():
        rows = sum(one["rows"] or 0 for one in traces if (one["place"], one["change"]) == (place, change))
        table.add_row(place, f"{count:,}", f"{rows:,}" if rows else "", MEANING.get(place, change))
    console.print(table)
    lost = result["unreproducible"]
    if lost["snapshots"]:
        console.print(
            f"can no longer be had as they were: snapshots {', '.join(one[:12] for one in lost['snapshots'])}"
        )
    if lost["versions"]:
        told = f"no longer know the person, but still have learned from them: {', '.join(lost['versions'])}"
        console.print(
            Text(f"{told}; until a version that has not is promoted: encore retrain, as for {result['dataset']}")
        )
    verb = "would be" if result["dry_run"] else "were"
    console.print(f"{len(traces):,} traces {verb} cleared; the source files are yours to clear")


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"
