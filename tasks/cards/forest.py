"""The plot of differences: how much better a model is than each of the others, with intervals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.cards.look import INK, MODEL_COLOURS, SOFT, figure_of
from tasks.cards.numbers import difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 0.34  # inches
BETTER, WORSE, UNDECIDED = MODEL_COLOURS[0], MODEL_COLOURS[1], SOFT


def forest(differences: Mapping[str, Mapping[str, float]], title: str) -> "Figure":
    """A row for each label with its mean and interval (`mean`, `low`, `high`); zero is where both are as good.

    Blue where the whole interval is above zero, orange where it is below, grey where it holds zero."""
    figure, (axes,) = figure_of(f"{title}: {', '.join(differences)}", 1, 0.75 + ROW * len(differences))
    ends = [one[end] for one in differences.values() for end in ("low", "high")]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = (high - low) or 1.0
    axes.axvline(0, color=SOFT, linewidth=1)
    for place, one in enumerate(differences.values()):
        colour = BETTER if one["low"] > 0 else WORSE if one["high"] < 0 else UNDECIDED
        axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([one["mean"]], [place], "o", color=colour, markersize=7)
        axes.text(high + span * 0.06, place, difference(one), color=INK, va="center", fontsize=9.5)
    axes.set_yticks(range(len(differences)), list(differences), fontsize=9.5, color=INK, parse_math=False)
    axes.set_ylim(len(differences) - 0.4, -0.6)
    axes.set_xlim(low - span * 0.06, high + span * 0.75)  # the figures stand to the right of the intervals
    axes.set_xticks([tick for tick in axes.get_xticks() if low - span * 0.06 <= tick <= high + span * 0.06])
    axes.grid(visible=False)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    return figure
