"""A few users as examples: what they had, what was held out, what they would be shown, and what they are shown now.

E users who are examples, K places
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import IntArray, Ragged
from models.bundle import Bundle
from models.ids import IdMap
from models.serving import REASONS
from tasks.features import codes_of, raw_features

N_USERS = 5
N_RECENT = 8
PLACES = 10


@dataclass(frozen=True)
class Item:
    """An item as a reader knows it."""

    id: str
    title: str
    """The id where the items table has no title."""
    genres: str = ""
    hit: bool = False
    """It is shown and was held out."""


@dataclass(frozen=True)
class Example:
    """One test user."""

    user_id: str
    history_length: int
    recent: tuple[Item, ...]
    """The latest items before the test, newest first."""
    held_out: tuple[Item, ...]
    """What the test asks for, in the order of time; `hit` where it is shown."""
    shown: tuple[Item, ...]
    """The list, best first."""
    reason: str
    """How the list was made: one of REASONS."""
    before: tuple[Item, ...] | None = None
    """The champion's list for the same history; None where there is no champion."""


def make_examples(
    bundle: Bundle,
    items: pa.Table,
    test: pa.Table,
    known: Ragged,
    keeps_repeats: bool = False,
    strangers: pa.Table | None = None,
    champion: Any = None,
) -> tuple[Example, ...]:
    """Examples spread evenly over the length of history, from the shortest to the longest.

    `items` is the split's items table, `test` its test rows (TEST_ROWS), `known` every user's items before the test,
    `strangers` the split's table of users with no row before it, `champion` the bundle that production serves.
    Lists are made as they are judged: what is known is left out, unless repeats are kept; test rows are not.
    """
    if not test.num_rows:
        return ()
    encoded = test["user_id"].combine_chunks().dictionary_encode()
    user_R = encoded.indices.to_numpy()
    users_U = test["user_idx"].to_numpy()[np.unique(user_R, return_index=True)[1]].astype(np.int64)
    lengths_U = np.where(users_U >= 0, known.lengths_U[users_U], 0)
    chosen_E = spread_over(lengths_U)
    histories = known.take(users_U[chosen_E])
    codes = codes_of(bundle.features, users_U[chosen_E], encoded.dictionary.take(pa.array(chosen_E)), strangers)
    lists = bundle.lists(users_U[chosen_E], histories, None if keeps_repeats else histories, PLACES, codes)
    user_ids = [str(encoded.dictionary[int(user)].as_py()) for user in chosen_E]
    now = None if champion is None else _champions_lists(champion, bundle, user_ids, histories, keeps_repeats, codes)
    examples = []
    for place, user in enumerate(chosen_E):
        held_out = _held_out(test.filter(pa.array(user_R == user)))
        shown = [int(item) for item in lists.items_UK[place] if item >= 0]
        wanted = {index for index, _ in held_out if index >= 0}
        examples.append(
            Example(
                user_id=user_ids[place],
                history_length=int(lengths_U[user]),
                recent=tuple(_item(items, int(i), "") for i in reversed(histories.row(place)[-N_RECENT:])),
                held_out=tuple(_item(items, index, raw, index in shown) for index, raw in held_out),
                shown=tuple(_item(items, index, "", index in wanted) for index in shown),
                reason=REASONS[lists.reason_U[place]],
                before=None if now is None else _named(items, bundle.items, now[place], {raw for _, raw in held_out}),
            )
        )
    return tuple(examples)


def spread_over(lengths_U: npt.NDArray[np.int64], n: int = N_USERS) -> npt.NDArray[np.int64]:
    """Places of n users, evenly spread from the shortest to the longest history; of equals the first."""
    order_U = np.argsort(lengths_U, kind="stable")
    return order_U[np.unique(np.linspace(0, len(order_U) - 1, min(n, len(order_U))).round().astype(np.int64))]


def _champions_lists(
    champion: Any,
    bundle: Bundle,
    user_ids: list[str],
    histories: Ragged,
    keeps_repeats: bool,
    codes: Mapping[str, IntArray],
) -> list[list[str]]:
    """[E] the raw ids that the champion would show, best first. It answers by the code that it was shipped with; only
    one that has `features` takes the argument of that name."""
    raw = (histories.offsets_U1, bundle.items.ids_N[histories.items_R])
    has_features = getattr(champion, "features", None) is not None
    more = {"features": raw_features(bundle.features, codes)} if has_features else {}
    ids_EK, score_EK, _ = champion.recommend(np.array(user_ids), PLACES, raw, not keeps_repeats, **more)
    return [[str(one) for one in ids_K[np.isfinite(score_K)]] for ids_K, score_K in zip(ids_EK, score_EK, strict=True)]


def _named(items: pa.Table, ids: IdMap, raw: list[str], wanted: set[str]) -> tuple[Item, ...]:
    """Items by their raw ids; one that tonight's catalogue does not know is called by that."""
    index_N = ids.index(np.array(raw, dtype=np.str_))
    return tuple(_item(items, int(index), one, one in wanted) for index, one in zip(index_N, raw, strict=True))


def _held_out(rows: pa.Table) -> list[tuple[int, str]]:
    """Index and raw id of each held-out item, once each."""
    return list(dict.fromkeys(zip(rows["item_idx"].to_pylist(), rows["item_id"].to_pylist(), strict=True)))


def _item(items: pa.Table, index: int, raw: str, hit: bool = False) -> Item:
    """The item of this index; where nothing before the test knew it (-1), only its raw id is known."""
    if index < 0:
        return Item(raw, raw)
    name = str(items["item_id"][index].as_py())
    return Item(name, _cell(items, "title", index) or name, _cell(items, "genres", index), hit)


def _cell(items: pa.Table, column: str, index: int) -> str:
    """A feature as text; empty where the table does not have it."""
    value = items[column][index].as_py() if column in items.column_names else None
    return "" if value is None else str(value).strip()
