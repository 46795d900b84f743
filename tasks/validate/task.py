"""Validation: staged files become a snapshot of the lake, or the night is refused and nothing is taken in."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, NoReturn

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DataRefused
from tasks.store.atomic import new_file
from tasks.store.engine import Engine, engine
from tasks.store.keys import make_hash
from tasks.store.refs import StagedRef, Validated
from tasks.store.store import Store, Writer
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import suite_hash
from tasks.validate.drafts import write_partition
from tasks.validate.examine import Examined, examine
from tasks.validate.lake import Partition, stored, write_snapshot
from tasks.validate.ledger import KEPT_NIGHTS, Entry, GoodNight, Ledger, write_ledger
from tasks.validate.night import Night, prepare
from tasks.validate.quarantine import FILE, write_quarantine, write_refused_night
from tasks.validate.report import render
from tasks.validate.result import refusal, sentence
from tasks.validate.silence import silent

REPORT = "report.html"


@task(cache_policy=NO_CACHE)
def validate(
    store: Store, staged: tuple[StagedRef, ...], dataset: str, config: ChecksConfig, as_of: datetime, appends: bool
) -> Validated:
    """The snapshot of these files, and where they add to it of all that was taken in before. Raises DataRefused where
    they break the contract: then the lake and its ledger are as they were."""
    night = prepare(store, staged, dataset, config, as_of, appends)
    if (known := _unchanged(night)) is not None:
        return known
    from tasks.expect import suite  # imports Great Expectations: seconds, so only where there is something to judge

    with engine(store) as opened:
        examined = examine(opened, night, suite.judge)
        page = render(examined.validation, dataset, as_of)
        if not examined.validation.passed:
            _refuse(opened, night, examined, page)
        return _accept(opened, night, examined, page)


def _unchanged(night: Night) -> Validated | None:
    """The last good night's result, where these are its files under its rules, and the date changes nothing."""
    found = night.store.find(night.ledger.checked) if night.ledger.checked else None
    if found is None or night.staged or night.contents != night.ledger.contents:
        return None
    same = {"suite": suite_hash(night.checks), "repeated": list(night.delivery.repeated)}
    is_same = all(found.manifest[name] == value for name, value in same.items())
    is_later = found.manifest["as_of"] != str(night.as_of)
    snapshot = stored(night.store, found.manifest["snapshot"])
    if not is_same or snapshot is None or (is_later and silent(night.ledger, night.checks, night.as_of)):
        return None
    reasons = tuple((reason, rows) for reason, rows in found.manifest["reasons"])
    counts, warnings = found.manifest["counts"], tuple(found.manifest["warnings"])
    report = f"{night.ledger.checked}/{REPORT}"
    return Validated(snapshot, True, report=report, warnings=warnings, reasons=reasons, **counts)


def _refuse(engine: Engine, night: Night, examined: Examined, page: str) -> NoReturn:
    store, folder = night.store, f"quarantine/{night.dataset}/{night.as_of:%Y-%m-%dT%H%M%S}"
    if examined.validation.counts.quarantined:
        write_refused_night(engine, f"{folder}/{FILE}.parquet", examined.batches, night.as_of)
    report = store.path(f"{folder}/{REPORT}")
    with new_file(report) as temporary:
        temporary.write_text(page, encoding="utf-8")
    message, hint = refusal(examined.validation)
    raise DataRefused(message, f"{hint}; report: {report}", report=str(report))


def _accept(engine: Engine, night: Night, examined: Examined, page: str) -> Validated:
    """Everything under names that no one looks for yet; the ledger, which names it, last of all."""
    validation, partitions = examined.validation, _write_partitions(engine, night, examined)
    snapshot = write_snapshot(engine, night.dataset, [partitions[number] for number in sorted(partitions)])
    result = Validated(
        snapshot,
        cached=not night.staged,
        report="",
        warnings=tuple(sentence(finding) for finding in validation.warnings),
        reasons=validation.reasons,
        **asdict(validation.counts),
    )
    checked = _write_report(night, result, page)
    entries = tuple(
        Entry(content, partitions[number].folder, partitions[number].origin.rules)
        for number, content in enumerate(night.contents)
    )
    nights = night.ledger.nights
    if not nights or nights[-1].snapshot != snapshot.path:
        newest = examined.profile.span.last
        nights += (GoodNight(night.as_of, snapshot.path, snapshot.rows, examined.new_rows, newest),)
    write_ledger(night.store, night.dataset, Ledger(entries, nights[-KEPT_NIGHTS:], checked))
    return replace(result, report=f"{checked}/{REPORT}")


def _write_partitions(engine: Engine, night: Night, examined: Examined) -> Mapping[int, Partition]:
    made: dict[int, Partition] = dict(night.known)
    for number, draft in examined.drafts.items():
        if draft.batch is not None and draft.tally.quarantined:
            folder = f"quarantine/{night.dataset}/{draft.name}"
            write_quarantine(engine, folder, draft.batch, draft.tally.reasons, night.as_of)
        made[number] = write_partition(engine, night.dataset, draft)
    return made


def _write_report(night: Night, result: Validated, page: str) -> str:
    """The folder of tonight's judgement."""
    about = {
        "snapshot": result.snapshot.path,
        "suite": suite_hash(night.checks),
        "repeated": night.delivery.repeated,
        "as_of": str(night.as_of),
        "counts": {name: getattr(result, name) for name in ("read", "accepted", "quarantined", "duplicates")},
        "warnings": result.warnings,
        "reasons": result.reasons,
    }
    return night.store.build(f"lake/{night.dataset}/checked/{make_hash(about)}", lambda w: _report(w, page, about)).path


def _report(writer: Writer, page: str, about: dict[str, Any]) -> dict[str, Any]:
    writer.path(REPORT).write_text(page, encoding="utf-8")
    return about
