"""The diff of two nights: what differs, how sure that is, and what becomes of people's lists."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.cards import sides
from tasks.cards.changed import ChangedLists, UserLists, changed_lists
from tasks.cards.diff import in_words, render
from tasks.cards.examples import Item
from tasks.cards.pairing import Diff, paired, unpaired
from tasks.cards.settings import changed_data, changed_environment, changed_settings
from tasks.cards.sides import Side, load_side
from tasks.erase.person import Person
from tasks.store.refs import DatasetRef
from tasks.store.store import Store
from tasks.store.tables import write_table
from tests.tasks.cards import CLOSED_FORM, CURVES, differs, judged, leave_blank, model, night, side
from tests.tasks.test_differences import table

LISTS = ChangedLists(
    n_users=943,
    only_one=2,
    only_other=5,
    overlap=0.245,
    same=7,
    none=228,
    examples=(UserLists("u7", (Item("1", "Alien"), Item("2", "Brazil")), (Item("2", "Brazil"), Item("3", "Cube"))),),
)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of a page's time; whole pages are tested elsewhere."""
    plots = ("forest", "metric_at_k", "curves.both", "learning_beside")
    leave_blank(monkeypatch, *(f"sections.compared.{plot}" for plot in plots))


def diff(**changes: Any) -> Diff:
    one, other = side("version 3"), replace(side("version 4"), scores=judged(0.09, CURVES))
    return replace(Diff(one, other, "same test", differs(0.0233), 50, LISTS), **changes)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL))


def test_the_page_shows_the_facts() -> None:
    page = text_of(render(diff()))
    for fact in (
        "bpr_mf, version 4 is better than bpr_mf, version 3: NDCG@10 +0.0233 (+0.0133 to +0.0333)",
        "The same test rows judged both: differences are taken user by user, over 50 users.",
        "NDCG@10 0.0667 0.0900 +0.0233 +0.0133 to +0.0333 .020",
        "of the first ten stay 24.5% mean over 943 users",
        "not one item stays 228",
        "user u7 1 of 2 items stay",
        "coverage 6.7% 9.0%",
    ):
        assert fact in page, fact


def test_what_the_second_has_and_the_first_has_not_is_marked_in_both_lists() -> None:
    page = render(diff())
    mark = '<span class="new" title="not in the other list">+</span>'
    assert f"<li>Alien {mark}</li><li>Brazil</li>" in page
    assert f"<li>Brazil</li><li>Cube {mark}</li>" in page


@pytest.mark.parametrize(
    ("mean", "word", "kind"),
    [(0.03, "is better than", "good"), (-0.03, "is worse than", "bad"), (0.005, "cannot be told apart from", "warn")],
)
def test_the_verdict_says_only_what_the_interval_shows(mean: float, word: str, kind: str) -> None:
    made = diff(differences=differs(mean))
    assert word in in_words(made)
    assert f'<div class="banner {kind}">' in render(made)


def test_lists_that_are_gone_and_pairs_that_are_none_are_said() -> None:
    page = text_of(render(diff(lists=None, pairing="none", n_users=None)))
    assert "are no longer in the data folder" in page
    assert "Different test rows judged them" in page


def test_without_anything_in_common_nothing_is_claimed() -> None:
    made = diff(differences={}, pairing="none", n_users=None)
    assert in_words(made) == "They were judged by nothing in common"
    assert "They were judged by nothing in common" in render(made)


def test_an_erased_person_leaves_the_page() -> None:
    other = UserLists("u8", *(LISTS.examples[0].one, LISTS.examples[0].other))
    page = render(diff(lists=replace(LISTS, examples=(*LISTS.examples, other))))
    without = Person("films", "u7", "user_id='u7'").taken_out_of(page)
    assert without == render(diff(lists=replace(LISTS, examples=(other,))))


def test_decisions_stand_check_by_check() -> None:
    old = {**night()["decision"], "promote": False, "checks": [{"name": "same test", "passed": False, "detail": "no"}]}
    page = text_of(render(diff(one=side("version 3", decision=old))))
    assert "decision refused promoted" in page
    assert "same test ✗ no –" in page
    assert "beats popularity – ✓ by 0.02" in page


def test_only_settings_that_differ_are_listed_as_they_were_used() -> None:
    one = replace(side("a", model=model("ease", l2=300.0)), config={"model": {"l2": None}, "split": {"protocol": "x"}})
    other = replace(side("b", model=model("ease", l2=100.0, decay=0.9)), config={"split": {"protocol": "x", "days": 3}})
    other = replace(other, training={**CLOSED_FORM, "trainer": {"seed": 1, "batch_size": 512}})
    assert changed_settings(one, other) == {
        "model.l2": ("300.0", "100.0"),
        "model.decay": ("–", "0.9"),
        "trainer.seed": ("0", "1"),
        "split.days": ("–", "3"),
    }
    assert [name.partition(".")[0] for name in changed_settings(one, other)] == ["model", "model", "trainer", "split"]
    assert changed_settings(one, one) == {}


def test_what_was_seen_and_run_on() -> None:
    rows = {**night()["rows"], "train": 2000}
    one, other = side(), side("b", rows=rows, snapshot="6b" * 16)
    data = changed_data(one, other)
    assert data["training rows"] == ("1,000", "2,000")
    assert data["items"] == ("66", "66")
    assert data["snapshot"] == ("5a" * 6, "6b" * 6)
    one = replace(one, environment={"python": "3.11", "packages": {"torch": "2.13", "numpy": "2.4"}})
    other = replace(other, environment={"python": "3.11", "packages": {"torch": "2.14", "scipy": "1.17"}})
    assert changed_environment(one, other) == {"packages.torch": ("2.13", "2.14")}  # what only one tells is no change


def judged_by(store: Store, key: str, ndcg: list[float], **changes: Any) -> Side:
    """A side whose table of metrics lies in the store."""
    store.path(f"metrics/{key}").mkdir(parents=True)
    table(store.path(f"metrics/{key}/test.parquet"), ndcg_at_10=ndcg)
    return side(key, evaluated={"test": f"metrics/{key}"}, **changes)


def test_the_same_test_is_compared_user_by_user(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = judged_by(store, "a", [0.1, 0.2, 0.3, 0.4]), judged_by(store, "b", [0.2, 0.3, 0.4, 0.5])
    pairing, found, n_users = paired(store, one, other, samples=100)
    assert (pairing, n_users) == ("same test", 50)  # as many as the evaluation says
    assert found["ndcg_at_10"]["mean"] == pytest.approx(0.1)  # the second minus the first
    assert found["ndcg_at_10"]["low"] == pytest.approx(0.1)  # every user by as much


OLD = {**model("ease"), "version": "3"}


@pytest.mark.parametrize("whom", ["champion", "anchor"])
def test_who_was_judged_beside_the_other_is_compared_as_on_that_night(whom: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = judged_by(store, "a", [0.1] * 4, model=OLD, test_fingerprint="another")
    beside = {whom: {"version": "3", "users": 31}}
    other = judged_by(store, "b", [0.2] * 4, beside=beside, differences={whom: differs(0.07)})
    assert paired(store, one, other, 100) == ("beside", differs(0.07), 31)
    pairing, found, _ = paired(store, other, one, 100)  # the other way round
    by = found["ndcg_at_10"]
    assert pairing == "beside"
    assert (by["mean"], by["low"], by["high"]) == pytest.approx((-0.07, -0.08, -0.06))


@pytest.mark.parametrize("stranger", [{**OLD, "name": "encore-books"}, {**OLD, "version": "2"}])
def test_a_stranger_is_not_taken_for_who_was_judged_beside(stranger: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = judged_by(store, "a", [0.1] * 4, model=stranger, test_fingerprint="another")
    beside = {"champion": {"version": "3", "users": 31}}
    other = judged_by(store, "b", [0.2] * 4, beside=beside, differences={"champion": differs(0.07)})
    assert paired(store, one, other, 100)[0] == "none"


def test_tables_that_are_gone_leave_the_difference_of_means(tmp_path: Path) -> None:
    pairing, found, n_users = paired(Store(tmp_path), side(), side(), 100)
    assert (pairing, n_users) == ("none", None)
    assert found["ndcg_at_10"]["mean"] == 0


def test_unpaired_intervals_by_hand() -> None:
    """.5 (.4 to .7) against .2 (.1 to .5): the ends that face each other add up as squares."""
    one = {"means": {"test/ndcg_at_10": 0.2}, "intervals": {"test/ndcg_at_10": [0.1, 0.5]}}
    other = {"means": {"test/ndcg_at_10": 0.5}, "intervals": {"test/ndcg_at_10": [0.4, 0.7]}}
    by = unpaired(one, other)["ndcg_at_10"]
    assert by["mean"] == pytest.approx(0.3)
    assert by["low"] == pytest.approx(0.3 - math.sqrt(0.1**2 + 0.3**2))
    assert by["high"] == pytest.approx(0.3 + math.sqrt(0.2**2 + 0.1**2))
    assert "p_value" not in by


def shows(store: Store, name: str, lists: dict[Any, list[Any]]) -> Side:
    """A side whose lists lie in the store."""
    rows = [(user, rank, item) for user, items in lists.items() for rank, item in enumerate(items, start=1)]
    columns = dict(zip(("user_id", "rank", "item_id"), map(list, zip(*rows, strict=True)), strict=True))
    write_table(store.path(f"{name}.parquet"), pa.table(columns))
    return side(name, recommendations=f"{name}.parquet")


def test_changed_lists_by_hand(tmp_path: Path) -> None:
    """Of twelve places ten count; users of one side only are counted, and not compared."""
    store = Store(tmp_path)
    ten = list(range(10))
    one = shows(store, "one", {1: [*ten, 50, 51], 2: [1, 2], 3: [1, 2], 4: [5], 9: [1]})
    other = shows(store, "other", {"1": [str(n) for n in [*range(5, 10), 50, 51, 60, 61, 62]], "2": ["2", "1"],
                                   "3": ["1", "7"], "4": ["6"], "8": ["1"], "7": ["1"]})  # fmt: skip
    write_table(store.path("items.parquet"), pa.table({"item_id": [1, 7], "title": ["One", None]}))
    snapshot = {"items": [vars(DatasetRef("items.parquet", 2, "")), vars(DatasetRef("gone.parquet", 2, ""))]}
    found = changed_lists(store, one, replace(other, snapshot=snapshot))
    assert found is not None
    assert (found.n_users, found.only_one, found.only_other) == (4, 1, 2)
    assert found.overlap == pytest.approx((0.5 + 1 + 0.5 + 0) / 4)
    assert (found.same, found.none) == (1, 1)
    assert [example.user_id for example in found.examples] == ["4", "1", "3", "2"]  # from 0 to all of it, then by id
    assert found.examples[2].other == (Item("1", "One"), Item("7", "7"))
    assert [item.id for item in found.examples[1].one] == [str(n) for n in ten]
    store.path("one.parquet").unlink()
    assert changed_lists(store, one, other) is None


def test_lists_of_nobody_in_common(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = changed_lists(store, shows(store, "one", {"a": [1]}), shows(store, "other", {"b": [1]}))
    assert found is not None
    assert math.isnan(found.overlap)
    assert (found.n_users, found.only_one, found.only_other, found.examples) == (0, 1, 1, ())
    assert "–" in render(diff(lists=found))


def test_a_run_that_kept_too_little_is_no_side(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"config": {}, "result": night(), "training": {}, "scores": {}, "environment": {"python": "3"}}
    monkeypatch.setattr(sides, "read_night", lambda uri, run: kept if run == "whole" else {"config": {}})
    assert load_side("", "old", "version 1") is None
    found = load_side("", "whole", "version 2")
    assert found is not None
    assert (found.label, found.environment, found.snapshot) == ("version 2", {"python": "3"}, {})
