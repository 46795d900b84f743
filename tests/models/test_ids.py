"""Raw ids and their indices."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.ids import IdMap

INTEGERS = IdMap(np.array([-3, 7, 12, 2**53, 2**53 + 1]))
TEXT = IdMap(np.array(["007", "12", "7", "é"]))


@pytest.mark.parametrize(
    ("ids", "wanted", "index"),
    [
        (INTEGERS, [12, -3, 8], [2, 0, -1]),
        (INTEGERS, ["12", "-3", "012", "x"], [2, 0, -1, -1]),
        (INTEGERS, np.array([7, 12], dtype=object), [1, 2]),
        (INTEGERS, np.array([7, 12], dtype=np.int32), [1, 2]),
        (INTEGERS, np.array([2**53 + 1], dtype=np.uint64), [4]),
        (INTEGERS, [7.0, 12.0], [1, 2]),
        (INTEGERS, [7.0, float("nan"), 12.5, float("inf")], [1, -1, -1, -1]),
        (INTEGERS, [], []),
        (TEXT, ["007", "7", "é", "e"], [0, 2, 3, -1]),
        (TEXT, [7, 12, 3], [2, 1, -1]),
        (TEXT, [7.0, float("nan")], [2, -1]),
        (IdMap(np.array(["1.5"])), [1.5, 2.0], [0, -1]),
        (IdMap(np.array([], dtype=np.int64)), [1, 2], [-1, -1]),
    ],
)
def test_index_by_hand(ids: IdMap, wanted: object, index: list[int]) -> None:
    assert ids.index(wanted).tolist() == index  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], [2, 1], [1, 1]])
def test_ids_must_ascend_and_be_distinct(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        IdMap(np.array(ids))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=20))
def test_every_text_id_is_found_at_its_place(texts: set[str]) -> None:
    ids = IdMap(np.array(sorted(texts), dtype=np.str_))
    assert ids.index(sorted(texts)).tolist() == list(range(len(texts)))


@pytest.mark.parametrize(
    "ids", [INTEGERS, TEXT, IdMap(np.array([], dtype=np.str_)), IdMap(np.array([], dtype=np.int64))]
)
def test_ids_survive_a_file(ids: IdMap, tmp_path: Path) -> None:
    save_file(ids.tensors("users"), tmp_path / "ids.safetensors")
    again = IdMap.from_tensors("users", load_file(tmp_path / "ids.safetensors"))
    assert again.ids_N.tolist() == ids.ids_N.tolist()
    assert again.are_integers == ids.are_integers
