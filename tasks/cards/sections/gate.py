"""The gate's checks, each with the figures that it was judged by."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tasks.cards.page import card


def checks(named: Iterable[Mapping[str, Any]]) -> str:
    """A line a check."""
    rows = "".join(
        f"<tr{'' if check['passed'] else ' class=failed'}>"
        + ('<td class="mark good">✓ passed</td>' if check["passed"] else '<td class="mark bad">✗ failed</td>')
        + f"<td>{escape(check['name'])}</td><td>{escape(check['detail'])}</td></tr>"
        for check in named
    )
    return card(f'<table class="checks">{rows}</table>', padded=False)
