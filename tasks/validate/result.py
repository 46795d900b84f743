"""What a validation found, and the one line that a refusal says."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.expect.contract import Rule, Severity, Verdict


@dataclass(frozen=True)
class Figure:
    """A fact about all files together: the number that is judged, and the rows behind it."""

    value: float
    n_failing: int = 0
    n_total: int = 0  # 0 where the fact is not about rows
    examples: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True)
class Count:
    """How many rows of a file break a rule, out of how many, and examples of them."""

    n_failing: int
    n_total: int  # 0 where the rule is not about rows
    examples: tuple[str, ...] = ()  # such as "row 17: user_id=null"
    observed: str = ""  # what was found instead of, or within, the limits


@dataclass(frozen=True)
class Finding:
    """One expectation, judged on one file or on the whole dataset."""

    table: str  # interactions | users | items | dataset
    source: str  # the file as a person calls it
    expectation: str  # the sentence
    passed: bool
    n_failing: int
    n_total: int  # rows looked at; 0 where the expectation is not about rows
    examples: tuple[str, ...] = ()
    observed: str = ""
    setting: str = ""  # the option that moves the limit, where there is one
    severity: Severity = "night"


def finding(table: str, source: str, rule: Rule, counted: Count, verdict: Verdict) -> Finding:
    return Finding(
        table,
        source,
        rule.sentence,
        verdict.passed,
        counted.n_failing,
        counted.n_total,
        counted.examples,
        counted.observed,
        rule.setting,
        rule.severity,
    )


def finding_of_fact(source: str, rule: Rule, figure: Figure, verdict: Verdict) -> Finding:
    """Where a fact is about rows, those are counted; else it fails once or not at all."""
    n_failing = figure.n_failing if figure.n_total else int(not verdict.passed)
    counted = Count(n_failing, figure.n_total, figure.examples, figure.shown or f"{figure.value:g}")
    return finding("dataset", source, rule, counted, verdict)


@dataclass(frozen=True)
class Counts:
    """Where the interactions went: every row that was read is accounted for once."""

    read: int
    accepted: int
    duplicates: int
    quarantined: int = 0

    def __post_init__(self) -> None:
        if self.accepted + self.duplicates + self.quarantined != self.read:
            raise ValueError(f"rows are lost: {self}")


@dataclass(frozen=True)
class Distribution:
    """Rows by the value of one column: tonight's, and those of the last good night."""

    column: str
    labels: tuple[str, ...]
    today: tuple[int, ...]  # rows of each label
    before: tuple[int, ...]


@dataclass(frozen=True)
class Validation:
    """All findings of a night, in the order of the files and of the contract, and what the page shows beside them."""

    findings: tuple[Finding, ...]
    counts: Counts
    reasons: tuple[tuple[str, int], ...] = ()  # why rows are in quarantine, and how many, the commonest first
    distributions: tuple[Distribution, ...] = ()
    notes: tuple[str, ...] = ()  # on the delivery: which files are new, changed, repeated, late

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What refuses the night."""
        return self._broken("night")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is only shown."""
        return self._broken("warning")

    @property
    def quarantined(self) -> tuple[Finding, ...]:
        """What put rows into quarantine."""
        return self._broken("row")

    @property
    def passed(self) -> bool:
        """Fails closed: no finding is no pass."""
        return bool(self.findings) and not self.failed

    def _broken(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(found for found in self.findings if not found.passed and found.severity == severity)


def refusal(validation: Validation) -> tuple[str, str]:
    """The one-line message, and the hint which options could let such data in. The report's path is added by the task.

    Raises ValueError where nothing failed."""
    if not validation.failed:
        raise ValueError("nothing failed")
    first, *further = validation.failed
    message = sentence(first)
    if further:
        message += f"; {len(further):,} further expectation{'s' * (len(further) > 1)} failed"
    if validation.quarantined:
        message += f"; in quarantine: {sentence(max(validation.quarantined, key=lambda found: found.n_failing))}"
    settings = sorted({found.setting for found in (*validation.failed, *validation.quarantined) if found.setting})
    return message, "mend the file" + (f" or change {', '.join(settings)}" if settings else "")


def sentence(found: Finding) -> str:
    """What a finding that failed says of itself, in one line."""
    if not found.n_total:
        return f'{found.source}: "{found.expectation}" does not hold (found {found.observed})'
    example = f" ({found.examples[0]})" if found.examples else ""
    verb = "breaks" if found.n_failing == 1 else "break"
    return f'{found.source}: {found.n_failing:,} of {found.n_total:,} rows {verb} "{found.expectation}"{example}'


def reasons_of(counts: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Rows by reason, of several files, added up; the commonest first, equally common ones by name."""
    total: dict[str, int] = {}
    for reason, n_rows in counts:
        total[reason] = total.get(reason, 0) + n_rows
    return tuple(sorted(total.items(), key=lambda entry: (-entry[1], entry[0])))
