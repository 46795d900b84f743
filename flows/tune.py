"""A search for better settings of one model, on the validation rows only; it ends with a night, judged once."""

from typing import Any

from prefect import flow

from flows.config import PipelineConfig, Settings, TuneConfig

ANY = TuneConfig()
HERE = Settings()


@flow(name="tune", flow_run_name="{config.ingest.source} {config.model.name}")
def tune(config: TuneConfig = ANY, settings: Settings = HERE) -> dict[str, Any]:
    """Searches, then runs a night with what was best."""
    raise NotImplementedError(PipelineConfig)


def show(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
