"""The run card: it shows what the night found, rounds only there, and lets nothing from the data act."""

import re
from dataclasses import replace

import pytest

from models.serving import REASONS
from tasks.cards.card import render
from tasks.cards.examples import Item
from tasks.cards.night import Rival
from tasks.cards.numbers import metric_name
from tasks.cards.sections.quality import curves_of
from tasks.erase.person import Person
from tests.tasks.cards import (
    ATTACK,
    BESIDE,
    CLOSED_FORM,
    CURVES,
    EXAMPLE,
    FLOOR,
    FLOOR_CURVES,
    KNN,
    SCORES,
    beside_champion,
    facts,
    judged,
    leave_blank,
    model,
    night,
    refused,
)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of a page's time; what they draw is tested elsewhere, as are whole pages."""
    leave_blank(monkeypatch, "card.step_seconds", "sections.beside.forest", "sections.model.learning_curve")
    leave_blank(monkeypatch, "sections.quality.metric_at_k", "sections.quality.curves.both")


def text_of(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_the_card_shows_the_facts() -> None:
    page = render(facts(), [EXAMPLE])
    told = [
        "bpr_mf on films",
        "night of 2024-06-01 03:00",
        "✓ Promoted: encore-films version 4",
        "0.0667",
        "0.0444",
        "+0.0222",
        "0.0567 to 0.0767",
        "+0.0122 to +0.0322",
        "AUC",
        "beats popularity",
        "by 0.02",
        "1,234",
        "1,200",
        "temporal",
        "4,321",
        "2 of 3",
        "NDCG@10 0.0312",
        "1,000 samples/s",
        "1 min 1 s",
        "812 MB",
        "skipped: ingest",
        "5a" * 16,
        "c0ffee00" * 8,
        "encore retrain --model.name=bpr_mf --model.dim=64",
        "models:/encore-films/4",
    ]
    assert [fact for fact in told if fact not in text_of(page).replace("&quot;", '"')] == []
    assert "0.0666666" not in page


def test_rows_in_quarantine_are_counted_by_reason_and_reasons_cannot_act() -> None:
    page = render(facts(night(quarantine={f"no rating {ATTACK}": 3, "no user": 1})), [])
    assert "<th>quarantined</th><td>4</td>" in page
    assert "no rating &lt;script&gt;" in page
    assert re.search(r'no user</td><td class="number">1<', page)
    assert page.index("no rating") < page.index("no user")
    assert "encore quarantine --ingest.name=films" in page


def test_of_many_reasons_the_rest_is_summed_up() -> None:
    page = render(facts(night(quarantine={f"reason {n}": n for n in range(1, 12)})), [])
    assert "reason 11" in page
    assert "reason 3<" not in page
    assert re.search(r'3 more reasons</td><td class="number">6<', page)


def test_a_night_without_refused_rows_says_nothing_of_them() -> None:
    rows = {**night()["rows"], "quarantined": 0, "read": 1230}
    assert "quarantine" not in render(facts(night(rows=rows, quarantine={})), [])


def test_what_looked_odd_is_listed_and_leaks_are_counted() -> None:
    audit = [{"sentence": "no pair in two parts", "passed": True}, {"sentence": "x", "passed": True}]
    page = render(facts(night(warnings=[f"ratings drift {ATTACK}"], audit=audit)), [])
    assert "ratings drift &lt;script&gt;" in page
    assert "2 of 2 expectations hold" in page
    assert "looked odd" not in render(facts(), [])


FAILED = {"name": "beats popularity", "passed": False, "detail": "by -0.01"}


def test_a_refusal_says_why_and_what_stays() -> None:
    decision = refused({"name": "enough test users", "passed": True, "detail": "50 users"}, FAILED)
    page = render(facts(night(decision=decision, model=model("bpr_mf"))), [])
    assert "✗ Refused: encore-films version 5" in page
    assert "Why it was refused" in page
    assert "Version 4 stays the champion." in page
    assert "<li>beats popularity: by -0.01</li>" in page
    assert "<li>enough test users" not in page
    first = {**model("bpr_mf"), "champion": None}
    assert "There is no champion yet" in render(facts(night(decision=decision, model=first)), [])


def test_a_version_that_waits_says_what_to_type() -> None:
    page = render(facts(night(decision=refused(FAILED, waits=True), model=model("bpr_mf"))), [])
    assert "Waiting: encore-films version 5" in page
    assert "encore promote 5 --ingest.name=films --reason=..." in page
    assert "Why it waits for approval" in page
    assert "refused" not in page.lower()
    named = {**model("bpr_mf"), "name": "tonight"}
    page = render(facts(night(decision=refused(FAILED, waits=True), model=named)), [])
    assert "encore promote 5 --ingest.name=films --registered_model=tonight --reason=..." in page


def test_the_champion_and_the_anchor_stand_beside_the_model_on_their_own_rows() -> None:
    page = text_of(render(beside_champion(0.03), []))
    assert "champion, version 3" in page
    assert "anchor, version 1" in page
    assert "31 users" in page
    # ours is the champion's mean on these rows and the difference: .0811 + .03
    assert re.search(r"NDCG@10\s+0\.1111\s+0\.0811\s+\+0\.0300\s+\+0\.0200 to \+0\.0400\s+\.020", page)
    assert "against the champion" in page
    assert re.search(r"against popularity\s+\+0\.0222\s+\+0\.0122 to \+0\.0322", text_of(render(facts(), [])))


def test_only_what_leaves_no_doubt_is_coloured() -> None:
    for mean, kind in ((0.03, " good"), (-0.03, " bad"), (0.003, "")):
        sign = "+" if mean > 0 else "−"
        assert f'<td class="number{kind}">{sign}{abs(mean):.4f}</td>' in render(beside_champion(mean), [])


def test_lists_are_compared_beyond_their_accuracy() -> None:
    page = text_of(render(beside_champion(), []))
    assert re.search(r"coverage\s+6\.7%\s+4\.4%\s+5\.0%", page)  # the model, popularity, item_knn: all test rows
    assert re.search(r"coverage\s+37\.5%\s+12\.5%", page)  # the model and the champion: the rows that may judge both
    assert re.search(r"novelty\s+2\.35", page)
    assert "beside the champion, version 3: 45.6% of its lists would stay" in page
    assert "diversity" not in page  # there are no genres
    nobody = {**BESIDE, "beyond": {"champion": {}, "challenger": {}}}
    assert "may judge both, beside" not in render(facts(rivals={"champion": Rival("3", nobody)}), [])
    old = {**SCORES, "beyond": {}}
    assert "Beyond accuracy" not in render(facts(scores=old, floors={"popularity": {**FLOOR, "beyond": {}}}), [])


@pytest.mark.parametrize(
    ("warm", "told"),
    [
        ({"cold_because": f"nothing to start from {ATTACK}"}, "cold: nothing to start from &lt;script&gt;"),
        (
            {"from_version": "3", "from_key": "k", "nights": 2, "new_users": 1200, "new_items": 5},
            "warm, from version 3: night 2 since a cold fit; 1,200 new users and 5 new items begin as in a cold one",
        ),
    ],
)
def test_the_start_is_told(warm: dict[str, object], told: str) -> None:
    assert f"<th>start</th><td>{told}" in render(facts(night(warm=warm)), [])
    assert "<th>start</th>" not in render(facts(), [])


def test_what_goes_out_fitted_on_everything_says_so() -> None:
    page = render(facts(night(on_everything=True, seeds=3)), [])
    assert "<th>goes out fitted on</th><td>everything, test rows included</td>" in page
    assert "<th>judged as fitted on</th><td>training and validation rows</td>" in page
    assert "It was trained once more on everything" in page
    assert "<th>seeds tried</th><td>3</td>" in page
    assert "<th>fitted on</th><td>training and validation rows</td>" in render(facts(), [])
    assert "seeds tried" not in render(facts(), [])


def test_a_model_in_closed_form_has_no_learning_curve() -> None:
    page = render(facts(night(model=model("ease", l2=300.0)), CLOSED_FORM), [])
    assert "How it learned" not in page
    assert "best epoch" not in page
    assert "without epochs" in page


def test_a_blend_has_a_line_for_each_member_and_what_is_unset_none() -> None:
    members = [{"name": "ials", "dim": 128, "l2": None}, {"name": "bpr_mf", "trainer": {"seed": 3}}]
    blend = model("blend", members=members, weights=[0.75, 0.25])
    page = render(facts(night(model=blend), CLOSED_FORM), [])
    assert "<th>members 1</th><td>ials, dim 128</td>" in page
    assert "<th>members 2</th><td>bpr_mf, trainer seed 3</td>" in page
    assert "<th>weights</th><td>0.75, 0.25</td>" in page


def test_the_floor_is_not_compared_with_itself() -> None:
    page = render(facts(night(model=model("popularity"), differences={}), CLOSED_FORM, FLOOR), [])
    assert "this is the floor" in page
    assert "Is it better?" not in page
    assert '<th class="number">difference' not in page
    assert page.count('<th class="number">popularity</th>') == 2  # of metrics and of what lists are like


def test_a_floor_that_is_the_model_is_shown_once() -> None:
    knn = facts(night(model=model("item_knn")), CLOSED_FORM, KNN)
    assert list(curves_of(knn)) == ["popularity (floor)", "item_knn"]
    assert list(curves_of(facts())) == ["popularity (floor)", "item_knn (floor)", "bpr_mf"]
    assert render(knn, []).count('<th class="number">item_knn</th>') == 2  # of metrics and of what lists are like


def test_sampled_metrics_stand_apart() -> None:
    scores, floor = judged(0.3, CURVES, "sampled/ndcg_at_10"), judged(0.2, FLOOR_CURVES, "sampled/ndcg_at_10")
    page = render(facts(scores=scores, floors={"popularity": floor}), [])
    assert "sampled: only the given candidates ranked, 40 users" in page
    assert page.index("test: all items ranked, 50 users") < page.index("sampled: only")
    assert "sampled:" not in render(facts(), [])


def test_a_card_of_before_there_were_whole_curves_goes_without() -> None:
    assert "curves.both" in render(facts(), [])
    short = {name: FLOOR_CURVES[name] for name in ("ndcg", "recall")}
    assert "curves.both" not in render(
        facts(scores=judged(0.06, short), floors={"popularity": judged(0.04, short)}), []
    )


def row(*cells: str) -> str:
    """A line of a table: the first cell is text, the others are numbers, and the last one is coloured."""
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells[1:-1])
    return f'<tr><td>{cells[0]}</td>{numbers}<td class="number good">{cells[-1]}</td></tr>'


def test_segments_stand_beside_those_of_the_floor() -> None:
    page = render(facts(), [])
    assert row("0", "12", "0.0333", "0.0222", "+0.0111") in page
    assert row("200+", "1,038", "0.0667", "0.0444", "+0.0222") in page
    assert row("&lt;7", "7", "0.0667", "0.0444", "+0.0222") in page
    assert "list made by" not in page  # all are the model's
    without = {**FLOOR, "segments": {**FLOOR["segments"], "history_length": []}}
    lone = '<td class="number">0.0333</td><td class="number">–</td><td class="number">–</td>'
    assert lone in render(facts(floors={"popularity": without}), [])


def test_reasons_are_shown_where_there_are_several() -> None:
    reasons = [
        {"bucket": "model", "users": 40, "ndcg_at_10": 0.2},
        {"bucket": "fold-in", "users": 10, "ndcg_at_10": 0.1},
    ]
    kept = {"history_length": SCORES["segments"]["history_length"], "reason": reasons}
    page = render(facts(scores={**SCORES, "segments": kept}), [])
    assert '<tr><td>fold-in</td><td class="number">10</td><td class="number">0.1000</td></tr>' in page
    assert "item&#x27;s age" not in page  # without timestamps


@pytest.mark.parametrize("reason", REASONS)
def test_a_list_says_what_it_was_made_by(reason: str) -> None:
    example = replace(EXAMPLE, reason=reason)
    page = render(facts(night(model=model("{0}"))), [example])
    shown = {
        "model": "would be shown (by {0})",
        "fold-in": "(by {0}, from the history alone:",
        "features": "(by {0}, from the user&#x27;s features alone:",
        "segment": "(by popularity among similar users:",
        "fallback": "(by popularity: the model does not know",
    }
    assert shown[reason] in page


def test_a_number_that_is_none_is_a_dash() -> None:
    scores = {**SCORES, "means": {**SCORES["means"], "test/recall_at_20": float("nan")}}
    assert '<td>Recall@20</td><td class="number">–</td>' in render(facts(scores=scores), [])


def test_hits_are_marked_in_both_lists() -> None:
    page = render(facts(), [EXAMPLE])
    assert page.count('<li class=hit>Brazil ✓ <span class="soft">Drama, Sci-Fi</span></li>') == 2
    assert "<li>Casablanca</li>" in page
    assert "1 of these 1 would be shown" in page


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("test/auc", "AUC"),
        ("gauc", "GAUC"),
        ("test/ndcg_at_10", "NDCG@10"),
        ("sampled/hit_at_5", "HitRate@5"),
        ("test/precision_at_20", "Precision@20"),
    ],
)
def test_metrics_have_their_usual_names(metric: str, name: str) -> None:
    assert metric_name(metric) == name


def test_the_champions_list_stands_beside_and_says_what_changes() -> None:
    changed = replace(EXAMPLE, before=(Item("2", "Casablanca"), Item("9", "Dune")))
    page = render(beside_champion(), [changed])
    assert "the champion, version 3, would show: 1 of 2 are the same" in page
    mark = '<span class="new" title="not in the other list">+</span>'
    assert f"<li>Dune {mark}</li>" in page
    assert f"Brazil ✓ {mark}" in page
    assert f"Casablanca {mark}" not in page
    assert mark not in render(facts(), [EXAMPLE])


def test_an_erased_person_leaves_the_card_and_nobody_else_does() -> None:
    other = replace(EXAMPLE, user_id="u8", before=EXAMPLE.shown)
    page = render(beside_champion(), [replace(EXAMPLE, before=EXAMPLE.shown), other])
    without = Person("films", "u7", "user_id='u7'").taken_out_of(page)
    assert "user u7" not in without
    assert without == render(beside_champion(), [other]).replace("1 of these 1", "2 of these 2")
