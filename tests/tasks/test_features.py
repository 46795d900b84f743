"""Columns of the users table on their way to codes, those of users without a row before the test too."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from tasks.features import codes_of, stranger_codes, user_features
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.store import Store
from tests.factories import make_snapshot, tiny_log
from tests.tasks.splitting import split_of

# User 9 comes with the test, user 10 is in the users table alone; so is 2, but after a row that counts.
ROWS = [(1, "a", 1), (2, "b", 2), (7, "a", 3), (9, "a", 9)]
USERS = pa.table(
    {
        "user_id": ["10", "7", "2", "9", "2", "10"],
        "town": ["Rome", None, "Bonn", "Bonn", "Oslo", "Paris"],
        "age": [None, "30", "4", "4", "5", "6"],
    }
)


@dataclass(frozen=True)
class Split:
    users: pa.Table
    strangers: pa.Table | None = None


def made(**features: pa.Table) -> Split:
    tables = split_of(*ROWS, features=features or {"users": USERS}, test_share=0.25, valid_share=0.25).tables
    return Split(tables["users"], tables.get("strangers"))


def test_what_is_known_of_strangers_is_kept_by_raw_id() -> None:
    strangers = made().strangers
    assert strangers is not None
    assert strangers.to_pylist() == [
        {"user_id": "10", "town": "Rome", "age": None},
        {"user_id": "9", "town": "Bonn", "age": "4"},
    ]


def test_a_log_without_a_users_table_has_no_strangers() -> None:
    alone = made(items=pa.table({"item_id": ["a"]}))
    assert alone.strangers is None
    assert user_features(alone.users).names == ()


def test_only_values_of_known_users_have_a_code() -> None:
    features = user_features(made().users)
    assert features.names == ("age", "town")
    assert features.values["town"].ids_N.tolist() == ["Bonn"]  # Rome and Oslo are nobody's who is known
    assert features.codes["town"].tolist() == [0, 1, 0]  # users 1, 2, 7
    assert features.values["age"].ids_N.tolist() == ["30", "4"]  # as text
    assert features.codes["age"].tolist() == [0, 2, 1]
    assert features.codes["age"].dtype == np.int32


@pytest.mark.parametrize("kind", [list, np.array])
def test_strangers_are_coded_by_their_raw_ids(kind: type) -> None:
    table = made()
    features = user_features(table.users)
    codes = codes_of(features, np.array([-1, 1, -1, -1]), kind(["9", "2", "8", "10"]), table.strangers)
    assert {name: one.tolist() for name, one in codes.items()} == {"age": [2, 2, 0, 0], "town": [1, 1, 0, 0]}
    without = codes_of(features, np.array([-1, 1]), kind(["9", "2"]))
    assert without["town"].tolist() == [0, 1]


def test_a_known_user_is_coded_by_index_whatever_the_id() -> None:
    table = made()
    codes = codes_of(user_features(table.users), np.array([2]), ["9"], table.strangers)
    assert codes["town"].tolist() == [0]


def test_all_strangers_at_once() -> None:
    table = made()
    assert table.strangers is not None
    codes = stranger_codes(user_features(table.users), table.strangers)
    assert {name: one.tolist() for name, one in codes.items()} == {"age": [0, 2], "town": [0, 1]}


def test_the_split_leaves_them_beside_its_parts(store: Store) -> None:
    config = SplitConfig(test_share=0.25, valid_share=0.25)
    refs = split.fn(store, make_snapshot(store, tiny_log(*ROWS), users=USERS), config)
    assert refs.strangers is not None
    assert store.read(refs.strangers).equals(made().strangers)
    assert split.fn(store, make_snapshot(store, tiny_log(*ROWS)), config).strangers is None
