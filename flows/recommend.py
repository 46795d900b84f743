"""`encore recommend`: the champion's lists again, from the registered model alone."""

from typing import Any

from prefect import flow

from flows.clock import Clock
from flows.command import process_start
from flows.config import PipelineConfig, Settings
from flows.crown import other_owner
from tasks.errors import ConfigError
from tasks.publish.pointer import LISTS
from tasks.publish.task import publish, recommend_champion
from tasks.store.lease import lease
from tasks.tracking.registry import find_champion, load_champion

ANY = PipelineConfig()
HERE = Settings()


@flow(name="recommend")
def recommend(config: PipelineConfig = ANY, settings: Settings = HERE) -> dict[str, Any]:
    """Writes the champion's top K for all users, and publishes it; for `recommend.users` only writes theirs."""
    config, settings = config.resolved(), settings.resolved()
    store, clock = settings.store, Clock(process_start())
    champion = find_champion(settings.tracking_uri, config.registered_model)
    if champion is None:
        raise ConfigError(
            f"{config.registered_model!r} has no champion in {settings.tracking_uri}",
            "run encore retrain first, or name another --registered_model or --ingest.name",
        )
    with lease(store, config.dataset):
        if not config.recommend.users and (others := other_owner(store, config.dataset, champion.name)):
            raise ConfigError(*others[0].split("; ", 1))
        bundle = load_champion(settings.tracking_uri, champion, config.dataset)
        name = f"run={champion.run_id}-{settings.night:%Y%m%dT%H%M%S}"
        ours = (bundle, champion.version, name, config.recommend, champion.name)
        lists = clock("recommend", recommend_champion, store, *ours)
        if not config.recommend.users:
            clock("recommend", publish, store, config.dataset, lists)
    path = f"{lists}/{LISTS}"
    return {
        "dataset": config.dataset,
        "model": {"name": champion.name, "version": champion.version},
        "run_id": champion.run_id,
        "rows": store.manifest(lists)["rows"],
        "data_dir": str(settings.data_dir),
        "recommendations": str(store.path(path)),
        "published": None if config.recommend.users else str(store.path(f"published/{config.dataset}/{LISTS}")),
        "seconds": clock.total(),
    }
