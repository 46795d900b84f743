"""Small charts of the validation page: tonight's shares of rows beside those of the last good night, as inline SVG."""

from html import escape

from tasks.validate.result import Distribution

WIDTH, HEIGHT, FOOT = 320, 120, 18
GAP = 0.25  # of a bucket's width, between buckets
MOST_LABELS = 8

TITLES = {
    "popularity": "New rows by how popular the item was",
    "rating": "Rows by rating",
    "hour": "Rows by hour of the day, UTC",
}
STYLE = """
:root { --today: #2f6fb3; } @media screen and (prefers-color-scheme: dark) { :root { --today: #6cb0f2; } }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 12px; }
.charts figure { margin: 0; padding: 12px 16px; min-width: 0; }
.charts figcaption { font-size: 13px; font-weight: 600; margin-bottom: 8px; }
.charts svg { display: block; width: 100%; height: auto; overflow: visible; }
.charts text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.charts .before { fill: var(--line); stroke: var(--soft); stroke-width: .6; } .charts .today { fill: var(--today); }
.legend { font-size: 13px; margin: 8px 0; }
.legend i { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 0; }
.legend .before { background: var(--line); border: 1px solid var(--soft); margin-left: 14px; }
.legend .today { background: var(--today); }
"""
LEGEND = '<div class="legend"><i class="today"></i>tonight <i class="before"></i>last good night</div>'


def charts(distributions: tuple[Distribution, ...]) -> str:
    """HTML; empty where there is nothing to compare with."""
    shown = [one for one in distributions if sum(one.today) and sum(one.before)]
    return LEGEND + f'<div class="charts">{"".join(map(_chart, shown))}</div>' if shown else ""


def _chart(distribution: Distribution) -> str:
    title = TITLES.get(distribution.column, distribution.column)
    today, before = _shares(distribution.today), _shares(distribution.before)
    n, highest = len(today), max(*today, *before)
    every = -(-n // MOST_LABELS)
    parts = []
    for place, label in enumerate(distribution.labels):
        said = f"{label}: {today[place]:.1%} tonight, {before[place]:.1%} before"
        bars = _bar(place, n, 0, before[place] / highest, "before") + _bar(place, n, 1, today[place] / highest, "today")
        parts.append(f"<g><title>{escape(said)}</title>{bars}</g>")
        if place % every == 0:
            middle = (place + 0.5) * WIDTH / n
            parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    return (
        f'<figure class="card"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _bar(place: int, n: int, side: int, height: float, kind: str) -> str:
    """One of a bucket's two bars; `height` is its share of the tallest one."""
    bucket = WIDTH / n
    width, full = bucket * (1 - GAP) / 2, HEIGHT - FOOT
    left = place * bucket + bucket * GAP / 2 + side * width
    top = full * (1 - height)
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{full - top:.1f}"/>'


def _shares(counts: tuple[int, ...]) -> list[float]:
    return [count / sum(counts) for count in counts]
