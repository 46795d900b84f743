"""Raw values of users' columns and their codes."""

import numpy as np
import pandas as pd
import pytest

from models.features import UserFeatures
from models.ids import IdMap


def features() -> UserFeatures:
    """Three users: the second one's age is unknown, and nobody's town is known."""
    values = {"age": IdMap(np.array(["24", "7"])), "sex": IdMap(np.array(["F", "é"])), "town": IdMap(np.array([]))}
    codes = {"age": [2, 0, 1], "sex": [1, 2, 1], "town": [0, 0, 0]}
    return UserFeatures(values, {name: np.array(one, dtype=np.int32) for name, one in codes.items()})


def test_models_are_told_each_columns_codes_and_how_many_there_are() -> None:
    made = features()
    assert made.names == ("age", "sex", "town")
    assert {name: feature.size for name, feature in made.table.items()} == {"age": 3, "sex": 3, "town": 1}
    assert made.table["age"].codes_N.tolist() == [2, 0, 1]


def test_users_are_coded_by_index_and_unknown_ones_by_nothing() -> None:
    codes = features().codes_of(np.array([2, -1, 0, 2]))
    assert {name: one.tolist() for name, one in codes.items()} == {
        "age": [1, 0, 2, 1],
        "sex": [1, 0, 1, 1],
        "town": [0, 0, 0, 0],
    }
    nobody = UserFeatures({"age": IdMap(np.array(["7"]))}, {"age": np.empty(0, dtype=np.int32)})
    assert nobody.codes_of(np.array([-1]))["age"].tolist() == [0]
    assert UserFeatures.none().codes_of(np.array([0, -1])) == {}


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (["7", None, "24", "25", ""], [2, 0, 1, 0, 0]),
        ([7, 24], [2, 1]),
        (np.array([7.0, np.nan, 24.0, 24.5]), [2, 0, 1, 0]),
        (np.array(["24", 7.0, None, float("nan"), 7], dtype=object), [1, 2, 0, 0, 2]),
        ([], []),
    ],
)
def test_raw_values_are_coded_as_files_spell_them(raw: list[object], codes: list[int]) -> None:
    assert features().encode({"age": raw, "shoe size": raw})["age"].tolist() == codes


def test_what_is_no_column_here_is_skipped_and_a_column_that_nobody_has_is_unknown() -> None:
    coded = features().encode({"shoe size": ["9"], "town": ["Rome"]})
    assert {name: one.tolist() for name, one in coded.items()} == {"town": [0]}


def test_the_word_nan_is_a_value_like_others() -> None:
    made = UserFeatures({"name": IdMap(np.array(["None", "nan"]))}, {"name": np.array([1, 2], dtype=np.int32)})
    assert made.encode({"name": ["nan", float("nan"), None, "None"]})["name"].tolist() == [2, 0, 0, 1]
    empty = UserFeatures({"name": IdMap(np.array(["", "x"]))}, {"name": np.array([1, 2], dtype=np.int32)})
    assert empty.encode({"name": ["", None, "x"]})["name"].tolist() == [1, 0, 2]


def test_they_come_back_from_tensors_among_others() -> None:
    made = features()
    again = UserFeatures.from_tensors({**made.tensors(), **made.values["age"].tensors("users")})
    assert again.names == made.names
    for name in made.names:
        assert again.values[name].ids_N.tolist() == made.values[name].ids_N.tolist()
        assert again.codes[name].tolist() == made.codes[name].tolist()
    assert UserFeatures.from_tensors({}).names == ()


def test_a_name_may_hold_anything() -> None:
    odd = UserFeatures({"a.codes": IdMap(np.array(["x"]))}, {"a.codes": np.array([1], dtype=np.int32)})
    assert UserFeatures.from_tensors(odd.tensors()).codes["a.codes"].tolist() == [1]


def test_a_cell_of_a_nullable_column_that_is_empty_is_unknown() -> None:
    features = UserFeatures({"age": IdMap(np.array(["20", "31"]))}, {"age": np.array([1, 2], dtype=np.int32)})
    for column in (
        pd.Series([31, None], dtype="Int64"),
        pd.Series(["31", None], dtype="string"),
        pd.Series([31, None]),
    ):
        assert features.encode({"age": column.tolist()})["age"].tolist() == [2, 0]
