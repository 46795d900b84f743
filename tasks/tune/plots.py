"""Pictures of a search: how it came to its best, and what each setting is worth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.search import Choice, Space
from tasks.cards.look import FLOOR_COLOUR, INK, LINE, MODEL_COLOURS, SOFT
from tasks.tune.study import Tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A_ROW = 3  # panels
BEST: dict[str, Any] = {"marker": "o", "color": MODEL_COLOURS[1], "markersize": 8, "linestyle": "none", "zorder": 3}


def draw_history(tried: Sequence[Tried], best: Tried) -> "Figure":
    """Every trial's value in their order, and the best so far. Those that were given up are hollow."""
    figure, (axes,) = _figure(1, (7.2, 3.2))
    high, line = float("-inf"), []
    for one, value in _valued(tried):
        axes.plot([one.place], [value], "o", **_mark(one), markersize=6)
        if one.state == "complete":
            high = max(high, value)
        line += [(one.place, high)] if high > float("-inf") else []
    axes.plot(*zip(*line, strict=True), drawstyle="steps-post", color=MODEL_COLOURS[0], linewidth=1.4, zorder=1)
    axes.plot([best.place], [line[-1][1]], **BEST)
    for place in (one.place for one in tried if one.state == "failed"):
        axes.plot([place], [0.03], "x", color=SOFT, markersize=6, transform=axes.get_xaxis_transform())
    _name(axes, "Validation NDCG@10 by trial", "trial; 0: the defaults; hollow: given up; x: failed")
    return figure


def draw_slices(tried: Sequence[Tried], best: Tried, space: Mapping[str, Space]) -> "Figure":
    """A panel for each setting: what the trials had there, and how good they were."""
    figure, panels = _figure(len(space), (7.2, 2.4 * -(-len(space) // A_ROW)))
    for axes, (name, one) in zip(panels, space.items(), strict=True):
        if isinstance(one, Choice):
            axes.set_xticks(range(len(one.values)), [str(value) for value in one.values])
            axes.set_xlim(-0.6, len(one.values) - 0.4)
        elif one.log:
            axes.set_xscale("log")
            ticks = (one.low, (one.low * one.high) ** 0.5, one.high)
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.set_xticks([], minor=True)
        for trial, value in _valued(tried):
            if name in trial.params:
                style = BEST if trial.place == best.place else {**_mark(trial), "marker": "o", "markersize": 5}
                axes.plot([_place(one, trial.params[name])], [value], **style)
        _name(axes, name, "")
    return figure


def _place(space: Space, value: Any) -> Any:
    return space.values.index(value) if isinstance(space, Choice) else value


def _valued(tried: Sequence[Tried]) -> list[tuple[Tried, float]]:
    return [(one, one.value) for one in tried if one.value is not None]


def _mark(one: Tried) -> dict[str, Any]:
    whole = one.state == "complete"
    return {"color": MODEL_COLOURS[0] if whole else FLOOR_COLOUR, "fillstyle": "full" if whole else "none"}


def _figure(n_panels: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    columns = min(A_ROW, n_panels)
    panels = [figure.add_subplot(-(-n_panels // columns), columns, place + 1) for place in range(n_panels)]
    for axes in panels:
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
        axes.tick_params(which="both", length=0, colors=SOFT, labelsize=8.5)
        axes.locator_params(axis="y", nbins=5)
        axes.margins(0.08, 0.12)
    return figure, panels


def _name(axes: "Axes", title: str, x: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, parse_math=False)
    axes.set_xlabel(x, fontsize=9, color=SOFT)
