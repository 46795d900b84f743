"""The run card's part on the data: where every row went, why rows were refused, and what looked odd."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tasks.cards.page import card, facts

MAX_REASONS = 8


def data_facts(result: Mapping[str, Any]) -> str:
    """Where the rows went: read, accepted, refused, and into which part of the split."""
    rows = {name: f"{value:,}" for name, value in result["rows"].items()}
    return facts(
        {
            "dataset": result["dataset"],
            "rows read": rows["read"],
            "accepted": rows["accepted"],
            "exact duplicates": rows["duplicates"],
            **({"quarantined": rows["quarantined"]} if result["rows"]["quarantined"] else {}),
            "split": result["protocol"],
            "training rows": rows["train"],
            "validation rows": rows["valid"],
            "test rows": rows["test"],
            "users": rows["users"],
            "items": rows["items"],
            "leaks looked for": _audit(result["audit"]),
            "snapshot": result["snapshot"],
        }
    )


def data_notes(result: Mapping[str, Any]) -> list[str]:
    """What an operator should look at: refused rows by reason, and expectations that failed and are only shown."""
    return [*_warnings(result["warnings"]), *_reasons(result)]


def _audit(audit: Sequence[Mapping[str, Any]]) -> str:
    n_passed = sum(bool(one["passed"]) for one in audit)
    return f"{n_passed} of {len(audit)} expectations hold"


def _warnings(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    listed = "".join(f'<tr><td class="mark warn">! look</td><td>{escape(text)}</td></tr>' for text in warnings)
    return ["<h2>What looked odd in the data</h2>", card(f"<table>{listed}</table>", padded=False)]


def _reasons(result: Mapping[str, Any]) -> list[str]:
    reasons = sorted(result["quarantine"].items(), key=lambda one: -one[1])
    if not reasons:
        return []
    rows = "".join(
        f'<tr><td>{escape(reason)}</td><td class="number">{count:,}</td></tr>'
        for reason, count in reasons[:MAX_REASONS]
    )
    if rest := reasons[MAX_REASONS:]:
        n_rest = sum(count for _, count in rest)
        rows += f'<tr><td class="soft">{len(rest)} more reasons</td><td class="number">{n_rest:,}</td></tr>'
    typed = escape(f"encore quarantine --ingest.name={result['dataset']}")
    note = f'<p class="soft">They are kept, with file and row: <code>{typed}</code></p>'
    head = '<tr><th>why</th><th class="number">rows</th></tr>'
    return ["<h2>Rows in quarantine</h2>", card(f"<table>{head}{rows}</table>", padded=False), note]
