"""Whole pages as they are drawn: nothing in the data can act, and nothing is fetched from anywhere."""

from dataclasses import replace

from tasks.cards.card import render
from tasks.cards.changed import ChangedLists, UserLists
from tasks.cards.diff import render as render_diff
from tasks.cards.examples import Example, Item
from tasks.cards.night import Rival
from tasks.cards.pairing import Diff
from tasks.cards.sides import Side
from tests.tasks.cards import (
    ATTACK,
    BESIDE,
    CLOSED_FORM,
    CURVES,
    EXAMPLE,
    FLOOR,
    KNN,
    SCORES,
    Reader,
    assert_stands_alone,
    beside_champion,
    differs,
    facts,
    judged,
    model,
    night,
    refused,
    side,
    training,
)


def test_the_card_escapes_every_text() -> None:
    item = Item(ATTACK, ATTACK, ATTACK, hit=True)
    hostile = Example(ATTACK, 1, (item,), (item,), (item,), reason="fallback", before=(item,))
    result = night(
        run_id=ATTACK,
        dataset=ATTACK,
        snapshot=ATTACK,
        protocol=ATTACK,
        recommendations=ATTACK,
        cached=[ATTACK],
        seconds={ATTACK: 1.0, "total": 1.0},
        decision=refused({"name": ATTACK, "passed": False, "detail": ATTACK}),
        differences={whom: differs(0.1) for whom in ("champion", ATTACK)},
        model={**model(ATTACK, note=ATTACK), "name": ATTACK, "version": ATTACK, "champion": ATTACK},
    )
    record = training(weights_sha256=ATTACK, valid={f"ndcg{ATTACK}": 0.1})
    segments = {"history_length": [{"bucket": ATTACK, "users": 1, "ndcg_at_10": 0.1}]}
    scores = {**SCORES, "means": {**SCORES["means"], f"test/{ATTACK}": 0.1}, "segments": segments}
    floors = {"popularity": FLOOR, ATTACK: KNN}
    page = render(facts(result, record, scores, floors, {"champion": Rival(ATTACK, BESIDE)}), [hostile])
    assert "script" not in Reader(page).tags
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") > 20


def test_the_card_needs_nothing_from_outside_and_is_well_formed() -> None:
    assert_stands_alone(render(beside_champion(), [EXAMPLE, replace(EXAMPLE, before=EXAMPLE.shown[:1])]))


def test_the_diff_stands_alone_and_nothing_in_it_can_act() -> None:
    hostile = (Item(ATTACK, ATTACK), Item("1", ATTACK))
    result = night(
        dataset=ATTACK,
        snapshot=ATTACK,
        protocol=ATTACK,
        model={**model(ATTACK, note=ATTACK), "name": ATTACK},
        decision={**night()["decision"], "checks": [{"name": ATTACK, "passed": False, "detail": ATTACK}]},
    )
    environment = {"packages": {"numpy": ATTACK}}
    config = {"split": {ATTACK: ATTACK}}
    one = Side(ATTACK, config, result, CLOSED_FORM, judged(0.1, CURVES), {}, environment)
    lists = ChangedLists(2, 1, 1, 0.5, 1, 0, (UserLists(ATTACK, hostile, hostile[1:]),))
    page = render_diff(
        Diff(one, replace(side(), environment={"packages": {"numpy": "2"}}), "none", differs(0.1), 3, lists)
    )
    assert_stands_alone(page)
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") > 20
