"""The ledger: which contents make up the dataset, however files are delivered."""

import subprocess
import sys

import pytest

from tasks.errors import RunFailed
from tasks.store.store import Store
from tasks.validate.ledger import Content, Delivery, Entry, GoodNight, Ledger, arrange, plan, read_ledger, write_ledger
from tests.tasks.nights import AS_OF

KINDS = {"u": "users", "i": "items"}


def contents(files: str) -> list[Content]:
    """From "a1 b2": the file a with the content 1, then b with the content 2; u and i are users and items files."""
    return [Content(KINDS.get(file[0], "interactions"), file[0], file[1:]) for file in files.split()]


CASES = {  # what was taken in, tonight's files: what the dataset shall be; changed and repeated files
    "the first night": ("", "a1 b2", "a1 b2", "", ""),
    "a new file": ("a1", "a1 b2", "a1 b2", "", ""),
    "what is no longer delivered stays": ("a1 b2", "c3", "a1 b2 c3", "", ""),
    "a new file that sorts before": ("b2", "a1 b2", "b2 a1", "", ""),
    "a changed file keeps its place": ("a1 b2", "a3 b2", "a3 b2", "a", ""),
    "the content of a known file": ("a1", "a1 b1", "a1", "", "b"),
    "one content twice on the first night": ("", "a1 b1", "a1", "", "b"),
    "a renamed file": ("a1", "b1", "a1", "", "b"),
    "files rotate: yesterday's has a new name": ("a1", "a2 b1", "a2 b1", "a", ""),
    "a file becomes another one": ("a1 b2", "a2 b2", "a2", "a", "b"),
    "two files swap": ("a1 b2", "a2 b1", "a2 b1", "ab", ""),
    "users and items are always tonight's": ("a1 u2 i3", "a1 i4", "a1 i4", "", ""),
    "users and items come last": ("", "i1 u2 a3", "a3 u2 i1", "", ""),
    "the same bytes in three tables": ("", "a1 u1 i1", "a1 u1 i1", "", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_files_that_append(case: str) -> None:
    known, tonight, expected, changed, repeated = CASES[case]
    found = arrange(contents(known), contents(tonight), appends=True)
    assert list(found.contents) == contents(expected)
    assert (found.changed, found.repeated) == (tuple(changed), tuple(repeated))


@pytest.mark.parametrize(
    ("known", "tonight", "expected", "repeated"),
    [
        ("a1 b2", "b2 c3", "b2 c3", ""),
        ("a1", "a2", "a2", ""),
        ("a1 b2", "b2 a1", "b2 a1", ""),
        ("a1", "b1 c1", "b1", "c"),
    ],
)
def test_of_a_dump_tonights_files_are_all_there_is(known: str, tonight: str, expected: str, repeated: str) -> None:
    found = arrange(contents(known), contents(tonight), appends=False)
    assert list(found.contents) == contents(expected)
    assert (found.changed, found.repeated) == ((), tuple(repeated))


def ledger() -> Ledger:
    entries = tuple(Entry(content, f"lake/d/{content.sha256}", "rules") for content in contents("a1 b2"))
    return Ledger(entries, (GoodNight(AS_OF, "lake/d/snapshots/x", 5, 3, None),), "lake/d/checked/x")


def test_what_is_written_is_read_again(store: Store) -> None:
    assert read_ledger(store, "d") == Ledger()
    write_ledger(store, "d", ledger())
    assert read_ledger(store, "d") == ledger()
    assert read_ledger(store, "other") == Ledger()


def test_the_plan_is_that_of_the_ledger_and_tonights_files(store: Store) -> None:
    write_ledger(store, "d", ledger())
    assert plan(store, "d", contents("b3 c4"), True) == Delivery(tuple(contents("a1 b3 c4")), ("b",))
    assert plan(store, "d", contents("b3 c3"), False) == Delivery(tuple(contents("b3")), (), ("c",))


@pytest.mark.parametrize("text", ["", "{", '{"entries": [{"content": ["interactions"]}]}'])
def test_a_damaged_ledger_stops_the_run(store: Store, text: str) -> None:
    write_ledger(store, "d", ledger())
    store.path("lake/d/ledger.json").write_text(text)
    with pytest.raises(RunFailed, match=r"ledger\.json is damaged"):
        read_ledger(store, "d")


def test_the_plan_imports_nothing_heavy() -> None:
    code = "import sys, tasks.validate.ledger; print({'duckdb', 'great_expectations', 'prefect'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"


def test_a_mended_file_that_an_erasure_rewrote_is_no_changed_file() -> None:
    before = [Content("interactions", "a", "1"), Content("interactions", "mended/b", "2")]
    tonight = [("interactions", "a", "1"), ("interactions", "mended/b", "3")]
    found = arrange(before, tonight, True)
    assert found.changed == ()
    assert [content.sha256 for content in found.contents] == ["1", "3"]
    assert arrange(before, [("interactions", "a", "9"), tonight[1]], True).changed == ("a",)
