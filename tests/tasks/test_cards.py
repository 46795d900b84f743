"""The run card: it shows what the night found, rounds only there, and lets nothing from the data act."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.base import FitSession, Ragged, TrainingData
from models.bundle import Bundle
from models.features import UserFeatures
from models.ids import IdMap
from models.registry import build, make_config
from models.serving import REASONS
from tasks.cards.card import metric_name, render
from tasks.cards.examples import Example, Item, make_examples, spread_over
from tasks.cards.plots import as_svg, duration, learning_curve, metric_at_k, spread, step_seconds
from tasks.schema import TEST_ROWS

ATTACK = "<script>alert('1')</script>"
HISTORY = [
    {"number": n, "loss": 1 / n, "samples": 100, "seconds": 0.1, "metrics": {"ndcg_at_10": value, "ndcg_at_20": value}}
    for n, value in enumerate((0.01, 0.0312345, 0.02), start=1)
]
CURVES = {"ndcg": [0.1, 0.2, 0.3], "recall": [0.1, 0.3, 0.6]}
FLOOR_CURVES = {"ndcg": [0.1, 0.1, 0.2], "recall": [0.1, 0.2, 0.4]}
EXAMPLE = Example(
    user_id="u7",
    history_length=12,
    recent=(Item("1", "Alien"),),
    held_out=(Item("3", "Brazil", "Drama|Sci-Fi", hit=True),),
    shown=(Item("2", "Casablanca"), Item("3", "Brazil", "Drama|Sci-Fi", hit=True)),
    reason="model",
)


def night(**changes: Any) -> dict[str, Any]:
    """The result of a night, with these fields changed."""
    return {
        "run_id": "run-1",
        "dataset": "films",
        "as_of": "2024-06-01T03:00:00+00:00",
        "snapshot": "5a" * 16,
        "protocol": "temporal",
        "rows": {
            "read": 1234,
            "accepted": 1200,
            "quarantined": 4,
            "duplicates": 30,
            "train": 1000,
            "valid": 90,
            "test": 110,
            "users": 55,
            "items": 66,
        },
        "quarantine": {"rating above 5": 4},
        "warnings": [],
        "audit": [{"sentence": "no pair in two parts", "passed": True}],
        "seconds": {"startup": 1.0, "ingest": 2.0, "train": 6.0, "total": 10.0},
        "cached": ["ingest"],
        "peak_mb": 812.4,
        "level": 0.95,
        "decision": {"promote": True, "checks": [{"name": "beats popularity", "passed": True, "detail": "by 0.02"}]},
        "model": {
            "name": "encore-films",
            "version": "4",
            "champion": "4",
            "parameters": 4321,
            "config": {"name": "bpr_mf", "dim": 64},
        },
        "recommendations": "recommendations/run=run-1/recommendations.parquet",
        **changes,
    }


def model(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "encore-films",
        "version": "5",
        "champion": "4",
        "parameters": 0,
        "config": {"name": name, **fields},
    }


def training(**changes: Any) -> dict[str, Any]:
    return {
        "weights_sha256": "c0ffee00" * 8,
        "n_parameters": 4321,
        "best_epoch": 2,
        "refitted": True,
        "valid": {"ndcg_at_10": 0.0312345},
        "history": HISTORY,
        "seconds": 61.0,
        "samples_per_second": 1000.4,
        **changes,
    }


CLOSED_FORM = training(history=[], best_epoch=0, samples_per_second=0.0, n_parameters=0)


def judged(ndcg: float, curves: dict[str, list[float]], *more: str) -> dict[str, Any]:
    metrics = ["test/ndcg_at_10", "test/recall_at_20", *more]
    return {
        "users": {"test": 50, "sampled": 40},
        "means": dict.fromkeys(metrics, ndcg),
        "intervals": {metric: [ndcg - 0.01, ndcg + 0.01] for metric in metrics},
        "curves": curves,
        "segments": {
            "history_length": [
                {"bucket": "0", "users": 12, "ndcg_at_10": ndcg / 2},
                {"bucket": "200+", "users": 1038, "ndcg_at_10": ndcg},
            ],
            "item_age": [{"bucket": "<7", "rows": 7, "recall_at_10": ndcg, "ndcg_at_10": ndcg}],
            "reason": [{"bucket": "model", "users": 50, "ndcg_at_10": ndcg}],
        },
    }


SCORES, FLOOR = judged(0.06666666, CURVES), judged(0.04444444, FLOOR_CURVES)


class Reader(HTMLParser):
    """Notes tags and ids, and whether every element is closed in its turn."""

    VOID = ("meta", "use", "path", "rect", "line", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def text_of(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_the_card_shows_the_facts() -> None:
    page = render(night(), training(), SCORES, FLOOR, [EXAMPLE])
    facts = [
        "bpr_mf on films",
        "night of 2024-06-01 03:00",
        "✓ Promoted: encore-films version 4",
        "0.0667",
        "0.0444",
        "+0.0222",
        "0.0567 to 0.0767",
        "0.0344 to 0.0544",
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
    assert [fact for fact in facts if fact not in text_of(page).replace("&quot;", '"')] == []
    assert "0.0666666" not in page


def test_rows_in_quarantine_are_counted_by_reason_and_reasons_cannot_act() -> None:
    page = render(night(quarantine={f"no rating {ATTACK}": 3, "no user": 1}), training(), SCORES, FLOOR, [])
    assert "<th>quarantined</th><td>4</td>" in page
    assert "no rating &lt;script&gt;" in page
    assert re.search(r'no user</td><td class="number">1<', page)
    assert page.index("no rating") < page.index("no user")
    assert "encore quarantine --ingest.name=films" in page


def test_of_many_reasons_the_rest_is_summed_up() -> None:
    page = render(night(quarantine={f"reason {n}": n for n in range(1, 12)}), training(), SCORES, FLOOR, [])
    assert "reason 11" in page
    assert "reason 3<" not in page
    assert re.search(r'3 more reasons</td><td class="number">6<', page)


def test_a_night_without_refused_rows_says_nothing_of_them() -> None:
    rows = {**night()["rows"], "quarantined": 0, "read": 1230}
    assert "quarantine" not in render(night(rows=rows, quarantine={}), training(), SCORES, FLOOR, [])


def test_what_looked_odd_is_listed_and_leaks_are_counted() -> None:
    audit = [{"sentence": "no pair in two parts", "passed": True}, {"sentence": "x", "passed": True}]
    page = render(night(warnings=[f"ratings drift {ATTACK}"], audit=audit), training(), SCORES, FLOOR, [])
    assert "ratings drift &lt;script&gt;" in page
    assert "2 of 2 expectations hold" in page
    assert "looked odd" not in render(night(), training(), SCORES, FLOOR, [])


def test_a_refusal_says_why_and_what_stays() -> None:
    checks = [
        {"name": "enough test users", "passed": True, "detail": "50 users"},
        {"name": "beats popularity", "passed": False, "detail": "by -0.01"},
    ]
    decision = {"promote": False, "checks": checks}
    page = render(night(decision=decision, model=model("bpr_mf")), training(), SCORES, FLOOR, [])
    assert "✗ Refused: encore-films version 5" in page
    assert "Version 4 stays the champion." in page
    assert "<li>beats popularity: by -0.01</li>" in page
    assert "<li>enough test users" not in page
    first = {**model("bpr_mf"), "champion": None}
    assert "There is no champion yet" in render(night(decision=decision, model=first), training(), SCORES, FLOOR, [])


def test_the_card_escapes_every_text() -> None:
    item = Item(ATTACK, ATTACK, ATTACK, hit=True)
    hostile = Example(ATTACK, 1, (item,), (item,), (item,), reason="fallback")
    result = night(
        run_id=ATTACK,
        dataset=ATTACK,
        snapshot=ATTACK,
        protocol=ATTACK,
        recommendations=ATTACK,
        cached=[ATTACK],
        seconds={ATTACK: 1.0, "total": 1.0},
        decision={"promote": False, "checks": [{"name": ATTACK, "passed": False, "detail": ATTACK}]},
        model={**model(ATTACK, note=ATTACK), "name": ATTACK, "version": ATTACK, "champion": ATTACK},
    )
    record = training(weights_sha256=ATTACK, valid={f"ndcg{ATTACK}": 0.1})
    scores = {**SCORES, "means": {**SCORES["means"], f"test/{ATTACK}": 0.1}}
    page = render(result, record, scores, FLOOR, [hostile])
    assert "script" not in Reader(page).tags
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") > 20


def test_the_card_needs_nothing_from_outside_and_is_well_formed() -> None:
    reader = Reader(render(night(), training(), SCORES, FLOOR, [EXAMPLE]))
    assert reader.open == []
    assert all(link.startswith("#") for link in reader.links)
    assert not reader.tags & {"script", "img", "link", "iframe", "object", "image"}
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    page = render(night(), training(), SCORES, FLOOR, [EXAMPLE])
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page


def test_a_model_in_closed_form_has_no_learning_curve() -> None:
    page = render(night(model=model("ease", l2=300.0)), CLOSED_FORM, SCORES, FLOOR, [])
    assert "How it learned" not in page
    assert "best epoch" not in page
    assert "without epochs" in page


def test_a_blend_has_a_line_for_each_member_and_what_is_unset_none() -> None:
    members = [{"name": "ials", "dim": 128, "l2": None}, {"name": "bpr_mf", "trainer": {"seed": 3}}]
    page = render(night(model=model("blend", members=members, weights=[0.75, 0.25])), CLOSED_FORM, SCORES, FLOOR, [])
    assert "<th>members 1</th><td>ials, dim 128</td>" in page
    assert "<th>members 2</th><td>bpr_mf, trainer seed 3</td>" in page
    assert "<th>weights</th><td>0.75, 0.25</td>" in page


def test_the_floor_is_not_compared_with_itself() -> None:
    page = render(night(model=model("popularity")), CLOSED_FORM, FLOOR, FLOOR, [])
    assert "this is the floor" in page
    assert '<th class="number">difference' not in page
    assert "+0.0000" not in page


def test_sampled_metrics_stand_apart() -> None:
    scores, floor = judged(0.3, CURVES, "sampled/ndcg_at_10"), judged(0.2, FLOOR_CURVES, "sampled/ndcg_at_10")
    page = render(night(), training(), scores, floor, [])
    assert "sampled: only the given candidates ranked, 40 users" in page
    assert page.index("test: all items ranked, 50 users") < page.index("sampled: only")
    assert "sampled:" not in render(night(), training(), SCORES, FLOOR, [])


def row(*cells: str) -> str:
    """A line of a table: the first cell is text, the others are numbers, and the last one is coloured."""
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells[1:-1])
    return f'<tr><td>{cells[0]}</td>{numbers}<td class="number good">{cells[-1]}</td></tr>'


def test_segments_stand_beside_those_of_the_floor() -> None:
    page = render(night(), training(), SCORES, FLOOR, [])
    assert row("0", "12", "0.0333", "0.0222", "+0.0111") in page
    assert row("200+", "1,038", "0.0667", "0.0444", "+0.0222") in page
    assert row("&lt;7", "7", "0.0667", "0.0444", "+0.0222") in page
    assert "list made by" not in page  # all are the model's
    without = {**FLOOR, "segments": {**FLOOR["segments"], "history_length": []}}
    assert '<td class="number">0.0333</td><td class="number">–</td><td class="number">–</td>' in render(
        night(), training(), SCORES, without, []
    )


def test_reasons_are_shown_where_there_are_several() -> None:
    reasons = [
        {"bucket": "model", "users": 40, "ndcg_at_10": 0.2},
        {"bucket": "fold-in", "users": 10, "ndcg_at_10": 0.1},
    ]
    kept = {"history_length": SCORES["segments"]["history_length"], "reason": reasons}
    page = render(night(), training(), {**SCORES, "segments": kept}, FLOOR, [])
    assert '<tr><td>fold-in</td><td class="number">10</td><td class="number">0.1000</td></tr>' in page
    assert "item&#x27;s age" not in page  # without timestamps


@pytest.mark.parametrize("reason", REASONS)
def test_a_list_says_what_it_was_made_by(reason: str) -> None:
    example = replace(EXAMPLE, reason=reason)
    page = render(night(model=model("{0}")), training(), SCORES, FLOOR, [example])
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
    assert '<td>Recall@20</td><td class="number">–</td>' in render(night(), training(), scores, FLOOR, [])


def test_hits_are_marked_in_both_lists() -> None:
    page = render(night(), training(), SCORES, FLOOR, [EXAMPLE])
    assert page.count('<li class=hit>Brazil ✓ <span class="soft">Drama, Sci-Fi</span></li>') == 2
    assert "<li>Casablanca</li>" in page
    assert "1 of these 1 would be shown" in page


@pytest.mark.parametrize(
    ("metric", "name"),
    [("test/ndcg_at_10", "NDCG@10"), ("sampled/hit_at_5", "HitRate@5"), ("test/precision_at_20", "Precision@20")],
)
def test_metrics_have_their_usual_names(metric: str, name: str) -> None:
    assert metric_name(metric) == name


# Four users, four items. Counts: item 10 three times, 20 twice, 30 once, 40 never: the order by popularity.
HISTORIES: Sequence[Sequence[int]] = ([0], [0, 1], [0, 1, 2], [])
TITLES = pa.table({"item_id": [10, 20, 30, 40], "title": ["Ten", "Twenty", None, "Forty"]})


def popularity_bundle(histories: Sequence[Sequence[int]] = HISTORIES) -> Bundle:
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    known = Ragged.from_pairs(users, np.array([item for items in histories for item in items]), len(histories))
    data = TrainingData(4, known)
    fitted = build("popularity", make_config("popularity"), data).fit(data, FitSession())
    ids = IdMap(np.array([f"u{user}" for user in range(len(histories))])), IdMap(np.array([10, 20, 30, 40]))
    return Bundle("films", fitted, *ids, known, known)


def held_out(*rows: tuple[int, int, str, str]) -> pa.Table:
    """Test rows of user index, item index, user id, item id."""
    names = TEST_ROWS.names[:4]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], TEST_ROWS)


def test_examples_by_hand() -> None:
    bundle = popularity_bundle()
    test = held_out((0, 2, "u0", "30"), (1, -1, "u1", "99"), (0, 2, "u0", "30"), (-1, 0, "new", "10"))
    examples = {example.user_id: example for example in make_examples(bundle, TITLES, test, bundle.fitted)}
    first = examples["u0"]
    assert first.recent == (Item("10", "Ten"),)
    assert first.held_out == (Item("30", "30", hit=True),)
    assert first.shown == (Item("20", "Twenty"), Item("30", "30", hit=True), Item("40", "Forty"))
    assert (first.history_length, first.reason) == (1, "model")
    second = examples["u1"]
    assert [item.title for item in second.recent] == ["Twenty", "Ten"]
    assert second.held_out == (Item("99", "99"),)
    assert not any(item.hit for item in second.shown)
    stranger = examples["new"]
    assert stranger.reason == "fallback"
    assert (stranger.history_length, stranger.recent) == (0, ())
    assert stranger.shown[0] == Item("10", "Ten", hit=True)


def test_an_example_who_is_a_stranger_is_told_by_features() -> None:
    bundle = popularity_bundle()
    towns = UserFeatures({"town": IdMap(np.array(["Bonn", "Ulm"]))}, {"town": np.array([1, 1, 2, 0], dtype=np.int32)})
    strangers = pa.table({"user_id": ["other", "new"], "town": ["Bonn", "Ulm"]})
    test = held_out((-1, 0, "new", "10"))
    (example,) = make_examples(replace(bundle, features=towns), TITLES, test, bundle.fitted, False, strangers)
    assert example.reason == "segment"
    (example,) = make_examples(replace(bundle, features=towns), TITLES, test, bundle.fitted)
    assert example.reason == "fallback"


def test_examples_show_ids_where_there_are_no_titles() -> None:
    bundle = popularity_bundle()
    (example,) = make_examples(bundle, TITLES.select(["item_id"]), held_out((2, 3, "u2", "40")), bundle.fitted)
    assert example.shown == (Item("40", "40", hit=True),)


def test_repeats_stay_in_the_list_where_they_are_kept() -> None:
    bundle = popularity_bundle()
    test = held_out((1, 0, "u1", "10"))
    (example,) = make_examples(bundle, TITLES, test, bundle.fitted, keeps_repeats=True)
    assert example.shown[0] == Item("10", "Ten", hit=True)


def test_no_test_rows_give_no_examples() -> None:
    bundle = popularity_bundle()
    assert make_examples(bundle, TITLES, held_out(), bundle.fitted) == ()
    assert "Some users" not in render(night(), training(), SCORES, FLOOR, ())


def test_examples_are_spread_over_the_length_of_history() -> None:
    lengths = np.array([9, 1, 5, 3, 7, 5])
    assert lengths[spread_over(lengths, 3)].tolist() == [1, 5, 9]
    assert spread_over(lengths, 3).tolist() == spread_over(lengths.copy(), 3).tolist()
    assert sorted(spread_over(lengths, 10).tolist()) == [0, 1, 2, 3, 4, 5]
    assert spread_over(np.array([4]), 5).tolist() == [0]


def test_plots_are_equal_for_equal_data() -> None:
    for draw in (
        lambda: learning_curve(HISTORY, 2),
        lambda: metric_at_k({"popularity (floor)": FLOOR_CURVES, "mind": CURVES}),
        lambda: step_seconds({"train": 1.0, "total": 3.0}, ["train"]),
    ):
        assert as_svg(draw()) == as_svg(draw())


def test_the_learning_curve_marks_the_best_epoch() -> None:
    figure = learning_curve(HISTORY, 2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Training loss", "Validation NDCG@10"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["epoch 2: 0.0312"]
    assert "epoch 2: 0.0312" in as_svg(figure)


def test_a_training_without_validation_shows_its_loss() -> None:
    figure = learning_curve([{**epoch, "metrics": {}} for epoch in HISTORY[:1]], 1)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Training loss"]


@pytest.mark.parametrize("longest", [1, 2, 10, 20, 100])
def test_metric_at_k_labels_every_line_and_no_cutoff_that_does_not_exist(longest: int) -> None:
    flat = {"ndcg": [0.0] * longest, "recall": [0.0] * longest}
    for axes in metric_at_k({"popularity (floor)": flat, "popularity": flat, "$x^$": flat}).axes:
        assert [text.get_text() for text in axes.texts] == ["popularity\n(floor)", "popularity", "$x^$"]
        heights = [text.get_position()[1] for text in axes.texts]
        assert min(np.diff(heights)) > 0.1
        assert axes.get_xticks()[0] == 1
        assert axes.get_xticks()[-1] <= longest


def test_the_bars_hold_every_second() -> None:
    axes = step_seconds({"ingest": 1.0, "train": 6.0, "total": 10.0}, ["ingest"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ingest", "train", "other"]
    assert [text.get_text() for text in axes.texts] == ["skipped", "6.0 s · 60%", "3.0 s · 30%"]


def test_an_svg_follows_the_page() -> None:
    svg = as_svg(learning_curve(HISTORY, 2))
    assert "var(--ink)" in svg
    assert "#1c2430" not in svg
    assert "xmlns" not in svg
    assert "<?xml" not in svg
    assert 'aria-label="Training loss' in svg


def test_labels_move_apart_but_no_further_than_they_must() -> None:
    assert spread({"a": 0.5, "b": 0.9}, 0.2) == {"a": 0.5, "b": 0.9}
    assert spread({"a": 0.5, "b": 0.55}, 0.2) == pytest.approx({"a": 0.5, "b": 0.7})
    assert spread({"a": 0.95, "b": 0.98}, 0.2) == pytest.approx({"a": 0.8, "b": 1.0})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.123, "0.12 s"), (12.34, "12.3 s"), (250.9, "4 min 10 s"), (7500, "2 h 5 min")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
