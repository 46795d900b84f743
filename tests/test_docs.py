"""What the documentation says of the configuration is so."""

import re
from pathlib import Path

from flows.config import PipelineConfig, Settings
from flows.options import fields
from models.fitting.objective import RULES
from models.registry import MODELS

TRAINING = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its own two lines."""
    section = TRAINING.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_model_is_described() -> None:
    described = {name for row in rows("Models") for name in re.findall(r"`(\w+)`", row[0])}
    assert described == set(MODELS)


def test_the_table_of_losses_is_the_one_that_is_enforced() -> None:
    said = {
        loss.strip("`"): (tuple(re.findall(r"`(\w+)`", distributions)), int(n) if n.isdigit() else None)
        for loss, _, distributions, n in rows("Losses and negatives")
    }
    assert said == {loss: (rule.distributions, rule.negatives) for loss, rule in RULES.items()}


def test_every_option_that_is_named_exists() -> None:
    options = {name for model in (PipelineConfig, Settings) for name, _, _ in fields(model)}
    sections = {name.rsplit(".", 1)[0] for name in options}
    named = set(re.findall(r"`((?:trainer|sample|model)\.[a-z_.]+\w)(?:=\w+)?`", TRAINING))
    assert len(named) > 15
    assert named <= options | sections
