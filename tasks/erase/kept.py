"""A person's traces in the data folder, but for the lake: what can be made anew is removed, the rest is rewritten."""

import json
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from models.bundle import BundleDamaged
from models.forgetting import knows
from tasks.erase.person import Person
from tasks.store.atomic import write_json
from tasks.store.engine import Engine, literal, parquet
from tasks.store.reasons import kind
from tasks.store.store import FETCHED, MANIFEST
from tasks.store.traces import (
    Change,
    Numbers,
    Trace,
    folders,
    is_named,
    read_json,
    remove,
    replace_text,
    replace_without,
    rows_of,
)

LISTS = "recommendations.parquet"
ANY = "any"  # for a folder that does not say which snapshot it was made from


def find_kept(engine: Engine, person: Person, left: Collection[str]) -> list[Trace]:
    """All of them. `left` are the hashes of the snapshots that stay as they are: what was made from others goes, also
    where these are gone already."""
    found = [
        *_refused(engine, person),
        *_mended(engine, person),
        *_staged(engine, person),
        *_prepared(engine, person, left, "prepared"),
        *_prepared(engine, person, left, "metrics"),
        *_checkpoints(engine, person, left),
        *_lists(engine, person),
        *_nights(engine, person, left),
        *_pages(engine, person),
    ]
    return [*found, *_fetched(engine, person)] if found else []


def refused_rows(engine: Engine, path: Path, person: Person) -> Numbers:
    """The numbers of those rows of a quarantine, or of a staged file's unread rows, that name the person."""
    source = parquet([path], numbered=True)
    user, line = "json_extract_string(row, '$.user_id')", "json_extract_string(row, '$.line')"
    # whatever may name the person, in SQL; whether it does, by one rule for all
    wanted = f"{user} = {literal(person.user_id)} OR contains({line}, {literal(person.user_id)})"
    found = engine.table(f"SELECT file_row_number AS n, row FROM {source} WHERE {wanted} ORDER BY n").to_pylist()
    return np.array([one["n"] for one in found if person.is_in_refused(one["row"])], dtype=np.int64)


def _refused(engine: Engine, person: Person) -> Iterator[Trace]:
    """The folder's manifest counts the rows by reason, so it follows, and first: it is counted from the rows."""
    for folder in folders(engine.store.path(f"quarantine/{person.dataset}")):
        path = folder / "quarantine.parquet"
        if path.is_file() and len(rows := refused_rows(engine, path, person)):
            clear = partial(_clear_refused, engine, path, rows)
            yield _trace(engine, "quarantine", path, "rewritten", clear, len(rows))


def _clear_refused(engine: Engine, path: Path, gone: Numbers) -> None:
    manifest = read_json(path.with_name(MANIFEST))
    if manifest is not None:  # a night that was refused has none
        source = parquet([path], numbered=True)
        left = f"file_row_number NOT IN ({', '.join(map(str, gone))})"
        sql = f"SELECT {kind(manifest['reasons'])} AS reason, count(*) AS n FROM {source} WHERE {left} GROUP BY ALL"
        reasons = {one["reason"]: one["n"] for one in engine.table(f"{sql} ORDER BY n DESC, reason").to_pylist()}
        write_json(path.with_name(MANIFEST), {**manifest, "rows": sum(reasons.values()), "reasons": reasons})
    replace_without(path, gone)


def _mended(engine: Engine, person: Person) -> Iterator[Trace]:
    """A file of which nothing is left goes: the next night would refuse it as empty."""
    for path in sorted(engine.store.path(f"mended/{person.dataset}").glob("*.parquet")):
        if len(rows := rows_of(engine, path, person.user_id)):
            whole = len(rows) == pq.read_metadata(path).num_rows
            clear = partial(remove, path) if whole else partial(replace_without, path, rows)
            yield _trace(engine, "mended", path, "removed" if whole else "rewritten", clear, len(rows))


def _staged(engine: Engine, person: Person) -> Iterator[Trace]:
    for folder in folders(engine.store.path(f"staging/{person.dataset}")):
        unread = folder / "unread.parquet"
        refused = len(refused_rows(engine, unread, person)) if unread.is_file() else 0
        if refused or is_named(engine, folder, person.user_id):
            yield _trace(engine, "staging", folder, "removed", partial(remove, folder))


def _fetched(engine: Engine, person: Person) -> Iterator[Trace]:
    """Objects that were fetched on a night that ended before they were staged: whoever is in them, they are the
    source's and are fetched again."""
    folder = engine.store.path(f"staging/{person.dataset}/{FETCHED}")
    if folder.is_dir() and any(folder.iterdir()):
        yield _trace(engine, "staging", folder, "removed", partial(remove, folder))


def _prepared(engine: Engine, person: Person, left: Collection[str], place: str) -> Iterator[Trace]:
    """Of another dataset even the same id is somebody else."""
    for folder in folders(engine.store.path(place)):
        made_from = (read_json(folder / MANIFEST) or {}).get("made_from", {})
        if made_from.get("dataset", person.dataset) == person.dataset and (
            made_from.get("snapshot", ANY) not in {*left, ANY} or is_named(engine, folder, person.user_id)
        ):
            yield _trace(engine, place, folder, "removed", partial(remove, folder))


def _checkpoints(engine: Engine, person: Person, left: Collection[str]) -> Iterator[Trace]:
    """A folder is of one training: its bundle, the epochs that were kept, and those that a kill left."""
    for folder in folders(engine.store.path("checkpoints")):
        made_from = read_json(folder / "made_from.json") or {}
        bundle, record = folder / "bundle", read_json(folder / "bundle" / "bundle.json") or {}
        if made_from.get("dataset", record.get("dataset")) == person.dataset and (
            made_from.get("snapshot", ANY) not in {*left, ANY} or (record and _knows(bundle, person))
        ):
            yield _trace(engine, "checkpoints", folder, "removed", partial(remove, folder))


def _knows(bundle: Path, person: Person) -> bool:
    try:
        return knows(bundle, person.user_id)
    except BundleDamaged:  # nobody can use it, and nobody can tell whom it knows
        return True


def _lists(engine: Engine, person: Person) -> Iterator[Trace]:
    """The pointer to what is published shows the folder, so it stays valid. A kill may leave a count too low by the
    person's rows until the command is run again, so the count is compared, too."""
    for folder in folders(engine.store.path("recommendations")):
        manifest, path = read_json(folder / MANIFEST), folder / LISTS
        if manifest is None or manifest.get("dataset") != person.dataset or not path.is_file():
            continue
        rows, n_all = rows_of(engine, path, person.user_id), pq.read_metadata(path).num_rows
        if len(rows) or manifest["rows"] != n_all:
            clear = partial(_clear_lists, folder, path, rows, {**manifest, "rows": n_all - len(rows)})
            yield _trace(engine, "recommendations", path, "rewritten", clear, len(rows))


def _clear_lists(folder: Path, path: Path, rows: Numbers, manifest: dict[str, object]) -> None:
    if len(rows):
        replace_without(path, rows)
    write_json(folder / MANIFEST, manifest)


def _nights(engine: Engine, person: Person, left: Collection[str]) -> Iterator[Trace]:
    """By these an unchanged night is recognised: no night of a snapshot that is gone may be taken for done."""
    for path in sorted(engine.store.path(f"nights/{person.dataset}").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        if json.loads(text)["result"]["snapshot"] not in left or person.taken_out_of(text) != text:
            yield _trace(engine, "nights", path, "removed", partial(remove, path))


def _pages(engine: Engine, person: Person) -> Iterator[Trace]:
    """Reports quote rows that fail; manifests of judgements quote the reports."""
    roots = [engine.store.path(f"{place}/{person.dataset}") for place in ("quarantine", "lake")]
    for path in sorted(path for root in roots for path in root.rglob("*") if path.suffix in (".html", ".json")):
        text = path.read_text(encoding="utf-8")
        if person.taken_out_of(text) != text:
            yield _trace(engine, "reports", path, "rewritten", partial(_clear_page, path, person))


def _clear_page(path: Path, person: Person) -> None:
    """Reads it again: it may have been rewritten, or be gone, since it was found."""
    if path.is_file():
        replace_text(path, person.taken_out_of(path.read_text(encoding="utf-8")))


def _trace(
    engine: Engine, place: str, path: Path, change: Change, clear: Callable[[], None], rows: int | None = None
) -> Trace:
    return Trace(place, str(path.relative_to(engine.store.root)), change, clear, rows)
