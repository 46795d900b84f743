"""The frame that every page of ours shares: one HTML file that needs nothing from outside, in light and dark.

Texts may come from hostile data: whatever is a `str` argument here is escaped, whatever is called `html` is not.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #667085; --line: #e4e7ec;
  --good: #087443; --good-bg: #e7f6ee; --bad: #b42318; --bad-bg: #fdecea;
  --warn: #8f5d00; --warn-bg: #fdf3dc; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #11151b; --card: #191f28; --ink: #e6e9ee;
  --soft: #98a2b3; --line: #2b3442; --good: #4cc38a; --good-bg: #12291f; --bad: #ff8d80;
  --bad-bg: #34191a; --warn: #e5b454; --warn-bg: #32270f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 32px 0 10px; }
.soft { color: var(--soft); } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.banner { margin: 20px 0; padding: 14px 18px; border-radius: 10px; border-left: 5px solid; }
.banner strong { display: block; font-size: 18px; }
.good { color: var(--good); } .banner.good { background: var(--good-bg); border-color: var(--good); }
.bad { color: var(--bad); } .banner.bad { background: var(--bad-bg); border-color: var(--bad); }
.warn { color: var(--warn); } .banner.warn { background: var(--warn-bg); border-color: var(--warn); }
.banner div { color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; }
.tile, details, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 16px; } .tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
ul { margin: 8px 0 0; padding-left: 20px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-size: 12px; font-weight: 600; color: var(--soft); }
th, td { padding: 8px 16px; border-top: 1px solid var(--line); vertical-align: top; }
th.number { text-align: right; }
tr.failed td { background: var(--bad-bg); } tr.warned td { background: var(--warn-bg); }
td.mark { font-weight: 600; white-space: nowrap; }
code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
footer { margin-top: 32px; font-size: 13px; }
@media print { body { background: none; font-size: 11px; } main { max-width: none; padding: 0; }
  th, td { padding: 3px 8px; } h2 { margin-top: 20px; break-after: avoid; } code { font-size: 10px; }
  .card, .tile, .banner, tr { break-inside: avoid; } * { print-color-adjust: exact; } }
"""


def page(title: str, subtitle: str, sections_html: Iterable[str], footer_html: str, style: str = "") -> str:
    """The whole page; `style` is the CSS that only this page needs."""
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}{style}</style></head><body><main>",
            f"<h1>{escape(title)}</h1>",
            f'<div class="soft">{escape(subtitle)}</div>',
            *sections_html,
            f'<footer class="soft">{footer_html}</footer>',
            "</main></body></html>\n",
        ]
    )


def banner(kind: str, headline: str, html: str) -> str:
    """The verdict at the top. `kind` is good, warn or bad."""
    return f'<div class="banner {kind}"><strong>{escape(headline)}</strong><div>{html}</div></div>'


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Figures that are read first: label, value and note of each."""
    boxes = [
        f'<div class="tile"><span class="soft">{escape(label)}</span><b>{escape(value)}</b>'
        f'<span class="soft">{escape(note)}</span></div>'
        for label, value, note in entries
    ]
    return f'<div class="tiles">{"".join(boxes)}</div>'


def card(html: str, padded: bool = True) -> str:
    """A box around a table or a plot."""
    return f'<div class="card{" padded" if padded else ""}">{html}</div>'


Cell = str | tuple[str, str]
"""A text, or a text and the class that it gets."""


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell] | str], lead: str = "") -> str:
    """The first column is text, the others are numbers. A row that is a `str` is the title of those below it, and the
    row that begins with `lead` is the one to look at."""
    first, *numbers = heads
    head = f"<th>{escape(first)}</th>" + "".join(f'<th class="number">{escape(text)}</th>' for text in numbers)
    body = "".join(_row(row, len(heads), lead) for row in rows)
    return f'<table class="figures"><tr>{head}</tr>{body}</table>'


def _row(row: Sequence[Cell] | str, width: int, lead: str) -> str:
    if isinstance(row, str):
        return f'<tr class="part"><th colspan="{width}">{escape(row)}</th></tr>'
    first, *numbers = [(cell, "") if isinstance(cell, str) else cell for cell in row]
    cells = "".join(f'<td class="number{kind}">{escape(text)}</td>' for text, kind in numbers)
    return f"<tr{' class=lead' if first[0] == lead else ''}><td>{escape(first[0])}</td>{cells}</tr>"


def facts(named: Mapping[str, str]) -> str:
    """A table of names and values; a hash in even letters."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{_value(value)}</td></tr>" for name, value in named.items())
    return card(f'<table class="facts">{rows}</table>', padded=False)


def _value(text: str) -> str:
    is_hash = len(text) >= 32 and set(text) <= set("0123456789abcdef")
    return f"<code>{text}</code>" if is_hash else escape(text)
