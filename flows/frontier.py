"""What quality costs: the models of a leaderboard by training seconds and NDCG@10, as a picture."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.cards.look import FLOOR_COLOUR, INK, LINE, MODEL_COLOURS, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, DPI = (8.4, 5.2), 110  # inches
SHORTEST = 0.001  # seconds: what a logarithm can show of a fit that takes no time
REACH = 9  # pixels around a mark that no name covers
RING = (12, 20, 32, 48, 66, 88, 115, 150)  # pixels from a mark to its name, as tried
FONT: dict[str, Any] = {"fontsize": 9.5, "color": INK, "parse_math": False}

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def draw_frontier(judged: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> "Figure":
    """NDCG@10 with its interval by training seconds (logarithmic); a line joins the models that no other beats.

    `judged` are rows of the leaderboard without an error, at least one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)  # measures the labels
    figure.subplots_adjust(left=0.08, right=0.97, top=0.86, bottom=0.12)
    axes = figure.add_subplot()
    _mark(axes, judged)
    _dress(axes, judged, result)
    _label(axes, judged)
    return figure


def _mark(axes: "Axes", judged: Sequence[Mapping[str, Any]]) -> None:
    for row in judged:
        (x, y), (low, high) = point(row), row["ndcg_at_10_interval"]
        colour = MODEL_COLOURS[0] if row["frontier"] else FLOOR_COLOUR
        axes.plot([x, x], [low, high], color=colour, linewidth=1.4, alpha=0.55, solid_capstyle="butt")
        axes.plot([x], [y], "o", color=colour, markersize=7)
    edge = sorted(point(row) for row in judged if row["frontier"])
    # between two of them the cheaper one is the best that can be had
    axes.plot(*zip(*edge, strict=True), color=MODEL_COLOURS[0], linewidth=1.2, drawstyle="steps-post", alpha=0.8)


def point(row: Mapping[str, Any]) -> tuple[float, float]:
    """Where a row stands: seconds and NDCG@10."""
    return max(row["train_seconds"], SHORTEST), row["ndcg_at_10"]


def _dress(axes: "Axes", judged: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    seconds = [point(row)[0] for row in judged]
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 2.5, max(seconds) * 4)
    axes.margins(y=0.14)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g} s"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(which="both", length=0, colors=SOFT, labelsize=9.5)
    axes.set_xlabel("training, mean over seeds", fontsize=9.5, color=SOFT)
    title = f"{result['dataset']}: NDCG@10 by training time"
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=24, parse_math=False)
    told = f"bars: {result['level']:.0%} intervals over users; line: no model is as good in less time"
    axes.text(0, 1.025, told, transform=axes.transAxes, fontsize=9.5, color=SOFT)


def _label(axes: "Axes", judged: Sequence[Mapping[str, Any]]) -> None:
    """Names each mark; a name that stands apart is led to its mark by a thin line."""
    from matplotlib.patheffects import withStroke

    marks, bars, sizes, frame = _measured(axes, judged)
    scale = 72 / DPI  # points in a pixel
    for row, (x, y), box in zip(judged, marks, place_names(marks, sizes, bars, frame), strict=True):
        corner, apart = (scale * (box[0] - x), scale * (box[1] - y)), _gap(box, (x, y)) > 2 * REACH
        axes.annotate(
            row["model"],
            point(row),
            xytext=corner,
            textcoords="offset points",
            **FONT,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": SOFT, "lw": 0.7, "shrinkA": 0, "shrinkB": 4} if apart else None,
        )


def _measured(
    axes: "Axes", judged: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[float, float]], list[Box], list[tuple[float, float]], Box]:
    """In pixels: the marks, their bars, how large their names are, and the frame."""
    marks, bars, sizes = [], [], []
    for row in judged:
        ends = [(point(row)[0], value) for value in (row["ndcg_at_10"], *row["ndcg_at_10_interval"])]
        (x, y), (_, bottom), (_, top) = axes.transData.transform(ends)
        marks.append((x, y))
        bars.append((x - 2, bottom, x + 2, top))
        text = axes.text(0, 0, row["model"], **FONT)
        extent = text.get_window_extent()
        sizes.append((extent.width, extent.height))
        text.remove()
    frame = axes.get_window_extent()
    return marks, bars, sizes, (frame.x0, frame.y0, frame.x1, frame.y1)


def place_names(
    marks: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], bars: Sequence[Box], frame: Box
) -> list[Box]:
    """Where each name stands, one after the other: where it covers no other name and no mark, stays in the frame,
    covers few bars and is near. All in pixels."""
    closed = [(x - REACH, y - REACH, x + REACH, y + REACH) for x, y in marks]
    placed: list[Box] = []
    for mark, size in zip(marks, sizes, strict=True):
        prices = {box: price + _price(box, closed + placed, bars, frame) for box, price in _tried(mark, size)}
        placed.append(min(prices, key=lambda box: prices[box]))
    return placed


def _tried(mark: tuple[float, float], size: tuple[float, float]) -> Iterator[tuple[Box, float]]:
    """Places around a mark, and what their distance costs: rather beside it than above it."""
    (x, y), (width, height) = mark, size
    for far in RING:
        for dx, dy in ((1, 0), (-1, 0), (0.8, 0.6), (0.8, -0.6), (-0.8, 0.6), (-0.8, -0.6), (0, 1), (0, -1)):
            left = x + far * dx - width * (0 if dx > 0 else 1 if dx < 0 else 0.5)
            bottom = y + far * dy - height * (0 if dy > 0 else 1 if dy < 0 else 0.5)
            yield (left, bottom, left + width, bottom + height), far * (abs(dx) + 2 * abs(dy))


def _price(box: Box, closed: Sequence[Box], bars: Sequence[Box], frame: Box) -> float:
    """In pixels of distance: a bar is worth a small detour; a mark, a name or the frame's edge any."""
    inside = frame[0] <= box[0] and box[2] <= frame[2] and frame[1] <= box[1] and box[3] <= frame[3]
    return 15 * sum(overlap(box, bar) for bar in bars) + 1000 * (
        sum(overlap(box, other) for other in closed) + (not inside)
    )


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _gap(box: Box, mark: tuple[float, float]) -> float:
    """From a mark to the nearest point of a box."""
    x, y = mark
    return math.hypot(max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3]))
