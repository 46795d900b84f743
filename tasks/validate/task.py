"""Validation: staged files become a snapshot of the lake, or the night is refused and nothing is taken in."""

from dataclasses import asdict
from datetime import datetime
from typing import NoReturn

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DataRefused
from tasks.store.atomic import new_file
from tasks.store.keys import make_key
from tasks.store.refs import SnapshotRef, StagedRef, Validated
from tasks.store.store import Store, Writer
from tasks.validate.config import ChecksConfig
from tasks.validate.judge import Judged, judge_files
from tasks.validate.lake import REPORT, accept, stored
from tasks.validate.report import render
from tasks.validate.result import Validation, refusal


@task(cache_policy=NO_CACHE)
def validate(
    store: Store, staged: tuple[StagedRef, ...], dataset: str, config: ChecksConfig, as_of: datetime
) -> Validated:
    """The snapshot of these files. Raises DataRefused where they break the contract.

    The night's date is no part of the key: rows that once passed do not move into the future later.
    """
    folder = f"lake/{dataset}/checked/{make_key('tasks.validate.task', staged, config)}"
    if (known := _known(store, folder)) is not None:
        return known
    judged = _judge(store, staged, config, as_of)
    page = render(judged.validation, dataset, as_of)
    if not judged.validation.passed:
        _refuse(store, judged.validation, page, f"quarantine/{dataset}/{as_of:%Y-%m-%dT%H%M%S}/{REPORT}")
    snapshot = accept(store, staged, judged.kept, dataset, judged.validation.counts, page)
    return _remember(store, folder, snapshot, judged.validation, page)


def _known(store: Store, folder: str) -> Validated | None:
    """An earlier pass of the same files under the same limits, while what it points to still exists."""
    found = store.find(folder)
    snapshot = stored(store, found.manifest["snapshot"]) if found else None
    if found is None or snapshot is None:
        return None
    counts = {name: found.manifest["counts"][name] for name in ("read", "accepted", "duplicates")}
    return Validated(snapshot, cached=True, report=f"{folder}/{REPORT}", **counts)


def _judge(store: Store, staged: tuple[StagedRef, ...], config: ChecksConfig, as_of: datetime) -> Judged:
    from tasks.validate import suite  # imports Great Expectations: seconds, so only where there is something to judge

    return judge_files(((ref, store.read(ref.data)) for ref in staged), config, as_of, suite.judge)


def _refuse(store: Store, validation: Validation, page: str, report: str) -> NoReturn:
    with new_file(store.path(report)) as temporary:
        temporary.write_text(page, encoding="utf-8")
    message, hint = refusal(validation)
    path = str(store.path(report))
    raise DataRefused(message, f"{hint}; report: {path}", report=path)


def _remember(store: Store, folder: str, snapshot: SnapshotRef, validation: Validation, page: str) -> Validated:
    def write(writer: Writer) -> dict[str, object]:
        writer.path(REPORT).write_text(page, encoding="utf-8")
        return {"snapshot": snapshot.path, "counts": asdict(validation.counts)}

    store.build(folder, write)
    counts = validation.counts
    return Validated(snapshot, False, counts.read, counts.accepted, counts.duplicates, report=f"{folder}/{REPORT}")
