"""What is in quarantine: counts by reason, source and night, with an example each."""

import json
from typing import Any

from tasks.store.engine import Engine

MAX_LINES = 200
"""Groups that are listed; the totals are of all."""


def listing(engine: Engine) -> dict[str, Any]:
    """Of the views of rows.py, the newest night first, then the commonest reason."""
    rows, taken = engine.one("SELECT count(*), count(*) FILTER (taken) FROM refused")
    groups = (
        "SELECT kind AS reason, source, night, count(*) AS rows, count(*) FILTER (taken) AS taken, "
        "arg_min({source_row: source_row, row: row}, source_row) AS example FROM refused "
        f"GROUP BY ALL ORDER BY night DESC, rows DESC, reason, source LIMIT {MAX_LINES}"
    )
    nights = (
        "SELECT night, count(DISTINCT source) AS sources, count(*) AS rows FROM nights "
        f"GROUP BY ALL ORDER BY night DESC LIMIT {MAX_LINES}"
    )
    return {
        "rows": rows,
        "taken": taken,
        "groups": [_shown(one) for one in engine.table(groups).to_pylist()],
        "n_groups": engine.one("SELECT count(*) FROM (SELECT DISTINCT kind, source, night FROM refused)")[0],
        "refused_nights": [{**one, "night": one["night"].isoformat()} for one in engine.table(nights).to_pylist()],
    }


def _shown(group: dict[str, Any]) -> dict[str, Any]:
    example = group["example"]
    cells = {name: value for name, value in json.loads(example["row"]).items() if value is not None}
    told = ", ".join(f"{name}={value}" for name, value in cells.items())
    return {**group, "night": group["night"].isoformat(), "example": f"row {example['source_row']}: {told}"}
