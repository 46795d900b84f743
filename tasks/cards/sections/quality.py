"""How good the model is: every metric with its interval beside the floors, and the curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cards import curves
from tasks.cards.look import FLOOR, as_svg
from tasks.cards.night import NightFacts
from tasks.cards.numbers import interval, metric, metric_name
from tasks.cards.page import Cell, card, table
from tasks.cards.plots import metric_at_k

PARTS = {"test": "all items ranked", "sampled": "only the given candidates ranked"}


def quality(night: NightFacts, level: float) -> list[str]:
    """The table of metrics, and the curves by length of the list and over the whole ranking."""
    found = ["<h2>How good it is</h2>", _metrics(night, level), card(as_svg(metric_at_k(curves_of(night))))]
    if whole := whole_curves(night):
        found.append(card(as_svg(curves.both(whole))))
    return found


def curves_of(night: NightFacts) -> dict[str, Mapping[str, Any]]:
    """By label: the floors, then the model."""
    floors = {f"{name}{FLOOR}": scores["curves"] for name, scores in night.others.items()}
    return {**floors, night.name: night.scores["curves"]}


def whole_curves(night: NightFacts) -> dict[str, Mapping[str, Any]]:
    """The same, of those that have ROC and precision-recall curves."""
    judged = [*night.others.values(), night.scores]
    found = curves_of(night)
    return {label: found[label] for label, scores in zip(found, judged, strict=True) if curves.has_curves(scores)}


def _metrics(night: NightFacts, level: float) -> str:
    scores = night.scores
    rows: list[Sequence[Cell] | str] = []
    for part, meaning in PARTS.items():
        names = [name for name in scores["means"] if name.startswith(f"{part}/")]
        if names:
            rows.append(f"{part}: {meaning}, {scores['users'][part]:,} users")
        rows += [
            (
                metric_name(name),
                metric(scores["means"][name]),
                *(metric(floor["means"].get(name)) for floor in night.others.values()),
                (interval(scores["intervals"].get(name)), " soft"),
            )
            for name in names
        ]
    heads = ("metric", night.name, *night.others, f"{level:.0%} interval of {night.name}")
    return card(table(heads, rows, lead=metric_name("ndcg_at_10")), padded=False)
