"""The user's small files: what is read, what is refused, and in which words."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, DataRefused, EncoreError
from tasks.pairs_file import content_hash, read_candidates, read_pairs


@pytest.mark.parametrize(
    "content",
    [
        "user_id,item_id\n007,a\n8,b\n",
        "\ufeffuser_id,item_id\r\n007,a\r\n8,b\r\n",
        "item_id\tuser_id\tmore\na\t007\tx\nb\t8\ty\n",
        '"user_id";"item_id"\n"007";"a"\n8;b\n',
    ],
)
def test_csv_ids_stay_text(content: str, tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text(content, encoding="utf-8")
    assert read_pairs(str(tmp_path / "pairs"), "split.test").to_pydict() == {
        "user_id": ["007", "8"],
        "item_id": ["a", "b"],
    }


def test_parquet_is_told_by_its_content_and_folders_add_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "user_id=5"
    folder.mkdir()
    frame = pd.DataFrame({"user_id": [7, 8], "item_id": pd.Categorical(["a", "b"])})
    frame.to_parquet(folder / "test.csv")
    assert read_pairs(str(folder / "test.csv"), "split.test").to_pydict() == {
        "user_id": ["7", "8"],
        "item_id": ["a", "b"],
    }


def parquet_cut_short(file: Path) -> None:
    pq.write_table(pa.table({"user_id": ["1"] * 50, "item_id": ["2"] * 50}), file)
    file.write_bytes(file.read_bytes()[:-20])


def parquet_with_a_damaged_footer(file: Path) -> None:
    pq.write_table(pa.table({"user_id": ["1"] * 50, "item_id": ["2"] * 50}), file)
    content = bytearray(file.read_bytes())
    content[-60:-8] = b"\xff" * 52
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda file: None, ConfigError, "no such file"),
        (lambda file: file.mkdir(), ConfigError, "no such file"),
        (lambda file: file.write_text("user,item_id\n1,2\n"), ConfigError, "no column user_id; it has user, item_id"),
        (lambda file: file.write_text(""), DataRefused, "empty"),
        (lambda file: file.write_text("user_id,item_id\n"), DataRefused, "empty"),
        (lambda file: file.write_text("user_id,item_id\n1,2\n3\n"), DataRefused, "cannot be read"),
        (lambda file: file.write_text("user_id,item_id\n1,2\n3,\n"), DataRefused, "without item_id"),
        (lambda file: file.write_bytes(b"user_id,item_id\n1,\xff\xfe\n"), DataRefused, "cannot be read"),
        (parquet_cut_short, DataRefused, "cannot be read"),
        (parquet_with_a_damaged_footer, DataRefused, "cannot be read"),
        (
            lambda file: pq.write_table(pa.table({"user_id": ["1", None], "item_id": ["1", "2"]}), file),
            DataRefused,
            "without user_id",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    make: object, kind: type[EncoreError], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "pairs")  # type: ignore[operator]
    with pytest.raises(kind, match=message) as caught:
        read_pairs(str(tmp_path / "pairs"), "split.test")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("flags", [["true", "false"], ["1", "0"], ["True", "False"]])
def test_relevant_is_true_or_1(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("user_id,item_id,relevant\n" + "".join(f"1,{flag},{flag}\n" for flag in flags))
    assert read_candidates(str(tmp_path / "c.csv"))["relevant"].to_pylist() == [True, False]


@pytest.mark.parametrize(("flag", "message"), [("yes", "true and false"), ("0", "no row is relevant")])
def test_candidates_without_a_clear_answer_are_refused(flag: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(f"user_id,item_id,relevant\n1,2,{flag}\n")
    with pytest.raises(DataRefused, match=message):
        read_candidates(str(tmp_path / "c.csv"))


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    one, same, other = (content_hash(str(tmp_path / name), "split.test") for name in "abc")
    assert one == same != other
    assert content_hash(None, "split.test") is None
    with pytest.raises(ConfigError, match=r"split\.valid: no such file"):
        content_hash(str(tmp_path / "d"), "split.valid")
