"""The step: one snapshot in, train, valid, test and the id maps out. Rows pass through in blocks, never as a whole."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DataRefused
from tasks.pairs_file import content_hash, read_candidates, read_pairs
from tasks.schema import RATED_ROWS, SPLIT_ROWS, TEST_ROWS
from tasks.split.active import Active, find_active
from tasks.split.assign import Tally, chosen_protocol, fill, make_assign
from tasks.split.audit.check import audit, within
from tasks.split.audit.claim import Claim
from tasks.split.config import Positives, SplitConfig
from tasks.split.everything import EVERYTHING
from tasks.split.kinds import notes
from tasks.split.log import open_log
from tasks.split.parts import Part
from tasks.split.shelf import Shelf
from tasks.split.tables import Maps, blocks_of, given_rows, rated_rows, strangers, test_rows, train_rows, valid_rows
from tasks.store.atomic import scratch_folder
from tasks.store.engine import engine
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, SnapshotRef, SplitRefs
from tasks.store.store import Store, Writer

ALL = Positives()


@dataclass(frozen=True)
class Pairs:
    """Rows from files: what judges, what must not be learned from, and what chooses the epoch."""

    test: pa.Table | None = None
    judged: pa.Table | None = None
    chosen: pa.Table | None = None


@task(cache_policy=NO_CACHE)
def split(
    store: Store,
    snapshot: SnapshotRef,
    config: SplitConfig,
    positives: Positives = ALL,
    candidates: str | None = None,
) -> SplitRefs:
    """Splits the snapshot, or finds the split that is there already. Raises LeakFound, and then keeps nothing."""
    return _split(store, snapshot, config, positives, candidates)


@task(cache_policy=NO_CACHE)
def keep_everything(
    store: Store,
    snapshot: SnapshotRef,
    config: SplitConfig,
    positives: Positives = ALL,
    candidates: str | None = None,
) -> SplitRefs:
    """All ingested rows to learn from, none to choose or judge by: for what goes out after it was judged by `split` of
    the same arguments. Rows of files that only judge stay out. Raises LeakFound, and then keeps nothing."""
    return _split(store, snapshot, config, positives, candidates, EVERYTHING)


def _split(
    store: Store,
    snapshot: SnapshotRef,
    config: SplitConfig,
    positives: Positives,
    candidates: str | None,
    protocol: str | None = None,
) -> SplitRefs:
    """`protocol`: instead of the configuration's own."""
    outside = [content_hash(config.test, "split.test"), content_hash(config.valid, "split.valid")]
    outside.append(content_hash(candidates, "evaluate.candidates"))
    key = make_key(__name__, snapshot.hash, snapshot.dataset, config, positives, outside, protocol)

    def write(writer: Writer) -> dict[str, Any]:
        pairs = read_given(config, candidates) if config.protocol == "given" else Pairs()
        if protocol == EVERYTHING:
            pairs = Pairs(judged=pairs.judged)
        parts, claim = write_split(store, writer, snapshot, config, positives, pairs, protocol)
        findings = audit(store, within(store, writer, parts), claim, pairs.judged)
        refs = {name: vars(ref) for name, ref in parts.items()}
        told = {"protocol": claim.protocol, "weighted": bool(positives.events), "made_from": snapshot.made_from}
        odd = notes(store, snapshot.interactions, positives)
        return {**told, "parts": refs, "audit": findings, "notes": odd}

    built = store.build(f"prepared/{key}", write)
    parts = {name: DatasetRef(**ref) for name, ref in built.manifest["parts"].items()}
    return SplitRefs(
        snapshot.dataset,
        key,
        built.manifest["protocol"],
        config.repeats == "keep",
        snapshot,
        **parts,
        weighted=built.manifest["weighted"],
        cached=built.cached,
    )


def write_split(
    store: Store,
    writer: Writer,
    snapshot: SnapshotRef,
    config: SplitConfig,
    positives: Positives,
    pairs: Pairs,
    protocol: str | None = None,
) -> tuple[dict[str, DatasetRef], Claim]:
    """Two passes: sorted by user, every row gets its part; then the parts are written with their final indices.

    `protocol`: instead of the configuration's own. Returns the tables, and what they are said to be. Raises
    DataRefused when no row is left to train on or to judge by.
    """
    with scratch_folder(store.path("scratch")) as folder:
        shelf = Shelf(folder / "log.arrow")
        with engine(store) as sql:
            log = open_log(sql, snapshot.interactions, positives, pairs.judged, pairs.chosen)
            protocol = protocol or chosen_protocol(log, config)
            tally = fill(shelf, log, make_assign(log, protocol, config), config.repeats == "keep")
        active = find_active(shelf.pairs, tally.train_U, tally.train_I, config)
        judging = tally.rows[Part.TEST] if pairs.test is None else pairs.test.num_rows
        _refuse_nothing(tally, active, config, None if protocol == EVERYTHING else judging)
        maps = Maps.of(log, tally, active)
        parts = _write_rows(writer, shelf, maps, None if pairs.test is None else given_rows(pairs.test, maps))
    parts |= _write_catalogues(store, writer, snapshot, maps)
    n_left_out = tally.rows[Part.TRAIN] - active.rows
    return parts, Claim(protocol, snapshot, config, positives, dict(tally.dropped), n_left_out)


def read_given(config: SplitConfig, candidates: str | None) -> Pairs:
    """The test rows, and all pairs that only judge: these and the relevant candidates."""
    tables = [read_pairs(config.test, "split.test")] if config.test else []
    if candidates is not None:
        rows = read_candidates(candidates)
        tables.append(rows.filter(rows["relevant"]).select(["user_id", "item_id"]))
    chosen = read_pairs(config.valid, "split.valid") if config.valid else None
    return Pairs(tables[0], pa.concat_tables(tables), chosen)  # the configuration refuses `given` without either


def _refuse_nothing(tally: Tally, active: Active, config: SplitConfig, judging: int | None) -> None:
    """`judging`: rows that judge; None where none has to."""
    if tally.rows[Part.TRAIN] and not active.rows:
        option = "k_core" if config.k_core else "min_user_rows" if config.min_user_rows > 1 else "min_item_rows"
        raise DataRefused(f"split.{option} leaves no row to train on", f"lower split.{option}")
    for name, rows in (("train on", active.rows), ("judge by", judging)):
        if rows == 0:
            raise DataRefused(
                f"no row is left to {name}", "check split.protocol, split.repeats and the size of the log"
            )


def _write_rows(writer: Writer, shelf: Shelf, maps: Maps, given: pa.Table | None) -> dict[str, DatasetRef]:
    """Two at a time: training rows are most of the log, the others keep a second core busy meanwhile."""
    tables = {"train": (train_rows, SPLIT_ROWS), "valid": (valid_rows, SPLIT_ROWS), "rated": (rated_rows, RATED_ROWS)}
    tables |= {"test": (test_rows, TEST_ROWS)} if given is None else {}
    with ThreadPoolExecutor(2) as pool:
        futures = {
            name: pool.submit(writer.stream, name, blocks_of(shelf, rows, maps), schema)
            for name, (rows, schema) in tables.items()
        }
        parts = {name: future.result() for name, future in futures.items()}
    return parts if given is None else {**parts, "test": writer.table("test", given)}


def _write_catalogues(store: Store, writer: Writer, snapshot: SnapshotRef, maps: Maps) -> dict[str, DatasetRef]:
    users, items = _features(store, snapshot.users), _features(store, snapshot.items)
    parts = {"users": writer.table("users", maps.users(users)), "items": writer.table("items", maps.items(items))}
    return parts if users is None else {**parts, "strangers": writer.table("strangers", strangers(users, maps))}


def _features(store: Store, refs: tuple[DatasetRef, ...]) -> pa.Table | None:
    return pa.concat_tables([store.read(ref) for ref in refs], promote_options="default") if refs else None
