"""Whole nights in this process, two seconds each: the steps run as plain functions, without Prefect's engine."""

from typing import Any

import pytest

from flows.clock import Clock


def as_plain_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Prefect adds to steps and flows has tests of its own."""
    call = Clock.__call__

    def plainly(clock: Clock, step: str, work: Any, *args: Any) -> Any:
        return call(clock, step, getattr(work, "fn", work), *args)

    monkeypatch.setattr(Clock, "__call__", plainly)
    monkeypatch.setattr("flows.retrain.create_markdown_artifact", lambda *args, **kwargs: None)
