"""What the lists are like beyond their accuracy: beside the floors, and beside the champion."""

from collections.abc import Mapping
from html import escape
from typing import Any

from tasks.cards.night import NightFacts
from tasks.cards.numbers import NONE, share
from tasks.cards.page import card, table

PLACES = "_at_10"
MEASURES = {
    "coverage": ("coverage", "share of the catalogue that anybody is shown", "{:.1%}"),
    "popularity": ("popularity", "mean share of users who have an item that is shown", "{:.1%}"),
    "novelty": ("novelty", "how few users have what is shown, in bits", "{:.2f}"),
    "gini": ("concentration", "Gini: 0 shows every item as often, 1 only one", "{:.3f}"),
    "diversity": ("diversity", "how unlike in genre the items of one list are, 0 to 1", "{:.3f}"),
    "miscalibration": ("miscalibration", "how far a list's genres are from those of its user's past (KL)", "{:.3f}"),
}


def beyond(night: NightFacts) -> list[str]:
    """Nothing where the evaluation did not look at lists."""
    ours = night.scores.get("beyond", {}).get("test", {})
    if not ours:
        return []
    models = {
        night.name: ours,
        **{name: floor.get("beyond", {}).get("test", {}) for name, floor in night.others.items()},
    }
    tables = [card(beyond_table("of ten items shown to every test user", models), padded=False)]
    tables += [_beside(night, whom, rival.scores) for whom, rival in night.rivals.items()]
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning, _ in _present(ours))
    columns = f'<div class="columns">{"".join(tables)}</div>'
    return ["<h2>Beyond accuracy</h2>", columns, f'<p class="soft note">{meanings}.</p>']


def _beside(night: NightFacts, whom: str, scores: Mapping[str, Any]) -> str:
    """The lists of both, for the users whose rows may judge both; nothing where there are none."""
    both = {night.name: scores.get("beyond", {}).get("challenger"), whom: scores.get("beyond", {}).get("champion")}
    models = {name: figures for name, figures in both.items() if figures}
    if len(models) < 2:
        return ""
    title = f"on the rows that may judge both, beside the {night.called(whom)}"
    if "overlap_at_10" in scores:
        title += f": {share(scores['overlap_at_10'])} of its lists would stay"
    return card(beyond_table(title, models), padded=False)


def shown(name: str, value: float | None) -> str:
    """A figure as its measure is written; `name` as in a manifest, such as coverage_at_10."""
    return NONE if value is None or value != value else MEASURES[name.removesuffix(PLACES)][2].format(value)


def _present(figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    return [measure for name, measure in MEASURES.items() if f"{name}{PLACES}" in figures]


def beyond_table(title: str, models: Mapping[str, Mapping[str, float]]) -> str:
    """A row a measure that any of the models has, a column a model."""
    names = [f"{name}{PLACES}" for name in MEASURES if any(f"{name}{PLACES}" in one for one in models.values())]
    rows = [
        (MEASURES[name.removesuffix(PLACES)][0], *(shown(name, figures.get(name)) for figures in models.values()))
        for name in names
    ]
    return f'<p class="note">{escape(title)}</p>' + table(("measure", *models), rows)
