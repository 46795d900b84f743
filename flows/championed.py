"""What the commands that look after the champion print, for people."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.typed import freeze_command, lift_command, promote_command

SHOWN = 20  # changes; the result has all
REFUSED = 5  # of the refused versions, the latest


def print_history(result: dict[str, Any]) -> None:
    """The changes, the latest last, and below them what a person may want to do."""
    console, name = Console(soft_wrap=True), result["registered_model"]
    if not result["reigns"] and not result["champion"]:
        console.print(Text(f"{name} has had no champion yet"))
    elif result["reigns"]:
        console.print(_table(result["reigns"][-SHOWN:]))
    if (more := len(result["reigns"]) - SHOWN) > 0:
        console.print(Text(f"and {more:,} earlier ones: --json=FILE has all"))
    for line in _lines(result):
        console.print(Text(line))


def print_change(result: dict[str, Any]) -> None:
    """What a promotion or a rollback did."""
    console, event = Console(soft_wrap=True), result["changed"]
    for sentence in result["settled"]:
        console.print(Text(sentence))
    name = f"{result['registered_model']} version {result['champion']}"
    if event is None:
        console.print(Text(f"{name} is the champion already: nothing was changed"))
    else:
        before = f", version {event['before']} before it" if event["before"] else ""
        console.print(Text(f"{name} is the champion now{before}"))
    for sentence in result["warnings"]:
        console.print(Text(f"look       {sentence}"))
    if result["published"]:
        console.print(Text(f"published  {result['published']}"))
    if result["frozen"] is not None:
        console.print(Text(f"no night changes it: frozen, {result['frozen']}"))
    elif event is not None:
        console.print(Text(f"the next night may change it; to prevent that: {freeze_command(*_ours(result))}"))


def print_freeze(result: dict[str, Any]) -> None:
    """Whether nights may change the champion."""
    console, name = Console(soft_wrap=True), result["registered_model"]
    if result["frozen"] is not None:
        console.print(Text(f"no night changes the champion of {name}: {result['frozen']}"))
        console.print(Text(f"to end it: {lift_command(*_ours(result))}"))
    elif result["before"] is not None:
        console.print(Text(f"nights may change the champion of {name} again; it was frozen: {result['before']}"))
    else:
        console.print(Text(f"the champion of {name} is not frozen: nothing was changed"))


def _table(reigns: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name, justify in (("when (UTC)", "left"), ("version", "right"), ("for", "right"), ("gain", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("by")
    table.add_column("why")
    for one in reigns:
        how = one["kind"] if one["kind"] == "by hand" else f"{one['kind']}, {one['by']}"
        gain = "" if one["gain"] is None else f"{one['gain']:+.4f}"
        when, version = one["at"][:16].replace("T", " "), one["version"] or "nobody"
        table.add_row(when, version, _time(one["days"]), gain, Text(how), Text(one["reason"]))
    return table


def _lines(result: dict[str, Any]) -> list[str]:
    ours, lines = _ours(result), []
    if result["frozen"] is not None:
        lines.append(f"frozen: {result['frozen']}; to end it: {lift_command(*_ours(result))}")
    if (begun := result["pending"]) is not None:
        cut = f"a change to version {begun['version']} was begun at {begun['at']} and is not finished"
        lines.append(f"{cut}: the next night or promotion finishes it")
    last = result["reigns"][-1]["version"] if result["reigns"] else ""
    if (result["champion"] or "") != last and begun is None:
        now = f"is at version {result['champion']}" if result["champion"] else "was taken away"
        lines.append(f"the alias `champion` {now}, by hand: the next night or promotion follows it")
    for one in result["waiting"]:
        told = f"version {one['version']} of the night of {one['as_of'][:16].replace('T', ' ')} waits for approval"
        lines.append(f"{told}: {promote_command(*ours, one['version'])}")
    for one in result["refused"][:REFUSED]:
        lines.append(f"refused: version {one['version']}, {'; '.join(one['why']).replace('FAILED: ', '')}")
    return lines + _served(result)


def _served(result: dict[str, Any]) -> list[str]:
    """Where production serves something else than the champion."""
    shows, champion = result["published"], result["champion"]
    if shows is None or (shows["version"], shows["registered_model"] or result["registered_model"]) == (
        champion,
        result["registered_model"],
    ):
        return []
    of = f" of {shows['registered_model']}" if shows["registered_model"] else ""
    return [f"published/{result['dataset']} shows the lists of version {shows['version']}{of}"]


def _ours(result: dict[str, Any]) -> tuple[str, str]:
    return result["dataset"], result["registered_model"]


def _time(days: float) -> str:
    """In the unit that a person would choose."""
    if days >= 1:
        return f"{days:.1f} days"
    return f"{days * 24:.1f} h" if days * 24 >= 1 else f"{days * 1440:.0f} min"
