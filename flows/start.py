"""The commands as a terminal has them: an unchanged night is recognised at once, only a real one pays for Prefect."""

from typing import Any

from flows.config import CompareConfig, PipelineConfig, Settings, TuneConfig
from flows.server import start_prefect_api
from flows.unchanged import night_key, skip_unchanged
from tasks.ingest.sources.registry import identify


def retrain_or_skip(config: PipelineConfig, settings: Settings, started: float) -> dict[str, Any]:
    """Runs the night, or shows the earlier one that had the same data, configuration and code."""
    from flows.summary import show

    store = settings.store
    store.prepare()
    files = identify(config.ingest, store)
    result = skip_unchanged(store, config, settings, night_key(config, files, store), started)
    if result is None:
        wait_for_api = start_prefect_api()
        from flows.retrain import retrain

        wait_for_api()
        result = retrain(config, settings)
    show(result)
    return result


def compare_and_show(config: CompareConfig, settings: Settings) -> dict[str, Any]:
    """Runs the comparison and prints its leaderboard, also where some of the models failed."""
    wait_for_api = start_prefect_api()
    from flows.compare import ModelsFailed, compare
    from flows.leaderboard import show

    wait_for_api()
    try:
        result: dict[str, Any] = compare(config, settings)
    except ModelsFailed as error:
        show(error.result)
        raise
    show(result)
    return result


def tune_and_show(config: TuneConfig, settings: Settings) -> dict[str, Any]:
    """Runs the search and the night that ends it, and prints both."""
    wait_for_api = start_prefect_api()
    from flows.tune import show, tune

    wait_for_api()
    result: dict[str, Any] = tune(config, settings)
    show(result)
    return result


def recommend_and_show(config: PipelineConfig, settings: Settings) -> dict[str, Any]:
    """Runs the recommend flow and says where the lists lie."""
    wait_for_api = start_prefect_api()
    from flows.recommend import recommend

    wait_for_api()
    result: dict[str, Any] = recommend(config, settings)
    print(f"{result['rows']:,} rows by {result['model']['name']} version {result['model']['version']}")
    print(f"lists      {result['recommendations']}")
    if result["published"]:
        print(f"published  {result['published']}")
    return result
