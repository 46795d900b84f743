"""Two nights beside each other: how good they are, for whom, and what their lists are like."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cards import curves
from tasks.cards.forest import forest
from tasks.cards.look import as_svg
from tasks.cards.numbers import colour, metric, metric_name, p_value, signed
from tasks.cards.page import card, table
from tasks.cards.pairing import Diff
from tasks.cards.plots import learning_beside, metric_at_k
from tasks.cards.sections.beyond import beyond_table
from tasks.cards.sections.segments import SEGMENTS, segment_table
from tasks.cards.sides import Side
from tasks.differences import LEAD


def difference_plot(diff: Diff) -> list[str]:
    """A row a metric; nothing where there is no difference to show."""
    if not diff.differences:
        return []
    shown = {metric_name(name): by for name, by in diff.differences.items()}
    title = "Difference of means" if diff.pairing == "none" else "Difference, user by user"
    return [card(as_svg(forest(shown, title)))]


def metric_table(diff: Diff) -> str:
    """Every metric that both have, with the difference where it was taken."""
    one, other = diff.one.scores["means"], diff.other.scores["means"]
    names = [name for name in one if name in other and name.startswith(("test/", "sampled/"))]
    names.sort(key=lambda name: name.removeprefix("test/") not in diff.differences)  # those with a difference first
    rows = []
    for name in names:
        by = diff.differences.get(name.removeprefix("test/"))
        rows.append((metric_name(name), metric(one[name]), metric(other[name]), *_difference(by)))
    heads = ("metric", diff.one.label, diff.other.label, "difference", "interval", "p")
    note = "Each on its own test rows; the difference as said above."
    return card(f'<p class="note">{note}</p>{table(heads, rows, lead=metric_name(LEAD))}', padded=False)


def _difference(by: Mapping[str, float] | None) -> Sequence[Any]:
    if by is None:
        return ("", "", "")
    ends = f"{signed(by['low'])} to {signed(by['high'])}"
    shown = (signed(by["mean"]), colour(by["low"], by["high"]))
    return (shown, (ends, " soft"), p_value(by["p_value"]) if "p_value" in by else "")


def both_curves(one: Side, other: Side) -> list[str]:
    """By length of the list, over the whole ranking, and by epoch, as far as there are such."""
    both = {one.name: one.scores["curves"], other.name: other.scores["curves"]}
    found = ["<h2>Curves</h2>", card(as_svg(metric_at_k(both)))]
    if all(curves.has_curves(side.scores) for side in (one, other)):
        found.append(card(as_svg(curves.both(both))))
    trainings = {side.name: side.training for side in (one, other)}
    is_judged = any(epoch["metrics"] for training in trainings.values() for epoch in training["history"])
    return found + ([card(as_svg(learning_beside(trainings)))] if is_judged else [])


def both_beyond(one: Side, other: Side) -> list[str]:
    """Nothing where one of them was not asked."""
    models = {side.name: side.scores.get("beyond", {}).get("test", {}) for side in (one, other)}
    if not all(models.values()):
        return []
    return [
        "<h2>Beyond accuracy</h2>",
        card(beyond_table("of ten items shown to every test user", models), padded=False),
    ]


def both_segments(one: Side, other: Side) -> list[str]:
    """A table a kind of segment; none of what has a single bucket in both."""
    before, after = one.scores["segments"], other.scores["segments"]
    tables = [
        card(segment_table(kind, after[kind], {one.label: before[kind]}, other.label), padded=False)
        for kind in SEGMENTS
        if kind in before and kind in after and len(before[kind]) + len(after[kind]) > 2
    ]
    return ["<h2>For whom and what</h2>", f'<div class="columns">{"".join(tables)}</div>']
