"""The curves of a whole ranking: what it finds of the relevant items, and at what cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tasks.cards.look import LINE, SOFT, figure_of, name_axes, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Mapping[str, Any]]
"""By a model's label, what its evaluation says: `roc` and `precision_recall`."""


def has_curves(scores: Mapping[str, Any]) -> bool:
    """Not those of an evaluation from before they were kept."""
    return bool(scores["curves"].get("roc")) and bool(scores["curves"].get("precision_recall"))


def roc(curves: Curves) -> "Figure":
    """The share of relevant items that are ranked above a share of the others, averaged over users."""
    figure, (axes,) = figure_of(f"ROC curve: {', '.join(curves)}", 1, height=3.4)
    draw_roc(axes, curves)
    return figure


def precision_recall(curves: Curves) -> "Figure":
    """Precision and recall at each length of the list, averaged over users."""
    figure, (axes,) = figure_of(f"Precision and recall: {', '.join(curves)}", 1, height=3.4)
    draw_precision_recall(axes, curves)
    return figure


def both(curves: Curves) -> "Figure":
    """The two curves side by side."""
    figure, panels = figure_of(f"ROC curve, precision and recall: {', '.join(curves)}", 2, height=3.1)
    draw_roc(panels[0], curves)
    draw_precision_recall(panels[1], curves)
    return figure


def draw_roc(axes: "Axes", curves: Curves) -> None:
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    for label, look in styles(curves).items():
        points = curves[label]["roc"]
        axes.plot(points["negatives"], points["relevant"], linewidth=2, label=label, **look)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.03)
    name_axes(axes, "Relevant items found (ROC)", "share of the other items ranked above")
    _legend(axes, "lower right")


def draw_precision_recall(axes: "Axes", curves: Curves) -> None:
    for label, look in styles(curves).items():
        points = curves[label]["precision_recall"]
        axes.plot(points["recall"], points["precision"], linewidth=2, label=label, **look)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom=0)
    name_axes(axes, "Precision by recall", "recall")
    _legend(axes, "upper right")


def _legend(axes: "Axes", place: Literal["lower right", "upper right"]) -> None:
    legend = axes.legend(loc=place, frameon=False, fontsize=9.5, labelcolor=SOFT, handlelength=1.8)
    for text in legend.get_texts():
        text.set_parse_math(False)
