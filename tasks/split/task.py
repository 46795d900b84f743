"""The step: one snapshot in, train, valid, test and the id maps out."""

from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.pairs_file import content_hash, read_candidates, read_pairs
from tasks.split.assemble import Split, assemble, drop_repeats
from tasks.split.audit import audit
from tasks.split.config import SplitConfig
from tasks.split.given import given
from tasks.split.leave_last_out import leave_last_out
from tasks.split.parts import Log, PartArray, make_log
from tasks.split.random import random
from tasks.split.temporal import temporal
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, SnapshotRef, SplitRefs
from tasks.store.store import Store, Writer


@task(cache_policy=NO_CACHE)
def split(
    store: Store,
    snapshot: SnapshotRef,
    config: SplitConfig,
    min_rating: float | None = None,
    candidates: str | None = None,
) -> SplitRefs:
    """Splits the snapshot, or finds the split that is there already."""
    outside = [content_hash(config.test, "split.test"), content_hash(config.valid, "split.valid")]
    outside.append(content_hash(candidates, "evaluate.candidates"))
    key = make_key(__name__, snapshot.hash, snapshot.dataset, config, min_rating, outside)

    def write(writer: Writer) -> dict[str, Any]:
        log = make_log(_rows(store, snapshot.interactions), min_rating)
        features = (_features(store, snapshot.users), _features(store, snapshot.items))
        protocol, made = split_log(log, config, features, candidates)
        parts = {name: writer.table(name, table) for name, table in vars(made).items() if table is not None}
        return {"protocol": protocol, "parts": {name: vars(ref) for name, ref in parts.items()}}

    built = store.build(f"prepared/{key}", write)
    parts = {name: DatasetRef(**ref) for name, ref in built.manifest["parts"].items()}
    return SplitRefs(
        snapshot.dataset,
        key,
        built.manifest["protocol"],
        config.repeats == "keep",
        snapshot,
        **parts,
        cached=built.cached,
    )


def split_log(
    log: Log,
    config: SplitConfig,
    features: tuple[pa.Table | None, pa.Table | None] = (None, None),
    candidates: str | None = None,
) -> tuple[str, Split]:
    """Assigns every row to its part, audits the split and builds its tables. Returns the protocol it used, too."""
    protocol = config.protocol or ("temporal" if log.time_R is not None else "random")
    keeps = config.repeats == "keep"
    given_test = None
    if protocol == "given":
        given_test, judged = _given_rows(config, candidates)
        log = log.without(judged)  # given rows only judge, also where they were ingested
    part_R = _assign(log, protocol, config)
    if not keeps:
        part_R = drop_repeats(log, part_R)
    audit(log, part_R, protocol, keeps)
    return protocol, assemble(log, part_R, given_test, features)


def _assign(log: Log, protocol: str, config: SplitConfig) -> PartArray:
    if protocol == "temporal":
        return temporal(log, config)
    if protocol == "leave_last_out":
        return leave_last_out(log)
    if protocol == "random":
        return random(log, config)
    return given(log, config, read_pairs(config.valid, "split.valid") if config.valid else None)


def _given_rows(config: SplitConfig, candidates: str | None) -> tuple[pa.Table, pa.Table]:
    """The test rows, and all pairs that only judge: these and the relevant candidates."""
    tables = [read_pairs(config.test, "split.test")] if config.test else []
    if candidates is not None:
        rows = read_candidates(candidates)
        tables.append(rows.filter(rows["relevant"]).select(["user_id", "item_id"]))
    return tables[0], pa.concat_tables(tables)  # the configuration refuses `given` without either


def _rows(store: Store, refs: tuple[DatasetRef, ...]) -> pa.Table:
    return pa.concat_tables([store.read(ref) for ref in refs])


def _features(store: Store, refs: tuple[DatasetRef, ...]) -> pa.Table | None:
    return pa.concat_tables([store.read(ref) for ref in refs], promote_options="default") if refs else None
