"""The step: every user's top K, written whole or not at all, and the pointer that makes it what production serves."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bundle import Bundle
from tasks.errors import DataRefused
from tasks.publish.config import RecommendConfig
from tasks.publish.logic import recommend_all, recommend_some, recommendation_schema
from tasks.publish.pointer import LISTS, switch
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store, Writer


@task(cache_policy=NO_CACHE)
def recommend(
    store: Store,
    samples: SampleRefs,
    trained: TrainedRef,
    version: str,
    run_id: str,
    config: RecommendConfig,
    registered: str = "",
) -> str:
    """Writes the lists of one run's model for every user, those too of whom no row is known. Returns their folder.

    `version` is one of the model that is `registered` under this name."""
    bundle = Bundle.load(store.path(trained.path))
    exclude = config.seen == "exclude" and not samples.split.keeps_repeats
    tables = recommend_all(bundle, config.k, exclude, version)
    return write_lists(store, f"recommendations/run={run_id}", bundle, tables, version, registered)


def recommend_champion(
    store: Store, bundle: Bundle, version: str, name: str, config: RecommendConfig, registered: str = ""
) -> str:
    """Writes a registered version's lists for all or the given users, from the bundle alone. Returns their folder."""
    exclude = config.seen == "exclude"
    if config.users:
        tables: Iterable[pa.Table] = [recommend_some(bundle, list(config.users), config.k, exclude, version)]
    else:
        tables = recommend_all(bundle, config.k, exclude, version)
    return write_lists(store, f"recommendations/{name}", bundle, tables, version, registered)


def write_lists(
    store: Store,
    folder: str,
    bundle: Bundle,
    tables: Iterable[pa.Table],
    version: str,
    registered: str = "",
) -> str:
    """Streams the tables into one Parquet file. Raises DataRefused when nobody would be shown anything."""

    def write(writer: Writer) -> dict[str, Any]:
        rows = 0
        with pq.ParquetWriter(writer.path(LISTS), recommendation_schema(bundle), compression="zstd") as file:
            for table in tables:
                file.write_table(table)
                rows += table.num_rows
        if not rows:
            raise DataRefused("no user has an item left to be shown", "set --recommend.seen=include")
        return {"rows": rows, "model_version": version, "registered_model": registered, "dataset": bundle.dataset}

    return store.build(folder, write).path


@task(cache_policy=NO_CACHE)
def publish(store: Store, dataset: str, folder: str) -> str:
    """Makes these lists what production serves. Returns the path that readers use."""
    return switch(store, dataset, folder)
