"""What speaks for and against a column being one of our fields. Names are hints; values decide."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasks.inspect.columns import Column
from tasks.inspect.kinds import number

LIKELY = 2
"""Points from which a proposal is called likely: one for values that fit, one for a name or words that fit too."""
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units of an epoch to the second."""
EPOCH = (631_152_000, 4_102_444_800)  # 1990 to 2100

_NAMES = {
    "user_id": "user usr cust visitor member client person who buyer shopper reader viewer listener subscriber player "
    "patient student account profile household guest reviewer kunde nutzer session device cookie",
    "item_id": "item prod movie film article artikel song track sku what content video book isbn asset offer listing "
    "hotel page url news post recipe course game app venue place restaurant business show episode object thing",
    "rating": "rat score star grade vote point pref like feedback",
    "timestamp": "time date when day dt ts at zeit datum clock moment seen unix",
    "event": "event action type kind behav op verb what",
}
_NO_RATING = "qty quantity amount price cost count age num page year day hour month week id code size total n"
_WEIGHTS = {
    0.2: "impression show",
    0.5: "search",
    1.0: "view pageview pv detail click open read play watch listen",
    2.0: "fav favorite favourite like bookmark wishlist save share comment",
    3.0: "cart addtocart basket add",
    4.0: "checkout",
    5.0: "buy bought purchase order transaction sale",
}
EVENT_WEIGHTS = {word: weight for weight, words in _WEIGHTS.items() for word in words.split()}
"""A first proposal for what each kind of event says of taste, by its name: a purchase says more than a view."""
UNWANTED = frozenset(
    ("dislike", "unlike", "remove", "removefromcart", "removefrombasket", "refund", "return", "cancel", "skip", "hide")
)
"""Events that are no sign of taste."""


@dataclass(frozen=True)
class Look:
    """How much speaks for it, and what."""

    points: int
    why: str


def words(name: str) -> list[str]:
    """`boughtAt`, `bought_at` and `Bought At` as words in lower case."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def hints(field: str, name: str) -> int:
    """How far a name sounds like a field: 0 not at all, 2 for an id of one."""
    heard = any(
        word == stem or (len(stem) > 2 and word.startswith(stem))
        for word in words(name)
        for stem in _NAMES[field].split()
    )
    return heard + (heard and bool({"id", "code", "key", "no", "nr"} & set(words(name))))


def may_be_id(column: Column, is_named: bool = False) -> bool:
    """Values that come again, and not a handful of them: a country or a flag is no id."""
    if column.kind not in ("text", "whole numbers") or column.distinct < 2 or column.type.startswith("float"):
        return column.kind == "whole numbers" and column.distinct >= 2 and is_named
    if is_named:
        return True
    few = column.rows >= 1_000 and column.distinct <= 20
    return not few and not column.is_unique


def _timestamp(column: Column) -> Look | None:
    named = bool(hints("timestamp", column.name))
    if column.kind == "instants":
        return Look(LIKELY + named, "its values are dates and times (ISO 8601)")
    if (per_second := SECONDS.get(column.unit)) is None:
        return None
    low, high = number(column.low), number(column.high)
    if low is None or high is None or low < EPOCH[0] * per_second or high > EPOCH[1] * per_second:
        return None
    return Look(1 + named, f"its numbers lie between 1990 and 2100 as {column.unit} since 1970")


def _event(column: Column) -> Look | None:
    if column.kind != "text" or not 2 <= column.distinct <= 20 or column.rows < 2 * column.distinct:
        return None
    known = [value for value in column.examples if event_word(value) in {*EVENT_WEIGHTS, *UNWANTED}]
    named = bool(hints("event", column.name))
    if known:
        return Look(LIKELY + named, f"its few values are kinds of events, such as {known[0]}")
    return Look(1, "a few texts, under a name that sounds like an event") if named else None


def _rating(column: Column) -> Look | None:
    if column.kind not in ("numbers", "whole numbers") or not 2 <= column.distinct <= 101:
        return None
    low, high = number(column.low), number(column.high)
    if low is None or high is None or low < -10 or high > 100 or set(words(column.name)) & set(_NO_RATING.split()):
        return None
    shown = f"its numbers run from {low:g} to {high:g} in {column.distinct} steps"
    if hints("rating", column.name):
        return Look(LIKELY, shown)
    is_scale = low >= 0 and high <= 10 and 3 <= column.distinct <= 21 and column.rows >= 20 * column.distinct
    return Look(1, shown) if is_scale else None


LOOKS: dict[str, Callable[[Column], Look | None]] = {"timestamp": _timestamp, "event": _event, "rating": _rating}


def doubt(field: str, column: Column) -> str:
    """What a person should look at where a name promises what the values do not hold."""
    if column.kind == "nothing":
        return "it is empty"
    if field in ("user_id", "item_id"):
        if column.kind == "nested":
            return "its values are lists or records, which are no ids"
        return "its values hardly ever come twice" if column.is_unique and column.rows >= 1_000 else ""
    if field == "timestamp" and column.kind == "other dates":
        return f"dates such as {column.examples[0]} cannot be read: write them as 2024-12-31T23:59:00"
    if field == "timestamp" and column.unit == "order":
        return "its numbers are too small for instants since 1970: they only give an order"
    if field == "timestamp" and column.kind != "instants" and not column.unit:
        return "its values are no instants"
    if field == "rating" and column.kind not in ("numbers", "whole numbers", "yes or no"):
        return "its values are no numbers"
    return ""


def event_word(value: str) -> str:
    return re.sub(r"[^a-z]", "", value.lower())


def weight_of(event: str) -> float | None:
    """What an event may weigh; None for one that is no sign of taste. Unknown ones weigh 1."""
    word = event_word(event)
    return None if word in UNWANTED else EVENT_WEIGHTS.get(word, EVENT_WEIGHTS.get(word.rstrip("s"), 1.0))
