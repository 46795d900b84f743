"""What another model changes of the lists that people see: how much of them stays, and some users' lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.cards.examples import Item
from tasks.cards.sides import Side
from tasks.store.engine import Engine, engine, literal, parquet
from tasks.store.refs import DatasetRef
from tasks.store.store import Store

PLACES = 10
N_USERS = 4


@dataclass(frozen=True)
class UserLists:
    """One user's two lists, best first."""

    user_id: str
    one: tuple[Item, ...]
    other: tuple[Item, ...]


@dataclass(frozen=True)
class ChangedLists:
    """The first ten places of all who have a list from both."""

    n_users: int
    only_one: int  # users who have a list from the one only
    only_other: int
    overlap: float  # mean share of the one's ten that the other shows too; NaN without users
    same: int  # users with the same ten items, in whatever order
    none: int  # users with no item in both
    examples: tuple[UserLists, ...]
    """From the user whose list changed most to the one whose list changed least."""


def changed_lists(store: Store, one: Side, other: Side) -> ChangedLists | None:
    """None where the lists of either are gone."""
    paths = [store.path(side.result["recommendations"]) for side in (one, other)]
    if not all(path.is_file() for path in paths):
        return None
    with engine(store) as opened:
        for name, path in zip(("one", "other"), paths, strict=True):
            opened.run(
                f"CREATE VIEW {name} AS SELECT user_id::VARCHAR AS user_id, item_id::VARCHAR AS item_id, rank "
                f"FROM {parquet([path])} WHERE rank <= {PLACES}"
            )
        opened.run(
            "CREATE TABLE shares AS SELECT user_id, count(*) AS shown, count(other.item_id) AS kept "
            "FROM one LEFT JOIN other USING (user_id, item_id) "
            "WHERE user_id IN (SELECT user_id FROM other) GROUP BY user_id"
        )
        n_users, overlap, same, none = opened.one(
            "SELECT count(*), coalesce(avg(kept / shown), 'nan'::DOUBLE), "
            "coalesce(sum((kept = shown)::INT), 0), coalesce(sum((kept = 0)::INT), 0) FROM shares"
        )
        only_one, only_other = (_alone(opened, *pair) for pair in (("one", "other"), ("other", "one")))
        examples = _examples(opened, n_users, titles_of(store, [one.snapshot, other.snapshot]))
    return ChangedLists(n_users, only_one, only_other, overlap, same, none, examples)


def _alone(opened: Engine, view: str, without: str) -> int:
    """Users who have a list in the one and none in the other."""
    count = f"SELECT count(DISTINCT user_id) FROM {view} WHERE user_id NOT IN (SELECT user_id FROM {without})"
    return int(opened.one(count)[0])


def titles_of(store: Store, snapshots: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """By raw id, the titles that the items tables of these snapshots have; without those that are gone."""
    found: dict[str, str] = {}
    for ref in (DatasetRef(**one) for snapshot in snapshots for one in snapshot.get("items", ())):
        if store.path(ref.path).is_file():
            table = store.read(ref)
            if "title" in table.column_names:
                ids = pc.cast(table["item_id"], pa.string()).to_pylist()
                found |= {key: title for key, title in zip(ids, table["title"].to_pylist(), strict=True) if title}
    return found


def _examples(opened: Engine, n_users: int, titles: Mapping[str, str]) -> tuple[UserLists, ...]:
    """Evenly spread over the share of the list that stays; of equals the first by id."""
    if not n_users:
        return ()
    places = sorted({round(place * (n_users - 1) / (N_USERS - 1)) for place in range(N_USERS)})
    numbered = "SELECT user_id, row_number() OVER (ORDER BY kept / shown, user_id) - 1 AS place FROM shares"
    chosen = opened.table(
        f"SELECT user_id FROM ({numbered}) WHERE place IN ({', '.join(map(literal, places))}) ORDER BY place"
    )["user_id"].to_pylist()
    return tuple(UserLists(user, *(_list(opened, view, user, titles) for view in ("one", "other"))) for user in chosen)


def _list(opened: Engine, view: str, user: str, titles: Mapping[str, str]) -> tuple[Item, ...]:
    rows = opened.table(f"SELECT item_id FROM {view} WHERE user_id = {literal(user)} ORDER BY rank")
    return tuple(Item(one, titles.get(one, one)) for one in rows["item_id"].to_pylist())
