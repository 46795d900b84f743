"""Whom and what the model is good for: its metrics by segment, beside those of popularity."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cards.night import FLOOR, NightFacts
from tasks.cards.numbers import metric, metric_name, signed
from tasks.cards.page import Cell, card, table

SEGMENTS = {
    "history_length": ("history, items", "users", "ndcg_at_10"),
    "item_popularity": ("item's popularity", "rows", "recall_at_10"),
    "item_age": ("item's age, days", "rows", "recall_at_10"),
    "reason": ("list made by", "users", "ndcg_at_10"),
}
"""What a bucket says, what is counted in it, and the metric that is shown of it. A history is what the user had before
the test, an item's age the time since its first row then."""
Rows = Sequence[Mapping[str, Any]]


def segments(night: NightFacts) -> list[str]:
    """A table for each kind of segment; reasons only where there is more than one."""
    ours, floor = night.scores["segments"], night.floors[FLOOR]["segments"]
    found = []
    for kind in SEGMENTS:
        if kind not in ours or (kind == "reason" and len(ours[kind]) == 1):
            continue
        # the floor folds nobody in, so that its buckets of reasons hold other users
        compared = night.name != FLOOR and kind != "reason"
        others = {FLOOR: floor.get(kind, [])} if compared else {}
        found.append(card(segment_table(kind, ours[kind], others), padded=False))
    return ["<h2>Whom and what it is good for</h2>", f'<div class="columns">{"".join(found)}</div>']


def segment_table(kind: str, ours: Rows, others: Mapping[str, Rows], label: str = "") -> str:
    """A row a bucket: ours, and beside it each other's and by how much ours is better."""
    meaning, counted, name = SEGMENTS[kind]
    heads = [meaning, counted, f"{metric_name(name)} {label}".strip()]
    for other in others:
        heads += [other, "difference"]
    rows = []
    for row in ours:
        cells: list[Cell] = [row["bucket"], f"{row[counted]:,}", metric(row[name])]
        for buckets in others.values():
            theirs = next((one[name] for one in buckets if one["bucket"] == row["bucket"]), math.nan)
            by = row[name] - theirs
            cells += [metric(theirs), (signed(by), " good" if by > 0 else " bad" if by < 0 else "")]
        rows.append(cells)
    return table(heads, rows)
