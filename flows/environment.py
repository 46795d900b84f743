"""Switches of our tools that must be set before they are imported: nobody is phoned, and logs stay readable."""

import os

QUIET = {
    "DO_NOT_TRACK": "true",  # MLflow takes only this spelling
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def set_defaults(on_terminal: bool) -> None:
    """What the user has set in the environment stays. On a terminal Prefect's log lines give way to our own."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if on_terminal:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
