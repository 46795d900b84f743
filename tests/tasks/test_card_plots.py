"""The plots of a run: what they draw, and that a page can hold them."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tasks.cards import curves
from tasks.cards.forest import forest
from tasks.cards.look import as_svg, spread
from tasks.cards.plots import duration, learning_beside, learning_curve, metric_at_k, step_seconds
from tests.tasks.cards import CURVES, FLOOR_CURVES, HISTORY, training


def points(line: Line2D) -> list[tuple[float, float]]:
    """What a line goes through."""
    return list(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_plots_are_equal_for_equal_data() -> None:
    for draw in (
        lambda: learning_curve(HISTORY, 2),
        lambda: metric_at_k({"popularity (floor)": FLOOR_CURVES, "mind": CURVES}),
        lambda: step_seconds({"train": 1.0, "total": 3.0}, ["train"]),
        lambda: forest({"champion": {"mean": 0.1, "low": 0.0, "high": 0.2}}, "Difference"),
        lambda: curves.both({"mind": CURVES}),
        lambda: learning_beside({"one": training(), "two": training(history=[])}),
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


def test_the_forest_shows_where_an_interval_lies() -> None:
    """Above zero, below, and across it: three colours; what touches zero is not told apart."""
    by = {"$x^$": (0.1, 0.3), "worse": (-0.3, -0.1), "unclear": (-0.1, 0.1), "touching": (0.0, 0.1)}
    figure = forest({name: {"mean": (a + b) / 2, "low": a, "high": b} for name, (a, b) in by.items()}, "By")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(by)
    zero, *lines = axes.lines
    assert points(zero)[0][0] == 0
    assert [(points(line)[0][0], points(line)[1][0]) for line in lines[::2]] == list(by.values())
    assert [points(line)[0] for line in lines[1::2]] == [(0.2, 0), (-0.2, 1), (0.0, 2), (0.05, 3)]
    colours = [line.get_color() for line in lines[::2]]
    assert len(set(colours[:3])) == 3
    assert colours[3] == colours[2]
    assert axes.texts[0].get_text() == "+0.2000 (+0.1000 to +0.3000)"
    assert as_svg(figure)  # `$x^$` is no formula


def test_a_forest_of_nothing_but_zeros_can_be_drawn() -> None:
    axes = forest({"same": {"mean": 0.0, "low": 0.0, "high": 0.0}}, "By").axes[0]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


def test_whole_curves_are_drawn_as_they_were_measured() -> None:
    figure = curves.both({"popularity (floor)": FLOOR_CURVES, "mind": CURVES})
    roc, precision = figure.axes
    chance, floor, ours = roc.lines
    assert points(chance) == [(0, 0), (1, 1)]
    assert points(ours) == [(0.0, 0.0), (0.5, 0.8), (1.0, 1.0)]
    assert points(precision.lines[1]) == [(0.2, 0.5), (0.4, 0.25), (1.0, 0.125)]
    assert floor.get_linestyle() != ours.get_linestyle()
    assert [legend(axes) for axes in figure.axes] == [["popularity (floor)", "mind"]] * 2


def test_two_floors_are_told_apart() -> None:
    flat = {"ndcg": [0.1, 0.2], "recall": [0.1, 0.2]}
    lines = metric_at_k({"popularity (floor)": flat, "item_knn (floor)": flat, "mind": flat}).axes[0].lines
    dashes = [line._unscaled_dash_pattern for line in lines]  # type: ignore[attr-defined]  # there is no other way
    assert len(set(map(str, dashes))) == 3


def test_trainings_beside_each_other_keep_their_colours() -> None:
    """One without judged epochs has no line, and the other one the colour that it has in every plot."""
    both = learning_beside({"one": training(), "two": training()}).axes[0]
    alone = learning_beside({"one": training(history=[]), "two": training()}).axes[0]
    assert [text.get_text() for text in both.texts] == ["one", "two"]
    assert [text.get_text() for text in alone.texts] == ["two"]
    assert alone.lines[0].get_color() == both.lines[2].get_color() != both.lines[0].get_color()
    assert points(alone.lines[0]) == [(1, 0.01), (2, 0.0312345), (3, 0.02)]
    assert points(alone.lines[1]) == [(2, 0.0312345)]
