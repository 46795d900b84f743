"""What comes first on a night's page: what became of the model, and the figures that say how good it is."""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tasks.cards.night import FLOOR, NightFacts
from tasks.cards.numbers import interval, metric, signed
from tasks.cards.page import banner, tiles
from tasks.cards.plots import duration
from tasks.cards.sections.commands import whose


def verdict(result: Mapping[str, Any]) -> str:
    """Promoted or not; of a refusal, what failed and what production serves instead."""
    model, decision = result["model"], result["decision"]
    version = f"{model['name']} version {model['version']}"
    if decision["promote"]:
        more = " It was trained once more on everything, test rows included." if result["on_everything"] else ""
        return banner("good", f"✓ Promoted: {version}", f"It is the champion now: production serves its lists.{more}")
    stays = (
        f"Version {model['champion']} stays the champion."
        if model["champion"]
        else "There is no champion yet: production serves the floor."
    )
    failed = "".join(
        f"<li>{escape(check['name'])}: {escape(check['detail'])}</li>"
        for check in decision["checks"]
        if not check["passed"]
    )
    if decision["awaits_approval"]:
        typed = shlex.join(["encore", "promote", model["version"], *whose(result), "--reason=..."])
        return banner("warn", f"Waiting: {version}", f"{escape(stays)} To let it out: <code>{escape(typed)}</code>")
    return banner("bad", f"✗ Refused: {version}", f"{escape(stays)}<ul>{failed}</ul>")


def became(decision: Mapping[str, Any]) -> str:
    """In a few words."""
    if decision["promote"]:
        return "was promoted"
    return "waits for approval" if decision["awaits_approval"] else "was refused"


def headline(night: NightFacts) -> str:
    """The figures that are read first."""
    result, scores, training = night.result, night.scores, night.training
    return tiles(
        [
            ("NDCG@10", metric(scores["means"]["test/ndcg_at_10"]), interval(scores["intervals"]["test/ndcg_at_10"])),
            _better_than(night),
            ("test users", f"{scores['users']['test']:,}", f"{result['protocol']} split"),
            ("training", duration(training["seconds"]), _speed(training)),
            ("the whole night", duration(result["seconds"]["total"]), _skipped(result["cached"])),
            ("peak memory", f"{result['peak_mb']:,.0f} MB", "all processes"),
        ]
    )


def _better_than(night: NightFacts) -> tuple[str, str, str]:
    """Beside the champion, on the first night beside popularity."""
    whom = next((whom for whom in ("champion", FLOOR) if whom in night.differences), None)
    if whom is None:
        return "against popularity", "–", "this is the floor"
    by = night.differences[whom]["ndcg_at_10"]
    return (
        f"against {'the champion' if whom == 'champion' else whom}",
        signed(by["mean"]),
        f"{signed(by['low'])} to {signed(by['high'])}",
    )


def _speed(training: Mapping[str, Any]) -> str:
    speed = training["samples_per_second"]
    return f"{speed:,.0f} samples/s" if speed else "without epochs"


def _skipped(cached: Sequence[str]) -> str:
    return f"skipped: {', '.join(cached)}" if cached else "nothing was skipped"
