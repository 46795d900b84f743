"""A few users: what they had, what was held out, what they would be shown, and what the champion shows them."""

from collections.abc import Sequence
from html import escape

from tasks.cards.examples import Example, Item
from tasks.cards.page import card

SHOWN_BY = {
    "model": "by {name}",
    "fold-in": "by {name}, from the history alone: it does not know this user",
    "features": "by {name}, from the user's features alone: it does not know this user",
    "segment": "by popularity among similar users: the model does not know this user",
    "fallback": "by popularity: the model does not know this user",
}
MAX_HELD_OUT = 8


def users(examples: Sequence[Example], name: str, champion: str | None = None) -> list[str]:
    """Nothing where there are no test users. `champion` is the version that `before` of the examples is from."""
    if not examples:
        return []
    n_hit = sum(any(item.hit for item in example.shown) for example in examples)
    note = (
        "Test users chosen by the length of their history alone, from the shortest to the longest; "
        f"{n_hit} of these {len(examples)} would be shown something that was held out (✓)."
    )
    if champion is not None:
        note += " What one list has and the other has not is marked +."
    return [
        "<h2>Some users</h2>",
        f'<p class="soft">{note}</p>',
        *(card(_example(example, name, champion)) for example in examples),
    ]


def _example(example: Example, name: str, champion: str | None) -> str:
    by = SHOWN_BY[example.reason].replace("{name}", name)
    more = len(example.held_out) - MAX_HELD_OUT
    held_out = item_list("ul", example.held_out[:MAX_HELD_OUT]) + (
        f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    )
    columns = [
        ("had, newest first", item_list("ul", example.recent)),
        ("held out", held_out),
        (f"would be shown ({by})", item_list("ol", example.shown, example.before)),
    ]
    if champion is not None and example.before is not None:
        shares = {item.id for item in example.shown} & {item.id for item in example.before}
        title = f"the champion, version {champion}, would show: {len(shares)} of {len(example.before)} are the same"
        columns.append((title, item_list("ol", example.before, example.shown)))
    blocks = "".join(f"<div><h3>{escape(title)}</h3>{html}</div>" for title, html in columns)
    return (
        f"<h3>user {escape(example.user_id)} "
        f'<span class="soft">{example.history_length:,} items before the test</span></h3>'
        f'<div class="example">{blocks}</div>'
    )


def item_list(kind: str, items: Sequence[Item], other: Sequence[Item] | None = None) -> str:
    """As an ordered (`ol`) or a plain (`ul`) list; what `other` has not is marked."""
    if not items:
        return '<p class="soft">nothing</p>'
    theirs = None if other is None else {item.id for item in other}
    return f"<{kind}>{''.join(_entry(item, theirs is not None and item.id not in theirs) for item in items)}</{kind}>"


def _entry(item: Item, is_new: bool) -> str:
    genres = f' <span class="soft">{escape(item.genres.replace("|", ", "))}</span>' if item.genres else ""
    kind = " class=hit" if item.hit else ""
    mark = ' <span class="new" title="not in the other list">+</span>' if is_new else ""
    return f"<li{kind}>{escape(item.title)}{' ✓' if item.hit else ''}{mark}{genres}</li>"
