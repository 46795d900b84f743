"""The model beside the champion, the anchor and the floors: differences user by user, with intervals and p-values."""

from collections.abc import Iterable, Mapping
from html import escape

from tasks.cards.forest import forest
from tasks.cards.look import as_svg
from tasks.cards.night import NightFacts
from tasks.cards.numbers import colour, metric, metric_name, p_value, signed
from tasks.cards.page import card, table
from tasks.differences import LEAD

TITLE = f"Difference in {metric_name(LEAD)} against"
MEANING = {
    "champion": "what production served until tonight",
    "anchor": "the best champion of the last nights, so that small losses cannot add up",
}


def beside(night: NightFacts) -> list[str]:
    """The plot of all differences in NDCG@10, and a table for each version that was judged beside the model."""
    if not (shown := leading(night)):
        return []
    tables = "".join(_table(night, whom) for whom in night.rivals if whom in night.differences)
    return [
        "<h2>Is it better?</h2>",
        card(as_svg(forest(shown, TITLE))),
        f'<div class="columns">{tables}</div>' if tables else "",
    ]


def leading(night: NightFacts) -> dict[str, Mapping[str, float]]:
    """The differences in the metric that the gate decides by, by whom they are to."""
    return {night.called(whom): by[LEAD] for whom, by in night.differences.items() if LEAD in by}


def _table(night: NightFacts, whom: str) -> str:
    """Both on the rows that neither was fitted on: those of the rival are in its own record, ours are told by the
    difference."""
    scores, by = night.rivals[whom].scores, night.differences[whom]
    theirs = {name: scores["means"][f"champion/{name}"] for name in by}
    users = f"{scores['users']['champion']:,} users"
    rows = [
        (metric_name(name), metric(theirs[name] + one["mean"]), metric(theirs[name]), *difference_cells(one))
        for name, one in by.items()
    ]
    note = f"Beside the {escape(night.called(whom))}: {MEANING[whom]}. {users}, rows that neither was fitted on."
    heads = ("metric", night.name, whom, *DIFFERENCE)
    return card(f'<p class="note">{note}</p>{table(heads, rows)}', padded=False)


DIFFERENCE = ("difference", "interval", "p")


def difference_cells(one: Mapping[str, float]) -> Iterable[str | tuple[str, str]]:
    """A difference, its interval and its p-value; coloured where the interval leaves no doubt."""
    judged = colour(one["low"], one["high"])
    ends = f"{signed(one['low'])} to {signed(one['high'])}"
    return (signed(one["mean"]), judged), (ends, " soft"), p_value(one["p_value"])
