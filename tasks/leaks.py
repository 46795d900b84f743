"""Audits of what later steps learn from and are judged by. What is found is a fault of ours: it stops the night."""

from collections.abc import Mapping
from typing import Any

from tasks.errors import EncoreError
from tasks.expect.agree import judge_facts
from tasks.expect.contract import Between, Rule

Findings = list[dict[str, Any]]
"""Of an audit: `sentence` and `passed` for each expectation, as they are kept and shown."""


class LeakFound(EncoreError):
    """A table knows what it must not know, or is not what it says it is."""

    kind = "leak"


def audited(name: str, violations: Mapping[str, int], sentences: Mapping[str, str]) -> Findings:
    """Great Expectations judges the facts: of each, how many rows break its sentence. Raises LeakFound for any."""
    from tasks.expect.suite import judge  # late: only who builds something pays for the import

    rules = tuple(Rule(sentences[fact], fact, Between(0, 0)) for fact in violations)
    verdicts = judge_facts(name, violations, rules, judge)
    findings = [
        {"sentence": rule.sentence, "passed": verdict.passed} for rule, verdict in zip(rules, verdicts, strict=True)
    ]
    broken = [
        f"{rule.sentence}: {violations[rule.column]:,} do not"
        for rule, found in zip(rules, findings, strict=True)
        if not found["passed"]
    ]
    if broken:
        raise LeakFound(f"the audit of the {name} failed: {'; '.join(broken)}", "this is a bug: please report it")
    return findings
