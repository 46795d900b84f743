"""The ways a run can end badly, each with its exit status and the line that tells the user what to do."""

import re


def without_passwords(text: str) -> str:
    """Without the name and password that a URL in it may carry, also where a careless one has a `/` in it."""
    return re.sub(r"://([^/@\s]+|[^/@\s:]*:[^@\s]+)@", "://", text)


class EncoreError(Exception):
    """A failure that is explained to the user in one line.

    `message` says what is wrong, `hint` what to type or change. Never put a secret in either:
    both are printed, logged and written to the result file.
    """

    kind = "failed"
    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class RunFailed(EncoreError):
    """The machine let us down: disk, permission, network."""


class Busy(EncoreError):
    """Another run holds the dataset."""

    kind = "busy"


class DownloadFailed(EncoreError):
    """A source could not be fetched. The only failure that a retry can mend."""

    kind = "network"


class ConfigError(EncoreError):
    """Wrong option, configuration, path that does not exist, or column mapping."""

    kind = "configuration"
    exit_status = 2


class DataRefused(EncoreError):
    """The data is empty, truncated, unreadable or breaks the contract."""

    kind = "data"
    exit_status = 3

    def __init__(self, message: str, hint: str = "", report: str | None = None) -> None:
        super().__init__(message, hint)
        self.report = report  # path of the validation report, where there is one
