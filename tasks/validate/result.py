"""What a validation found, and the one line that a refusal says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One expectation, judged on one file or on the whole dataset."""

    table: str  # interactions | users | items | dataset
    source: str  # the file as a person calls it
    expectation: str  # the sentence
    passed: bool
    n_failing: int
    n_total: int  # rows looked at; 0 where the expectation is not about rows
    examples: tuple[str, ...] = ()  # such as "row 17: user_id=null"
    observed: str = ""  # what was found instead of, or within, the limits
    setting: str = ""  # the option that moves the limit, where there is one


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
class Validation:
    """All findings of a night, in the order of the files and of the contract."""

    findings: tuple[Finding, ...]
    counts: Counts

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def passed(self) -> bool:
        """Fails closed: no finding is no pass."""
        return bool(self.findings) and not self.failed


def refusal(validation: Validation) -> tuple[str, str]:
    """The one-line message, and the hint which options could let such data in. The report's path is added by the task.

    Raises ValueError where nothing failed."""
    if not validation.failed:
        raise ValueError("nothing failed")
    first, *further = validation.failed
    message = sentence(first)
    if further:
        message += f"; {len(further):,} further expectation{'s' * (len(further) > 1)} failed"
    settings = sorted({finding.setting for finding in validation.failed if finding.setting})
    return message, "mend the file" + (f" or change {', '.join(settings)}" if settings else "")


def sentence(finding: Finding) -> str:
    """What a finding that failed says of itself, in one line."""
    if not finding.n_total:
        return f'{finding.source}: "{finding.expectation}" does not hold (found {finding.observed})'
    example = f" ({finding.examples[0]})" if finding.examples else ""
    verb = "breaks" if finding.n_failing == 1 else "break"
    return (
        f'{finding.source}: {finding.n_failing:,} of {finding.n_total:,} rows {verb} "{finding.expectation}"{example}'
    )
