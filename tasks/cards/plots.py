"""Plots of a run, as matplotlib figures: saved as pictures, or put into a page as SVG that follows its colours.

Everything goes through `Figure`, never through pyplot: no global state, no window, and threads do not meet.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2  # inches; about 700 pixels
INK, SOFT, LINE = "#1c2430", "#667085", "#e4e7ec"  # the light page's colours
MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: told apart by colour-blind people too
FLOOR = "popularity"
FLOOR_COLOUR = "#7a8699"
IN_PAGE = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    MODEL_COLOURS[0]: "var(--plot-1, #0072b2)",
}
"""What stands for a colour in a page, so that a plot follows light and dark."""
LABEL_GAP = 0.17  # of the height of the panel: two lines of text
NAMES = {"ndcg": "NDCG@k", "recall": "Recall@k"}


def learning_curve(history: Sequence[Mapping[str, Any]], best_epoch: int) -> "Figure":
    """Training loss and validation NDCG@10 by epoch. `history` is that of a training's record; it must not be empty.

    Without validation only the loss is drawn."""
    judged = [epoch for epoch in history if epoch["metrics"]]
    figure, panels = _figure("Training loss and validation NDCG@10 by epoch", 2 if judged else 1)
    _epochs(
        panels[0],
        "Training loss",
        [(epoch["number"], epoch["loss"]) for epoch in history],
        best_epoch,
        label_best=False,
    )
    if judged:
        points = [(epoch["number"], epoch["metrics"]["ndcg_at_10"]) for epoch in judged]
        _epochs(panels[1], "Validation NDCG@10", points, best_epoch, label_best=True)
    return figure


def metric_at_k(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> "Figure":
    """NDCG and recall at every cutoff from 1, one line for each model; popularity, the floor, is grey and dashed.

    `curves` holds for each model's label `{"ndcg": […], "recall": […]}`."""
    figure, panels = _figure(f"NDCG and recall by length of the list: {', '.join(curves)}", len(NAMES))
    colours = iter(MODEL_COLOURS * len(curves))
    styles = {
        label: {"color": FLOOR_COLOUR, "linestyle": (0, (4, 2))}
        if label.startswith(FLOOR)
        else {"color": next(colours), "linestyle": "-"}
        for label in curves
    }
    for axes, (metric, title) in zip(panels, NAMES.items(), strict=True):
        longest = max(len(curve[metric]) for curve in curves.values())
        for label, curve in curves.items():
            ks = range(1, len(curve[metric]) + 1)
            axes.plot(ks, curve[metric], linewidth=2, marker="." if longest == 1 else None, **styles[label])
        top = max(max(curve[metric]) for curve in curves.values())
        axes.set_ylim(0, top * 1.08 if top > 0 else 1)
        axes.set_xlim(1 - longest * 0.04, longest * 1.5)  # the labels stand to the right of the lines
        axes.set_xticks(_cutoff_ticks(longest))
        _name(axes, title, "k, items shown")
        ends = {label: curve[metric][-1] / axes.get_ylim()[1] for label, curve in curves.items()}
        for label, height in spread(ends, LABEL_GAP).items():
            axes.text(
                longest * 1.03,
                height * axes.get_ylim()[1],
                label.replace(" (", "\n("),
                color=styles[label]["color"],
                va="center",
                fontsize=9.5,
                parse_math=False,
            )
    return figure


def step_seconds(seconds: Mapping[str, float], skipped: Collection[str] = ()) -> "Figure":
    """One bar for each step, in the order of the night; what `total` holds beyond the steps is named `other`."""
    steps = {name: value for name, value in seconds.items() if name != "total"}
    total = seconds.get("total", sum(steps.values()))
    if (other := total - sum(steps.values())) >= 0.05:
        steps["other"] = other
    figure, (axes,) = _figure("Seconds by step", 1, height=0.5 + 0.3 * len(steps))
    places = range(len(steps))
    axes.barh(places, list(steps.values()), height=0.62, color=MODEL_COLOURS[0])
    longest = max(steps.values(), default=0.0) or 1.0
    for place, (name, value) in enumerate(steps.items()):
        text = "skipped" if name in skipped else f"{duration(value)} · {_share(value, total)}"
        axes.text(value + longest * 0.012, place, text, color=INK, va="center", fontsize=9.5)
    axes.set_yticks(places, list(steps), fontsize=9.5, color=INK)
    axes.set_ylim(len(steps) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.2)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return figure


def duration(seconds: float) -> str:
    """For people: 0.42 s, 12.3 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def spread(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """The same labels, moved apart until no two are closer than `gap`, and no further than they must; order is kept."""
    placed: dict[str, float] = {}
    floor = gap / 2
    for label, height in sorted(heights.items(), key=lambda entry: entry[1]):
        placed[label] = max(height, floor)
        floor = placed[label] + gap
    ceiling = max(1.0, gap * (len(placed) - 0.5))  # too many labels for the height go on above it
    for label in reversed(placed):
        placed[label] = min(placed[label], ceiling)
        ceiling = placed[label] - gap
    return placed


def as_svg(figure: "Figure") -> str:
    """The figure as an SVG element for a page: no header, no date, ids of its own, the page's colours and fonts.

    Equal figures give equal text."""
    import matplotlib

    out = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "encore", "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", facecolor="none", metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    prefix = hashlib.sha256(svg.encode()).hexdigest()[:8]  # several figures share a page, and their ids must not meet
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    for colour, variable in IN_PAGE.items():
        svg = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: {variable}", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None  # matplotlib always writes it
    label = escape(str(figure.get_label()))
    return f'<svg {box[0]} role="img" aria-label="{label}">{svg[svg.index(">") + 1 :].strip()}'


def _figure(label: str, n_panels: int, height: float = 2.7) -> tuple["Figure", list["Axes"]]:
    """An empty figure with panels side by side, in our look."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained", facecolor="white")
    figure.set_label(label)
    panels = [figure.add_subplot(1, n_panels, place + 1) for place in range(n_panels)]
    for axes in panels:
        axes.set_facecolor("none")
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
        axes.tick_params(length=0, colors=SOFT, labelsize=9.5)
        axes.locator_params(axis="y", nbins=5)
    return figure, panels


def _name(axes: "Axes", title: str, x: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=SOFT)


def _epochs(axes: "Axes", title: str, points: Sequence[tuple[int, float]], best_epoch: int, label_best: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot(*zip(*points, strict=True), color=MODEL_COLOURS[0], linewidth=2, marker="." if len(points) == 1 else None)
    if best_epoch in dict(points):
        value = dict(points)[best_epoch]
        axes.axvline(best_epoch, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.plot([best_epoch], [value], "o", color=MODEL_COLOURS[1], markersize=6)
        if label_best:
            left = best_epoch > (points[0][0] + points[-1][0]) / 2
            axes.annotate(
                f"epoch {best_epoch}: {value:.4f}",
                (best_epoch, value),
                xytext=(-8 if left else 8, 9),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=9.5,
                color=INK,
            )
    axes.margins(y=0.16)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _name(axes, title, "epoch")


def _share(value: float, total: float) -> str:
    return "<1%" if value < total * 0.005 or not total else f"{value / total:.0%}"


def _cutoff_ticks(longest: int) -> list[int]:
    """1, then every fifth or tenth: never beyond the last cutoff."""
    step = next((step for step in (1, 2, 5, 10, 20, 50) if longest / step <= 5), longest)
    return sorted({1, *range(step, longest + 1, step)} - ({2} if step == 2 else set()))
