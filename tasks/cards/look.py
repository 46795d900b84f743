"""How our plots look, and how a figure becomes part of a page: an SVG that follows its colours and fonts.

Everything goes through `Figure`, never through pyplot: no global state, no window, and threads do not meet.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2  # inches; about 700 pixels
INK, SOFT, LINE = "#1c2430", "#667085", "#e4e7ec"  # the light page's colours
MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: told apart by colour-blind people too
FLOOR_COLOUR = "#7a8699"
FLOOR = " (floor)"  # a label that ends like this is drawn as a floor
FLOOR_DASHES = ((0, (4, 2)), (0, (1, 1.5)))
IN_PAGE = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    MODEL_COLOURS[0]: "var(--plot-1, #0072b2)",
}
"""What stands for a colour in a page, so that a plot follows light and dark."""
LABEL_GAP = 0.17  # of the height of the panel: two lines of text


def figure_of(label: str, n_panels: int, height: float = 2.7) -> tuple["Figure", list["Axes"]]:
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


def name_axes(axes: "Axes", title: str, x: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=SOFT)


def styles(labels: Collection[str]) -> dict[str, dict[str, Any]]:
    """How each label's line is drawn: floors grey and dashed, models in colours, in their order."""
    colours, dashes = iter(MODEL_COLOURS * len(labels)), iter(FLOOR_DASHES * len(labels))
    return {
        label: {"color": FLOOR_COLOUR, "linestyle": next(dashes)}
        if label.endswith(FLOOR)
        else {"color": next(colours), "linestyle": "-"}
        for label in labels
    }


def label_ends(axes: "Axes", x: float, ends: Mapping[str, float], look: Mapping[str, Mapping[str, Any]]) -> None:
    """Each line's label to the right of where it ends, moved apart where they would meet."""
    bottom, top = axes.get_ylim()
    heights = {label: (end - bottom) / (top - bottom) for label, end in ends.items()}
    for label, height in spread(heights, LABEL_GAP).items():
        text = label.replace(" (", "\n(").replace(", ", ",\n")
        place = (x, bottom + height * (top - bottom))
        axes.text(*place, text, color=look[label]["color"], va="center", fontsize=9.5, parse_math=False)


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
