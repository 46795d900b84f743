"""Whether the feed has stopped: of all that is expected of a dataset, what changes with the date alone."""

from datetime import datetime

from tasks.expect.agree import breaks
from tasks.expect.contract import Verdict
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import suite_of
from tasks.validate.facts import silence
from tasks.validate.judge import ALL_FILES
from tasks.validate.ledger import Ledger
from tasks.validate.result import Finding, finding_of_fact


def silent(ledger: Ledger, checks: ChecksConfig, as_of: datetime) -> list[Finding]:
    """What no longer holds by then if nothing new comes. Cheap: the ledger knows the newest row."""
    nights = ledger.nights
    facts = silence(nights[-1].newest if nights else None, nights, as_of)
    rules = [rule for rule in suite_of(checks)["dataset"] if rule.column in facts]
    broken = [rule for rule in rules if breaks(rule.check, facts[rule.column].value)]
    return [finding_of_fact(ALL_FILES, rule, facts[rule.column], Verdict(False)) for rule in broken]
