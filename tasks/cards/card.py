"""The run card: what a night made, how good it is and why it went out or did not, on one page.

Numbers are rounded here and nowhere before. Every text goes through html.escape: titles and ids come from outside.
"""

from collections.abc import Sequence
from datetime import datetime

from tasks.cards.data import data_facts, data_notes
from tasks.cards.examples import Example
from tasks.cards.look import as_svg
from tasks.cards.night import NightFacts
from tasks.cards.page import card, page
from tasks.cards.plots import step_seconds
from tasks.cards.sections.beside import beside
from tasks.cards.sections.beyond import beyond
from tasks.cards.sections.commands import commands
from tasks.cards.sections.gate import checks
from tasks.cards.sections.model import learning, model
from tasks.cards.sections.quality import quality
from tasks.cards.sections.segments import segments
from tasks.cards.sections.users import users
from tasks.cards.sections.verdict import became, headline, verdict
from tasks.cards.style import STYLE


def render(night: NightFacts, examples: Sequence[Example]) -> str:
    """The whole page."""
    result, champion = night.result, night.rivals.get("champion")
    sections = [
        verdict(result),
        headline(night),
        *beside(night),
        f"<h2>Why it {became(result['decision'])}</h2>",
        checks(result["decision"]["checks"]),
        *quality(night, result["level"]),
        *beyond(night),
        *segments(night),
        *users(examples, night.name, champion.version if champion else None),
        '<div class="columns"><div><h2>The data</h2>',
        data_facts(result),
        "</div><div><h2>The model</h2>",
        model(night),
        "</div></div>",
        *data_notes(result),
        *learning(night.training),
        "<h2>Where the time went</h2>",
        card(as_svg(step_seconds(result["seconds"], result["cached"]))),
        "<h2>More of this</h2>",
        commands(result),
    ]
    at = datetime.fromisoformat(result["as_of"])
    footer = (
        "Intervals: bootstrap over the test users; a difference is taken user by user. p: Wilcoxon's signed-rank test, "
        "which is shown and decides nothing. How the data was judged stands in validation.html, beside this page."
    )
    subtitle = f"night of {at:%Y-%m-%d %H:%M}, run {result['run_id']}"
    return page(f"{night.name} on {result['dataset']}", subtitle, sections, footer, STYLE)
