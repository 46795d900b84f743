"""The validation report: one HTML page that needs nothing from outside, in light and dark.

The data is hostile: every text that comes from it goes through html.escape.
"""

from collections.abc import Iterable
from datetime import datetime
from html import escape
from itertools import groupby

from tasks.cards.page import banner, page, tiles
from tasks.validate.result import Counts, Finding, Validation, sentence

MAX_OPEN = 6  # with more files, only those that failed are unfolded
MAX_LISTED = 8

STYLE = """
details { margin-bottom: 12px; overflow-x: auto; }
summary { padding: 12px 16px; cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
summary .soft { font-weight: 400; margin-left: 8px; }
table { min-width: 720px; table-layout: fixed; }
th:nth-child(1) { width: 100px; } th:nth-child(3), th:nth-child(4) { width: 96px; } th:nth-child(5) { width: 38%; }
td code { display: block; }
"""
FOOTER = (
    "Every row was counted; Great Expectations judged them, or for large files an even sample of them together with "
    "rows that fail. Exact duplicates repeat user, item, rating and timestamp of an earlier row; the first is kept."
)


def render(validation: Validation, dataset: str, as_of: datetime) -> str:
    """The whole page. `as_of` is the night's date."""
    sections = [
        _banner(validation),
        _tiles(validation),
        "<h2>Expectations</h2>",
        *_sections(validation.findings),
    ]
    return page(f"Validation of {dataset}", f"night of {as_of:%Y-%m-%d %H:%M}", sections, FOOTER, STYLE)


def _banner(validation: Validation) -> str:
    n_failed, n_all = len(validation.failed), len(validation.findings)
    if validation.passed:
        return banner("good", "✓ Accepted", f"All {n_all:,} expectations hold.")
    listed = "".join(f"<li>{escape(sentence(finding))}</li>" for finding in validation.failed[:MAX_LISTED])
    more = f"<li>and {n_failed - MAX_LISTED:,} more</li>" if n_failed > MAX_LISTED else ""
    text = f"{n_failed:,} of {n_all:,} expectations failed. Nothing was taken into the lake.<ul>{listed}{more}</ul>"
    return banner("bad", "✗ Refused", text)


def _tiles(validation: Validation) -> str:
    counts = validation.counts
    accepted = counts.accepted if validation.passed else 0
    n_passed = len(validation.findings) - len(validation.failed)
    return tiles(
        [
            ("interactions read", f"{counts.read:,}", ""),
            ("interactions accepted", f"{accepted:,}", ""),
            ("exact duplicates", f"{counts.duplicates:,}", _share_of_read(counts)),
            ("expectations that hold", f"{n_passed:,} of {len(validation.findings):,}", ""),
        ]
    )


def _share_of_read(counts: Counts) -> str:
    return f"{counts.duplicates / counts.read:.2%} of the rows" if counts.read else ""


def _sections(findings: Iterable[Finding]) -> list[str]:
    """One fold a file, those with a failure first, so that nobody has to look for it."""
    groups = [list(group) for _, group in groupby(findings, key=lambda finding: (finding.table, finding.source))]
    ordered = sorted(groups, key=_all_pass)
    return [_section(group, unfolded=len(groups) <= MAX_OPEN or not _all_pass(group)) for group in ordered]


def _all_pass(group: list[Finding]) -> bool:
    return all(finding.passed for finding in group)


def _section(group: list[Finding], unfolded: bool) -> str:
    n_failed = sum(not finding.passed for finding in group)
    state = f'<span class="bad">✗ {n_failed} failed</span>' if n_failed else '<span class="good">✓</span>'
    kind = "the whole dataset" if group[0].table == "dataset" else group[0].table
    rows = "\n".join(_row(finding) for finding in group)
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(group[0].source)}"
        f'<span class="soft">{escape(kind)}</span> {state}</summary><table><thead><tr><th>result</th>'
        f'<th>expectation</th><th class="number">failing</th><th class="number">share</th><th>found</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def _row(finding: Finding) -> str:
    mark = '<td class="mark good">✓ holds</td>' if finding.passed else '<td class="mark bad">✗ fails</td>'
    counted = bool(finding.n_total)
    failing = f"{finding.n_failing:,}" if counted else ""
    share = f"{finding.n_failing / finding.n_total:.2%}" if counted and finding.n_failing else ""
    setting = f'<div class="soft">limit: {escape(finding.setting)}</div>' if finding.setting else ""
    observed = f"<div>{escape(finding.observed)}</div>" if finding.observed else ""
    examples = "".join(f"<code>{escape(example)}</code>" for example in finding.examples)
    return (
        f"<tr{'' if finding.passed else ' class=failed'}>{mark}<td>{escape(finding.expectation)}{setting}</td>"
        f'<td class="number">{failing}</td><td class="number">{share}</td><td>{observed}{examples}</td></tr>'
    )
