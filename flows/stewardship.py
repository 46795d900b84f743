"""`encore quarantine` and `encore erase`: what became of refused rows, and how a person is forgotten."""

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from flows.commands import EraseConfig, QuarantineConfig
from flows.config import Settings
from flows.stewarded import print_erase, print_quarantine
from tasks.erase.person import Person, remember, was_erased
from tasks.errors import ConfigError, DataRefused
from tasks.expect.contract import HasRows, Unique
from tasks.expect.sql import predicate
from tasks.ingest.sources.base import Part
from tasks.ingest.sources.shape import interactions
from tasks.quarantine.listing import listing
from tasks.quarantine.mending import MENDED, check_ids, check_name, export, keep, place_of, read_mended
from tasks.quarantine.rows import held, make_views
from tasks.schema import UNREAD
from tasks.store.engine import Engine, engine
from tasks.store.lease import lease
from tasks.store.store import Store
from tasks.store.traces import Trace
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import rows_of
from tasks.validate.forget import LakeTraces, find_in_lake
from tasks.validate.incoming import FIRST_DATE_US
from tasks.validate.lake import read_partition
from tasks.validate.ledger import read_ledger
from tasks.validate.text import cell


def quarantine(config: QuarantineConfig, settings: Settings) -> dict[str, Any]:
    """Lists what was refused; hands it out to be mended, or takes mended rows in with the next night.

    Raises ConfigError for a dataset or file that does not exist, DataRefused for mended rows that are none."""
    settings = settings.resolved()
    store, dataset = settings.store, config.ingest.dataset
    if config.export and config.take:
        raise ConfigError("export and take exclude each other", "export, mend the file, then take it")
    for option, path in (("export", config.export), ("take", config.take)):
        if path is not None:
            check_name(path, option)
    _refuse_unknown(store, dataset)
    with lease(store, dataset), engine(store) as opened:
        found = held(opened, dataset, _in_lake(store, dataset))
        make_views(opened, dataset, found, None if config.take else config.reason)
        moved: dict[str, Any] = {"exported": None, "taken_now": None}
        if config.take is not None:
            moved["taken_now"] = _take(opened, dataset, config.take, settings.night)
            make_views(opened, dataset, found, config.reason)
        if config.export is not None:
            moved["exported"] = {"file": config.export, "rows": export(opened, config.export)}
        told = {"dataset": dataset, "data_dir": str(settings.data_dir), "reason": config.reason}
        return {**told, **listing(opened), **moved}


def erase(config: EraseConfig, settings: Settings) -> dict[str, Any]:
    """Takes a person out of everything that is kept of a dataset. Run again, it finishes what a kill cut short.

    Raises ConfigError where the dataset knows no such user and never did."""
    settings = settings.resolved()
    store, dataset = settings.store, config.ingest.dataset
    _refuse_unknown(store, dataset)
    person = Person(dataset, config.user, cell(config.user))
    with lease(store, dataset), engine(store) as opened:
        if not config.dry_run:
            store.sweep()
        known = was_erased(store, person)
        lake, traces = _find(opened, person, config, settings)
        if not traces and not known:
            raise ConfigError(
                f"dataset {dataset!r} knows no such user",
                "write the id as the log has it, and name the dataset: --ingest.name=NAME",
            )
        if not config.dry_run:
            remember(store, person)  # first of all: no night may bring the rows back
            for trace in traces:
                trace.clear()
    return {
        "dataset": dataset,
        "data_dir": str(settings.data_dir),
        "dry_run": config.dry_run,
        "erased_before": known,
        "traces": [{"place": t.place, "name": t.name, "change": t.change, "rows": t.rows} for t in traces],
        "unreproducible": {
            "snapshots": list(lake.snapshots),
            "versions": [trace.name for trace in traces if trace.place == "models"],
        },
    }


def _refuse_unknown(store: Store, dataset: str) -> None:
    """Raises ConfigError for a dataset that no night has seen."""
    if not any(store.path(f"{place}/{dataset}").is_dir() for place in ("lake", "quarantine", "staging")):
        known = sorted({path.name for place in ("lake", "quarantine") for path in store.path(place).glob("*")})
        raise ConfigError(
            f"there is no dataset {dataset!r} in {store.root}",
            f"name one by --ingest.name: {', '.join(known)}"
            if known
            else "set --data_dir, or run encore retrain first",
        )


def _in_lake(store: Store, dataset: str) -> dict[str, int]:
    """How many rows are in quarantine of each content that the dataset consists of."""
    partitions = (read_partition(store, entry.partition) for entry in read_ledger(store, dataset).entries)
    return {one.origin.sha256: one.tally.quarantined for one in partitions if one is not None}


def _take(opened: Engine, dataset: str, path: str, as_of: datetime) -> dict[str, Any]:
    """Lets the rows of a mended file wait for the next night, all of them or none."""
    table = read_mended(path)
    numbers_R = np.arange(1, table.num_rows + 1, dtype=np.int64)
    part = Part(table.drop_columns("quarantine_id"), numbers_R, UNREAD.empty_table())
    block = next(iter(interactions([part], path)))
    for bad in block.unread.slice(0, 1).to_pylist():
        raise DataRefused(
            f"{path}: {block.unread.num_rows:,} of {table.num_rows:,} rows cannot be read, such as row "
            f"{bad['source_row']}: {bad['problem']}",
            "mend them, or leave them out of the file",
        )
    rows = block.rows.drop_columns("source_row").append_column("quarantine_id", table["quarantine_id"])
    rows = pa.table({field.name: rows[field.name].cast(field.type) for field in MENDED})
    place = place_of(dataset, rows)
    if was_there := opened.store.path(place).is_file():
        return {"file": place, "rows": rows.num_rows, "before": was_there}
    check_ids(opened, table, path)
    _refuse_bad(opened, rows, path, as_of)
    keep(opened, place, rows)
    return {"file": place, "rows": rows.num_rows, "before": was_there}


def _refuse_bad(opened: Engine, rows: pa.Table, path: str, as_of: datetime) -> None:
    """Raises DataRefused for rows that hardly any night would take in, such as one without an item: in a small file a
    single one is a share that refuses the night, and every night after it."""
    opened.put("mended_rows", rows)
    newest = opened.one("SELECT coalesce(max(epoch_us(timestamp)), 0) FROM mended_rows")[0]
    for rule in rows_of("interactions", ChecksConfig(), as_of, newest >= FIRST_DATE_US):
        if rule.severity != "row" or isinstance(rule.check, HasRows | Unique):
            continue
        broken = f"SELECT count(*), min(quarantine_id) FROM mended_rows WHERE {predicate(rule)}"
        n_rows, example = opened.one(broken)
        if n_rows:
            raise DataRefused(
                f'{path}: {n_rows:,} of {rows.num_rows:,} rows still break "{rule.sentence}", such as {example}',
                "mend them, or leave them out of the file",
            )


def _find(opened: Engine, person: Person, config: EraseConfig, settings: Settings) -> tuple[LakeTraces, list[Trace]]:
    """Everything that is kept of the person, in the order in which it is cleared: MLflow is asked first, and changed
    last."""
    from tasks.erase.kept import find_kept  # torch and MLflow: seconds, which a listing does not need
    from tasks.erase.tracked import find_tracked
    from tasks.tracking.forgetting import kept_of, versions_of

    tracked = kept_of(settings.tracking_uri, person.dataset)
    versions = versions_of(settings.tracking_uri, config.model)
    titles = {
        model: f"{config.model} version {number}{', the champion' if is_champion else ''}"
        for model, (number, is_champion) in versions.items()
    }
    lake = find_in_lake(opened, person.dataset, person.user_id)
    traces = [*lake.traces, *find_kept(opened, person, lake.left), *find_tracked(person, tracked, titles)]
    return lake, traces


def show_quarantine(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_quarantine(result)


def show_erase(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_erase(result)
