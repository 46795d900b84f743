"""What `encore inspect` found, as tables on the terminal. All that comes from the data is escaped."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.inspect.kinds import one_line

MOST_FILES = 5
MOST_REASONS = 12
BAR = 24
WIDTH = 120
Found = Mapping[str, Any]


def print_result(result: Found, console: Console | None = None) -> None:
    """All of it: files, columns, mapping, log, refusals, configuration."""
    out = console or _console()
    print_columns(result, out)
    out.print(_log(result))
    for title, counts in (("ratings", result["log"]["ratings"]), ("events", result["log"]["events"])):
        if counts:
            out.print(_histogram(title, counts))
    out.print(_refusals(result))
    out.print(_verdict(result))
    out.print()
    out.print(Text(result["configuration"]))
    if result["written"]:
        out.print(Text(f"written    {' and '.join(result['written'])}"))
    out.print(Text(f"next       {one_line(result['next'], 500)}"))


def print_columns(result: Found, console: Console | None = None) -> None:
    """Files, columns and mapping: what there is to see also where nothing can be mapped."""
    out = console or _console()
    out.print(_files(result))
    out.print(_columns(result))
    out.print(_mapping(result))


def _console() -> Console:
    """As wide as the terminal; in a file, wide enough for a table."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def _files(result: Found) -> Text:
    counts = {one["path"]: one for one in result.get("rows_of_files", [])}
    lines = []
    for file in result["files"][:MOST_FILES]:
        packed = f", {file['compression']}" if file["compression"] else ""
        parted = f" by {_delimiter(file['delimiter'])}" if file["delimiter"] else ""
        counted = counts.get(file["path"])
        rows = f", {counted['rows']:,} rows" if counted else ""
        lines.append(f"{one_line(file['path'], 200)}: {file['format']}{parted}{packed}, {_bytes(file['bytes'])}{rows}")
    if len(result["files"]) > MOST_FILES:
        total = sum(file["bytes"] for file in result["files"])
        lines.append(f"and {len(result['files']) - MOST_FILES:,} more files, {_bytes(total)} in all")
    for path in result.get("repeated_files", [])[:MOST_FILES]:
        lines.append(f"{one_line(path, 200)}: the content of another file, not taken in twice")
    if not result["same_columns"]:
        lines.append("not all files have the same columns: what one of them lacks is counted as empty")
    return Text("\n".join(lines))


def _columns(result: Found) -> Table:
    table = _table("", "column", "holds", "empty", "different", "lowest", "highest", "such as")
    for column in result["columns"]:
        unit = f" ({column['unit']})" if column["unit"] not in ("", "order") else ""
        about = "" if column["is_exact"] else "~"
        share = column["empty"] / column["rows"] if column["rows"] else 0.0
        table.add_row(
            *_texts(
                column["name"],
                f"{column['kind']}{unit}",
                _share(share) if column["empty"] else "",
                f"{about}{column['distinct']:,}" if column["distinct"] else "",
                column["low"],
                column["high"],
                ", ".join(one_line(example, 24) for example in column["examples"]),
            )
        )
    rows = max((column["rows"] for column in result["columns"]), default=0)
    if result["sampled_rows"] < rows:
        estimates = "" if all(column["is_exact"] for column in result["columns"]) else "; ~: an estimate"
        table.caption = f"what cells hold is told from {result['sampled_rows']:,} of {rows:,} rows{estimates}"
    return table


def _mapping(result: Found) -> Table:
    table = _table("", "is", "column", "how sure", "why")
    for one in result["mapping"]:
        why = one["why"] + (f"; but {one['doubt']}" if one["doubt"] else "")
        style = "yellow" if one["doubt"] or one["sure"] == "guess" else ""
        sure = "a guess: check it" if one["sure"] == "guess" else one["sure"]
        table.add_row(*_texts(one["field"], one["column"], sure, why, length=160), style=style)
    for field in result["missing"]:
        needed = "missing" if field in ("user_id", "item_id") else "none found"
        table.add_row(field, "", needed, f"if there is one: --ingest.columns={{NAME: {field}}}", style="dim")
    used = {one["column"] for one in result["mapping"]}
    if others := [one_line(column["name"]) for column in result["columns"] if column["name"] not in used]:
        table.caption = Text(f"not used: {', '.join(others)}")
    return table


def _log(result: Found) -> Table:
    log = result["log"]
    table = _table("", "", "")
    table.show_header = False
    table.add_row("accepted rows", f"{result['accepted']:,} of {result['rows']:,}")
    for name in ("users", "items"):
        one = log[name]
        low, quarter, median, more, high = one["quantiles"]
        quantiles = f"5% {low:g}, 25% {quarter:g}, median {median:g}, 75% {more:g}, 95% {high:g}, most {one['most']:,}"
        table.add_row(name, f"{one['count']:,}; rows each: {quantiles}")
    if log["first"]:
        table.add_row("time", f"{log['first']} to {log['last']} UTC ({log['seconds'] / 86_400:,.1f} days)")
    table.add_row("exact duplicates", f"{log['duplicates']:,}")
    table.add_row("repeated pairs", f"{log['repeats'] - log['duplicates']:,} rows ({log['repeat_share']:.1%})")
    return table


def _histogram(title: str, counts: Iterable[tuple[str | None, int]]) -> Table:
    table = _table(title, "", "rows", "")
    table.show_header = False
    pairs = [(value, n) for value, n in counts]
    most = max(n for _, n in pairs)
    for value, n in pairs:
        table.add_row(*_texts(value if value is not None else "none", f"{n:,}", "▇" * round(BAR * n / most)))
    return table


def _refusals(result: Found) -> Table:
    table = _table("what a night would refuse", "rows", "why", "such as")
    for reason in result["reasons"][:MOST_REASONS]:
        why = reason["reason"] + (f" ({reason['setting']})" if reason["setting"] else "")
        table.add_row(f"{reason['rows']:,}", *_texts(why, "\n".join(reason["examples"]), length=400))
    if more := result["reasons"][MOST_REASONS:]:
        table.add_row(f"{sum(reason['rows'] for reason in more):,}", f"{len(more)} more reasons", "")
    if not result["reasons"]:
        table.add_row("0", "every row would be accepted", "")
    return table


def _verdict(result: Found) -> Text:
    share = result["quarantined"] / max(result["rows"], 1)
    lines = [f"{result['quarantined']:,} rows ({share:.2%}) would go to quarantine."]
    for rule in result["failed"]:
        found = "" if rule["found"] is None else f" (found: {rule['found']:g})"
        lines.append(f"{rule['severity']}: not so: {rule['expectation']}{found}. {_way_out(rule['setting'])}")
    refused = "The night would be refused." if result["would_be_refused"] else "The night would not be refused."
    return Text("\n".join([*lines, refused]), style="red" if result["would_be_refused"] else "")


def _way_out(setting: str) -> str:
    if setting.startswith("checks."):
        return f"Mend the data, or move the limit: --{setting}=…"
    return f"Mend the data, or edit {setting}." if setting else "Mend the data: later steps rely on it."


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in ("rows", "empty", "different") else "left", overflow="fold")
    return table


def _texts(*cells: str | None, length: int = 40) -> list[Text]:
    """Never read as markup, never a control character; line breaks are ours."""
    return [Text("\n".join(one_line(line, length) for line in (cell or "").split("\n"))) for cell in cells]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _delimiter(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon"}.get(delimiter, delimiter)


def _bytes(n: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} bytes"
