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


@pytest.mark.parametrize(
    ("ids", "gone"),
    [
        ([4, 5, 6, 7], [5]),  # there is no number between 4 and 6
        ([4, 5, 6, 7], [4]),
        ([4, 5, 6, 7], [7]),
        ([4, 5, 6, 7], [6, 5]),  # neighbours, in either order
        ([4, 5, 6, 7], [5, 6]),
        ([4, 5, 6, 7], [5, 4]),
        ([-(2**63), 5], [-(2**63)]),
        (["a", "b", "c"], ["b", "a"]),
        (["a"], ["a"]),
    ],
)
def test_an_erased_id_is_nowhere_and_all_others_keep_their_places(
    ids: list[object], gone: list[object], tmp_path: Path
) -> None:
    left = IdMap(np.array(ids))
    for one in gone:
        left = left.without(ids.index(one))
    save_file(left.tensors("users"), tmp_path / "ids.safetensors")
    for found in (left, IdMap.from_tensors("users", load_file(tmp_path / "ids.safetensors"))):
        assert len(found) == len(ids)
        assert found.index(ids).tolist() == [-1 if one in gone else place for place, one in enumerate(ids)]
        assert found.index([str(one) for one in ids]).tolist() == found.index(ids).tolist()
        assert found.living_L.tolist() == [one for one in ids if one not in gone]
        stands_in = found.ids_N[sorted(ids.index(one) for one in gone)]
        assert not set(stands_in.tolist()) & set(gone) or gone == [-(2**63)]
        assert (found.index(["", "x"]) == -1).all()
        assert found.are_integers == left.are_integers


def test_a_float_column_does_not_find_what_was_erased() -> None:
    assert IdMap(np.array([4, 5, 6])).without(1).index([4.0, 5.0, 6.0, float("nan")]).tolist() == [0, -1, 2, -1]
