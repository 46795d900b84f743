"""A night as its MLflow run keeps it: one of two that are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.tracking.night_files import read_night

NEEDED = ("config", "result", "training", "scores")


@dataclass(frozen=True)
class Side:
    """One of two nights, as its MLflow run keeps it."""

    label: str
    config: Mapping[str, Any]  # resolved
    result: Mapping[str, Any]
    training: Mapping[str, Any]  # the record of the training
    scores: Mapping[str, Any]  # what the evaluation on all test rows says
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the model, to tell the sides apart: `ease, version 3`."""
        return f"{self.result['model']['config']['name']}, {self.label}"


def load_side(tracking_uri: str, run_id: str, label: str) -> Side | None:
    """None where the run kept nothing, or is gone."""
    kept = read_night(tracking_uri, run_id)
    if not all(name in kept for name in NEEDED):
        return None
    more = {name: kept[name] for name in ("snapshot", "environment") if name in kept}
    return Side(label, *(kept[name] for name in NEEDED), **more)
