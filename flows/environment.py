"""Switches of our tools that must be set before they are imported: nobody is phoned, and logs stay readable."""

import logging
import os
import sys

QUIET = {
    "DO_NOT_TRACK": "true",  # MLflow takes only this spelling
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "encore",  # our lines are shown with the flow run, too
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


class OnTerminal(logging.Handler):
    """Prints to what is stderr at that moment: while a progress bar is shown, lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def set_defaults(on_terminal: bool) -> None:
    """What the user has set in the environment stays. On a terminal Prefect's log lines give way to our own.

    Our own are those of the logger `encore`: reports that were asked for, as `trainer.stopping.verbose`, and warnings.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ours = logging.getLogger("encore")
    ours.setLevel(logging.INFO)
    if on_terminal:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        if not any(isinstance(handler, OnTerminal) for handler in ours.handlers):
            ours.addHandler(OnTerminal())
