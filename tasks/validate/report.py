"""The validation report: one HTML page that needs nothing from outside, in light and dark.

The data is hostile: every text that comes from it goes through html.escape.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from itertools import groupby

from tasks.cards.page import banner, page, tiles
from tasks.validate import charts
from tasks.validate.result import Counts, Finding, Validation, sentence

MAX_OPEN = 6  # with more files, only those that failed are unfolded
MAX_LISTED = 8
MAX_REASONS = 30

STYLE = """
details { margin-bottom: 12px; overflow-x: auto; }
summary { padding: 12px 16px; cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
summary .soft { font-weight: 400; margin-left: 8px; }
details table { min-width: 780px; table-layout: fixed; }
details th:nth-child(1) { width: 132px; } details th:nth-child(2) { width: 88px; }
details th:nth-child(4), details th:nth-child(5) { width: 88px; } details th:nth-child(6) { width: 30%; }
td code { display: block; } .card { overflow-x: auto; } .card td { overflow-wrap: anywhere; }
.notes { margin: 0; }
"""
FOOTER = (
    "Every row was counted; Great Expectations judged them, or for large files an even sample of them together with "
    "rows that fail. Exact duplicates repeat user, item, rating, time and event of an earlier row; the first is kept. "
    "Severity: row, what breaks it goes to quarantine; night, the night is refused; warning, it is shown."
)
MARKS = {"night": ("bad", "✗ refuses"), "row": ("warn", "⚠ quarantine"), "warning": ("warn", "⚠ warning")}
"""The colour and the word of a finding that failed, by its severity."""


def render(validation: Validation, dataset: str, as_of: datetime) -> str:
    """The whole page. `as_of` is the night's date."""
    sections = [
        _banner(validation),
        _warnings(validation.warnings),
        _tiles(validation),
        _notes(validation.notes),
        _reasons(validation.reasons, validation.counts),
        _drift(validation),
        "<h2>Expectations</h2>",
        *_sections(validation.findings),
    ]
    style = STYLE + charts.STYLE
    return page(f"Validation of {dataset}", f"night of {as_of:%Y-%m-%d %H:%M}", filter(None, sections), FOOTER, style)


def _banner(validation: Validation) -> str:
    n_failed, n_all = len(validation.failed), len(validation.findings)
    if not validation.passed:
        text = f"{n_failed:,} of {n_all:,} expectations refuse the night. Nothing was taken into the lake."
        return banner("bad", "✗ Refused", text + _listed(validation.failed))
    n_broken = n_all - sum(found.passed for found in validation.findings)
    if not n_broken:
        return banner("good", "✓ Accepted", f"All {n_all:,} expectations hold.")
    text = f"{n_all - n_broken:,} of {n_all:,} expectations hold; none of the others refuses the night."
    return banner("good", "✓ Accepted", text)


def _warnings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    title = f"⚠ {len(findings):,} warning{'s' * (len(findings) > 1)}"
    return banner("warn", title, _listed(findings))


def _listed(findings: Sequence[Finding]) -> str:
    lines = "".join(f"<li>{escape(sentence(found))}</li>" for found in findings[:MAX_LISTED])
    more = f"<li>and {len(findings) - MAX_LISTED:,} more</li>" if len(findings) > MAX_LISTED else ""
    return f"<ul>{lines}{more}</ul>"


def _tiles(validation: Validation) -> str:
    counts, findings = validation.counts, validation.findings
    n_hold = sum(found.passed for found in findings)
    return tiles(
        [
            ("interactions read", f"{counts.read:,}", ""),
            ("interactions accepted", f"{counts.accepted if validation.passed else 0:,}", ""),
            ("in quarantine", f"{counts.quarantined:,}", _share(counts.quarantined, counts)),
            ("exact duplicates", f"{counts.duplicates:,}", _share(counts.duplicates, counts)),
            ("expectations that hold", f"{n_hold:,} of {len(findings):,}", ""),
        ]
    )


def _share(n_rows: int, counts: Counts) -> str:
    return f"{n_rows / counts.read:.2%} of the rows" if counts.read else ""


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return "<h2>Delivery</h2>" + f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _reasons(reasons: Sequence[tuple[str, int]], counts: Counts) -> str:
    if not reasons:
        return ""
    rows = "".join(
        f'<tr><td>{escape(reason)}</td><td class="number">{n_rows:,}</td>'
        f'<td class="number soft">{_share(n_rows, counts)}</td></tr>'
        for reason, n_rows in reasons[:MAX_REASONS]
    )
    further = sum(n_rows for _, n_rows in reasons[MAX_REASONS:])
    more = (
        f'<tr><td class="soft">other reasons</td><td class="number">{further:,}</td><td></td></tr>' if further else ""
    )
    head = '<tr><th>reason</th><th class="number">rows</th><th></th></tr>'
    return f'<h2>Quarantine</h2><div class="card"><table>{head}{rows}{more}</table></div>'


def _drift(validation: Validation) -> str:
    shown = charts.charts(validation.distributions)
    return f"<h2>Tonight and the last good night</h2>{shown}" if shown else ""


def _sections(findings: Iterable[Finding]) -> list[str]:
    """One fold a file, those with a failure first, so that nobody has to look for it."""
    groups = [list(group) for _, group in groupby(findings, key=lambda found: (found.table, found.source))]
    ordered = sorted(groups, key=_rank)
    return [_section(group, unfolded=len(groups) <= MAX_OPEN or _rank(group) < 2) for group in ordered]


def _rank(group: list[Finding]) -> int:
    """0 where a finding refuses the night, 1 where another one fails, 2 where all hold."""
    broken = [found.severity for found in group if not found.passed]
    return 2 if not broken else int("night" not in broken)


def _section(group: list[Finding], unfolded: bool) -> str:
    n_failed = sum(not found.passed for found in group)
    colour = ("bad", "warn", "good")[_rank(group)]
    state = f'<span class="{colour}">{f"✗ {n_failed} failed" if n_failed else "✓"}</span>'
    kind = "the whole dataset" if group[0].table == "dataset" else group[0].table
    rows = "\n".join(_row(found) for found in group)
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(group[0].source)}"
        f'<span class="soft">{escape(kind)}</span> {state}</summary><table><thead><tr><th>result</th>'
        f'<th>severity</th><th>expectation</th><th class="number">failing</th><th class="number">share</th>'
        f"<th>found</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _row(found: Finding) -> str:
    colour, mark = ("good", "✓ holds") if found.passed else MARKS[found.severity]
    counted = bool(found.n_total)
    failing = f"{found.n_failing:,}" if counted else ""
    share = f"{found.n_failing / found.n_total:.2%}" if counted and found.n_failing else ""
    limit = f'<div class="soft">limit: {escape(found.setting)}</div>' if found.setting else ""
    observed = f"<div>{escape(found.observed)}</div>" if found.observed else ""
    examples = "".join(f"<code>{escape(example)}</code>" for example in found.examples)
    row = "" if found.passed else f' class="{"failed" if colour == "bad" else "warned"}"'
    return (
        f'<tr{row}><td class="mark {colour}">{mark}</td>'
        f'<td class="soft">{escape(found.severity)}</td><td>{escape(found.expectation)}{limit}</td>'
        f'<td class="number">{failing}</td><td class="number">{share}</td><td>{observed}{examples}</td></tr>'
    )
