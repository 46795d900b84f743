"""The model artefact's entry: whose code it runs, and what it takes for a history."""

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import models
from tasks.tracking.pyfunc_entry import RecommenderModel, as_ragged, code_package, feature_columns, private_name, told
from tests.factories import make_bundle

OURS = Path(next(iter(models.__path__)))


def test_the_installed_code_is_used_where_it_is_the_same() -> None:
    assert code_package(private_name(OURS)) == "models"


def test_other_code_travels_with_the_model(tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(OURS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert private_name(copy) == private_name(OURS)
    (copy / "ids.py").write_text((copy / "ids.py").read_text() + "# one comment more\n")
    changed = private_name(copy)
    assert changed != private_name(OURS)
    assert code_package(changed) == changed


def test_a_strangers_models_is_never_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    name = private_name(OURS)
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    assert code_package(name) == name


def test_a_feature_never_stands_in_for_another_column() -> None:
    assert feature_columns(("age", "history", "town", "user_id")) == ["age", "town"]


def served(frame: dict[str, object], kind: str = "int") -> pd.DataFrame:
    """All that is left for each row's user, without the clothes of an artefact."""
    model = RecommenderModel()
    model.bundle, model.version = make_bundle("item_knn", kind), "1"
    return model.predict(None, pd.DataFrame(frame), {"k": 20})  # type: ignore[arg-type]


def lists(table: pd.DataFrame) -> dict[str, list[object]]:
    return {str(user): rows["item_id"].tolist() for user, rows in table.groupby("user_id", sort=False)}


EMPTY = [None, float("nan"), np.nan, pd.NA, pd.NaT]


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_cell_is_no_history_and_an_empty_list_is_one(empty: object) -> None:
    users = [10, 11, 999, 12, 10, 13, 999]
    histories = [[101], empty, empty, [], empty, [100, 102], [103]]
    made = served({"user_id": users, "history": histories})
    known = make_bundle("item_knn").served.lengths_U
    assert made.groupby("user_id", sort=False).size().to_dict() == {
        "10": 19 + 20 - known[0], "11": 20 - known[1], "999": 20 + 19, "12": 20, "13": 18
    }  # fmt: skip
    # each row as it is served alone, with a history and without
    rows = [
        served({"user_id": [user], **({} if history is empty else {"history": [history]})})
        for user, history in zip(users, histories, strict=True)
    ]
    expected = pd.concat(rows, ignore_index=True)
    pd.testing.assert_frame_equal(made.drop(columns="score"), expected.drop(columns="score"))
    assert made["score"].to_numpy() == pytest.approx(expected["score"].to_numpy(), abs=1e-6)
    reasons = made.groupby("user_id", sort=False)["reason"].unique().map(list).to_dict()
    assert reasons["999"] == ["fallback", "fold-in"]
    assert {reasons[user][0] for user in ("10", "11", "12", "13")} == {"model"}


def test_a_column_of_empty_cells_is_none_and_a_frame_may_be_empty() -> None:
    alone = served({"user_id": [10, 11]})
    assert alone.equals(served({"user_id": [10, 11], "history": [None, None]}))
    assert alone.equals(served({"user_id": [10, 11], "history": [np.nan, np.nan]}))
    assert list(served({"user_id": [], "history": []}).columns) == list(alone.columns)


def test_an_index_of_the_frames_own_changes_nothing() -> None:
    frame = pd.DataFrame({"user_id": [10, 11], "history": [None, [100]]})
    model = RecommenderModel()
    model.bundle, model.version = make_bundle("item_knn"), "1"
    made = [model.predict(None, frame.set_index(pd.Index(index)), {"k": 20}) for index in ([0, 1], [7, 7])]  # type: ignore[arg-type]
    assert made[0].equals(made[1])
    assert 100 not in lists(made[0])["11"]


@pytest.mark.parametrize("items", [(100, 103), [100.0, 103.0], ["100", "103"], np.array([100.0, 103.0, np.nan])])
@pytest.mark.parametrize("more", [[], [None, "x", 100.5]])
def test_items_of_a_history_may_be_whole_floats(items: object, more: list[object]) -> None:
    made = served({"user_id": [10], "history": [[*items, *more]]})  # type: ignore[misc]
    assert len(made) == 18
    assert not {100, 103} & set(made["item_id"])
    assert made.equals(served({"user_id": [10], "history": [[100, 103]]}))
    arrays = served({"user_id": [10], "history": [np.array([100, 103], dtype=np.float32)]})
    assert made.equals(arrays)


def test_items_as_text_are_as_files_have_them_and_empty_ones_are_left_out() -> None:
    offsets, texts = as_ragged([[1.0, None, np.float32(2), np.nan, pd.NA, "1.0", 2.5], [], (7,)])
    assert (offsets.tolist(), texts.tolist()) == ([0, 4, 4, 5], ["1", "2", "1.0", "2.5", "7"])


def test_text_ids_stay_text() -> None:
    assert len(served({"user_id": ["u10"], "history": [["u100", "u101", "nan"]]}, "u")) == 18


@pytest.mark.parametrize(
    "cell", ["100", "[100, 103]", 100, 1.5, True, {100, 103}, {"0": 100}, b"100", [[100, 103]], np.array(100)]
)
def test_a_history_that_is_no_list_is_refused_by_name(cell: object) -> None:
    with pytest.raises(ValueError, match=r"column `history`: .* is no history; a list of item ids is, oldest first"):
        told([None, cell])
    with pytest.raises(ValueError, match="column `history`"):
        served({"user_id": [10, 11], "history": [[100], cell]})


def test_which_cells_hold_a_history() -> None:
    lists_of_all_kinds = [[], [1], (1,), np.array([]), np.array([1]), pd.Series([1], index=[5])]
    assert told([*lists_of_all_kinds, *EMPTY]) == [True] * 6 + [False] * 5
