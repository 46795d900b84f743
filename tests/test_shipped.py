"""Everything that we ship loads: deployments, models, options, help."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.schema_tools.validation import validate as check_schema
from pydantic import BaseModel

from flows.cli import COMMANDS, HELP
from flows.config import PipelineConfig, Settings
from flows.options import fields
from flows.up import POOL, ROOT
from models.registry import MODELS, model_class

PREFECT_YAML = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: dict[str, dict[str, Any]] = {d["name"]: d for d in PREFECT_YAML["deployments"]}
HEAVY = ("torch", "prefect", "mlflow", "pandas", "pydantic")


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DEPLOYMENTS[request.param]


@pytest.fixture
def flow(deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Flow[..., Any]:
    monkeypatch.chdir(ROOT)
    return load_flow_from_entrypoint(deployment["entrypoint"])


def test_deployments_are_these() -> None:
    assert set(DEPLOYMENTS) == {"retrain-nightly", "retrain-manual", "recommend", "compare", "tune"}


def test_deployment_takes_its_parameters(deployment: dict[str, Any], flow: Flow[..., Any]) -> None:
    flow.validate_parameters(deployment["parameters"])


def test_run_form_can_be_sent_back_unchanged(flow: Flow[..., Any]) -> None:
    """Prefect's form fills in every default of the schema and sends all of them."""
    schema = flow.parameters.model_dump()
    defaults = {name: field["default"] for name, field in schema["properties"].items()}
    check_schema(defaults, schema, raise_on_error=True)  # the server's check
    flow.validate_parameters(defaults)  # the flow's own


def test_run_form_explains_every_field(flow: Flow[..., Any]) -> None:
    for name, definition in flow.parameters.model_dump()["definitions"].items():
        for field, content in definition.get("properties", {}).items():
            told = content.get("description") or "$ref" in content or "discriminator" in content or field == "name"
            assert told, f"{name}.{field} has no description in the form"


def test_run_form_offers_every_model() -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT / 'flows' / 'retrain.py'}:retrain")
    model = flow.parameters.model_dump()["definitions"]["PipelineConfig"]["properties"]["model"]
    assert set(model["discriminator"]["mapping"]) == set(MODELS)
    assert len(model["anyOf"]) == len(MODELS)  # a oneOf is shown as raw JSON


def test_deployment_goes_to_the_pool_that_up_serves(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"]["name"] == POOL


def test_schedules_are_valid(deployment: dict[str, Any]) -> None:
    for schedule in deployment["schedules"]:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        ZoneInfo(schedule["timezone"])


def test_only_the_nightly_deployment_is_scheduled() -> None:
    assert {name for name, one in DEPLOYMENTS.items() if one["schedules"]} == {"retrain-nightly"}


def test_a_deployment_never_overlaps_itself(deployment: dict[str, Any]) -> None:
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_deployments_name_no_place_on_this_machine(deployment: dict[str, Any]) -> None:
    assert not Path(deployment["entrypoint"]).is_absolute()
    assert str(ROOT) not in json.dumps(deployment)


@pytest.mark.parametrize("name", MODELS)
def test_registry_line_resolves(name: str) -> None:
    assert model_class(name).Config.model_fields["name"].default == name


def help_texts(config: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in config.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from help_texts(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description or ""


@pytest.mark.parametrize("config", [PipelineConfig, Settings, *(model_class(name).Config for name in MODELS)])
def test_every_field_has_a_help_text(config: type[BaseModel]) -> None:
    assert not [name for name, text in help_texts(config, "") if not text.strip() and name.split(".")[-1] != "name"]


def test_help_of_a_command_lists_every_option() -> None:
    names = [name for name, _, _ in [*fields(PipelineConfig), *fields(Settings)]]
    assert {"ingest.source", "model.name", "gate.margin", "data_dir", "tracking_uri", "as_of"} <= set(names)


def test_help_names_every_command() -> None:
    listed = {line.split()[0] for line in HELP.split("commands\n")[1].split("\n\n")[0].splitlines()}
    assert listed == set(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; from flows.cli import main; main(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
