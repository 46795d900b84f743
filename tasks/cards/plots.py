"""Plots of a run, as matplotlib figures: saved as pictures, or put into a page as SVG."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.cards.look import INK, MODEL_COLOURS, SOFT, figure_of, label_ends, name_axes, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AT_K = {"ndcg": "NDCG@k", "recall": "Recall@k"}


def learning_curve(history: Sequence[Mapping[str, Any]], best_epoch: int) -> "Figure":
    """Training loss and validation NDCG@10 by epoch. `history` is that of a training's record; it must not be empty.

    Without validation only the loss is drawn."""
    judged = [epoch for epoch in history if epoch["metrics"]]
    figure, panels = figure_of("Training loss and validation NDCG@10 by epoch", 2 if judged else 1)
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


def learning_beside(trainings: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Validation NDCG@10 by epoch of several trainings. `trainings` are their records by label; one whose epochs were
    not judged has no line, and one of them must have."""
    figure, (axes,) = figure_of(f"Validation NDCG@10 by epoch: {', '.join(trainings)}", 1)
    look, ends, last = styles(trainings), {}, 0
    for label, training in trainings.items():
        points = [
            (epoch["number"], epoch["metrics"]["ndcg_at_10"]) for epoch in training["history"] if epoch["metrics"]
        ]
        if points:
            mark = "." if len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), linewidth=2, marker=mark, **look[label])
            best = dict(points).get(training["best_epoch"], math.nan)
            axes.plot([training["best_epoch"]], [best], "o", color=look[label]["color"], markersize=6)
            ends[label], last = points[-1][1], max(last, points[-1][0])
    axes.margins(y=0.16)
    axes.set_xlim(1 - last * 0.02, last * 1.2)
    _whole_ticks(axes)
    name_axes(axes, "Validation NDCG@10; the dot is the epoch that was kept", "epoch")
    label_ends(axes, last * 1.02, ends, look)
    return figure


def metric_at_k(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> "Figure":
    """NDCG and recall at every cutoff from 1, one line for each model.

    `curves` holds for each model's label `{"ndcg": […], "recall": […]}`."""
    figure, panels = figure_of(f"NDCG and recall by length of the list: {', '.join(curves)}", len(AT_K))
    look = styles(curves)
    for axes, (metric, title) in zip(panels, AT_K.items(), strict=True):
        longest = max(len(curve[metric]) for curve in curves.values())
        for label, curve in curves.items():
            ks = range(1, len(curve[metric]) + 1)
            axes.plot(ks, curve[metric], linewidth=2, marker="." if longest == 1 else None, **look[label])
        top = max(max(curve[metric]) for curve in curves.values())
        axes.set_ylim(0, top * 1.08 if top > 0 else 1)
        axes.set_xlim(1 - longest * 0.04, longest * 1.5)  # the labels stand to the right of the lines
        axes.set_xticks(_cutoff_ticks(longest))
        name_axes(axes, title, "k, items shown")
        label_ends(axes, longest * 1.03, {label: curve[metric][-1] for label, curve in curves.items()}, look)
    return figure


def step_seconds(seconds: Mapping[str, float], skipped: Collection[str] = ()) -> "Figure":
    """One bar for each step, in the order of the night; what `total` holds beyond the steps is named `other`."""
    steps = {name: value for name, value in seconds.items() if name != "total"}
    total = seconds.get("total", sum(steps.values()))
    if (other := total - sum(steps.values())) >= 0.05:
        steps["other"] = other
    figure, (axes,) = figure_of("Seconds by step", 1, height=0.5 + 0.3 * len(steps))
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


def _epochs(axes: "Axes", title: str, points: Sequence[tuple[int, float]], best_epoch: int, label_best: bool) -> None:
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
    _whole_ticks(axes)
    name_axes(axes, title, "epoch")


def _whole_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _share(value: float, total: float) -> str:
    return "<1%" if value < total * 0.005 or not total else f"{value / total:.0%}"


def _cutoff_ticks(longest: int) -> list[int]:
    """1, then every fifth or tenth: never beyond the last cutoff."""
    step = next((step for step in (1, 2, 5, 10, 20, 50) if longest / step <= 5), longest)
    return sorted({1, *range(step, longest + 1, step)} - ({2} if step == 2 else set()))
