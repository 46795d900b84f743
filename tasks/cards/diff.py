"""The diff card: two nights beside each other, and only what differs of what they were told."""

from html import escape

from tasks.cards.numbers import colour, difference, metric, metric_name, share
from tasks.cards.page import banner, page, tiles
from tasks.cards.pairing import Diff
from tasks.cards.sections.changes import changed, decisions, lists_of
from tasks.cards.sections.compared import both_beyond, both_curves, both_segments, difference_plot, metric_table
from tasks.cards.settings import changed_data, changed_environment, changed_settings
from tasks.cards.style import STYLE
from tasks.differences import LEAD

PAIRED = {
    "same test": "The same test rows judged both: differences are taken user by user, over {n} users.",
    "beside": "One was judged beside the other: differences are taken user by user, on the rows of {n} users that "
    "neither was fitted on.",
    "none": "Different test rows judged them: these are differences of means, and much of one may be the tests'. "
    "Intervals treat the two tests as independent.",
}


def render(diff: Diff) -> str:
    """The whole page."""
    one, other = diff.one, diff.other
    result = other.result
    sections = [
        _verdict(diff),
        _headline(diff),
        "<h2>Is it better?</h2>",
        *difference_plot(diff),
        metric_table(diff),
        *changed("What they were told differently", changed_settings(one, other), one, other),
        *both_curves(one, other),
        *both_beyond(one, other),
        *both_segments(one, other),
        *lists_of(diff.lists, one, other),
        "<h2>What became of them</h2>",
        decisions(one, other),
        *changed("What they saw", changed_data(one, other), one, other),
        *changed("What they ran on differently", changed_environment(one, other), one, other),
    ]
    subtitle = f"{other.name}, compared with {one.name}"
    footer = (
        "Differences: the second minus the first. Intervals: bootstrap over the test users. p: Wilcoxon's signed-rank "
        "test, which is shown and decides nothing."
    )
    return page(f"{one.label} and {other.label} on {result['dataset']}", subtitle, sections, footer, STYLE)


def in_words(diff: Diff) -> str:
    """In one line, which is better, or that it cannot be told."""
    if (by := diff.differences.get(LEAD)) is None:
        return "They were judged by nothing in common"
    judged = {" good": "is better than", " bad": "is worse than", "": "cannot be told apart from"}
    word = judged[colour(by["low"], by["high"])]
    return f"{diff.other.name} {word} {diff.one.name}: {metric_name(LEAD)} {difference(by)}"


def pairing_in_words(diff: Diff) -> str:
    """How the differences were taken."""
    return PAIRED[diff.pairing].format(n=f"{diff.n_users:,}" if diff.n_users is not None else "")


def _verdict(diff: Diff) -> str:
    by = diff.differences.get(LEAD)
    kind = (colour(by["low"], by["high"]) if by else "").strip() or "warn"
    return banner(kind, in_words(diff), escape(pairing_in_words(diff)))


def _headline(diff: Diff) -> str:
    before, after = (side.scores["means"][f"test/{LEAD}"] for side in (diff.one, diff.other))
    lists, name = diff.lists, metric_name(LEAD)
    return tiles(
        [
            (diff.one.name, metric(before), f"{name} on its own test"),
            (diff.other.name, metric(after), f"{name} on its own test"),
            ("settings changed", str(len(changed_settings(diff.one, diff.other))), _same_data(diff)),
            ("of a list stays", share(lists.overlap) if lists else "–", "of the first ten items"),
        ]
    )


def _same_data(diff: Diff) -> str:
    return "same data" if diff.one.result["snapshot"] == diff.other.result["snapshot"] else "other data"
