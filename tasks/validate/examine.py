"""Examining a night: its new files are judged, rows that several files have are settled, and the facts are drawn from
what comes of it. Nothing is written but to DuckDB's own tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.expect.contract import Judge
from tasks.store.engine import Engine
from tasks.store.refs import DatasetRef
from tasks.validate.contract import drift_rules
from tasks.validate.counting import Counted
from tasks.validate.drafts import Draft, draft_again, draft_new, stays
from tasks.validate.drift import is_judged, judge_drift, least_rows
from tasks.validate.facts import Baseline, Tonight, baseline_of, distributions, facts
from tasks.validate.incoming import Batch, Incoming, batches, incoming
from tasks.validate.judge import ALL_FILES, judge_all, judge_columns, judge_rows, judge_whole
from tasks.validate.lake import COUNTS, Tally
from tasks.validate.night import Night
from tasks.validate.profile import Profile, Span, profiles
from tasks.validate.result import Counts, Distribution, Figure, Finding, Validation, reasons_of
from tasks.validate.settle import settle
from tasks.validate.text import count_of


@dataclass(frozen=True)
class Examined:
    """The verdict on a night, and what it would add to the lake."""

    validation: Validation
    batches: tuple[Batch, ...] = ()
    drafts: Mapping[int, Draft] = field(default_factory=dict)  # by file
    profile: Profile = field(default_factory=Profile)  # of all interactions
    new_rows: int = 0


def examine(engine: Engine, night: Night, judge: Judge) -> Examined:
    """A file whose columns are wrong is judged no further, and then no other is. Raises RunFailed where the judge
    answers less than it was asked, or not what was counted."""
    nights = night.ledger.nights
    files = incoming(night.store, night.staged.items(), nights[-1].newest if nights else None)
    findings = judge_columns(files, judge)
    if not all(finding.passed for finding in findings):
        return Examined(Validation(tuple(findings), Counts(0, 0, 0)))
    findings += judge_whole(files, night.checks, judge)
    found = batches(files, night.checks, night.as_of)
    counted: dict[int, Counted] = {}
    for batch in found:
        judged, counts = judge_rows(engine, batch, judge)
        findings += judged
        counted |= counts
    found = [part for batch in found for part in _parted(batch, counted)]
    drafts, kept = _drafts(engine, night, found, counted)
    tonight = _tonight(night, drafts, kept)
    baseline = baseline_of(night.store, night.ledger.nights)
    _count_ids(engine, night, drafts, baseline)
    known = facts(engine, tonight, night.ledger.nights, baseline)
    drifted = distributions(engine, tonight, baseline)
    findings += judge_all(known, night.tables & {"users", "items"}, night.checks, judge)
    findings += judge_drift(drifted, drift_rules(night.checks), ALL_FILES, judge)
    tallies = tonight.tallies.values()
    validation = Validation(
        _file_by_file(findings),
        counts_of(tallies),
        reasons_of([reason for tally in tallies for reason in tally.reasons]),
        drifted,
        (*_notes(night, known), *_not_judged(drifted)),
    )
    return Examined(validation, tuple(found), drafts, tonight.profile, tonight.news.rows)


def counts_of(tallies: Iterable[Tally]) -> Counts:
    """Of all files together."""
    every = list(tallies)
    return Counts(
        read=sum(tally.read for tally in every),
        accepted=sum(tally.accepted for tally in every),
        duplicates=sum(tally.duplicates for tally in every),
        quarantined=sum(tally.quarantined for tally in every),
    )


def _drafts(
    engine: Engine, night: Night, found: Sequence[Batch], counted: Mapping[int, Counted]
) -> tuple[dict[int, Draft], str]:
    """The partitions to be made, and a query of the interactions in them."""
    spans = {number: partition.origin.span for number, partition in night.known.items()}
    spans |= {number: counts.span for number, counts in counted.items()}
    settled = settle(engine, night.contents, night.known, found, spans, night.ledger.contents)
    again = {number: night.known[number] for number in settled.files if number in night.known}
    again = {number: old for number, old in again.items() if not stays(engine, number, old, night.contents)}
    made = sorted({*again, *(number for number in settled.files if number in night.staged)})
    kept = f"SELECT * FROM ({settled.kept}) WHERE file IN ({', '.join(map(str, made)) or 'NULL'})"
    dated = [number for number, old in again.items() if old.tally.profile.hours]
    dated += [file.number for batch in found for file in batch.files if file.is_dated]
    nights = night.ledger.nights
    profiled = profiles(engine, kept, dated, nights[-1].newest if nights else None)
    drafts = {}
    for number, old in again.items():
        drafts[number] = draft_again(engine, number, old, profiled.get(number, Profile()), night.contents)
    for batch in found:
        for file in batch.files:
            profile = _profile(file, profiled)
            drafts[file.number] = draft_new(
                engine, batch, file, counted[file.number], profile, night.rules, night.contents
            )
    return drafts, kept


def _parted(batch: Batch, counted: Mapping[int, Counted]) -> list[Batch]:
    """The files of which rows are refused apart from those of which none is: the others are read without conditions."""
    clean = tuple(file for file in batch.files if not counted[file.number].n_refused)
    others = tuple(file for file in batch.files if counted[file.number].n_refused)
    parts = (replace(batch, files=clean, is_clean=True), replace(batch, files=others))
    return [part for part in parts if part.files]


def _profile(file: Incoming, profiled: Mapping[int, Profile]) -> Profile:
    """Users and items are not profiled: they are taken in whole or not at all."""
    if file.table != "interactions":
        return Profile(Span(file.ref.data.rows))
    return profiled.get(file.number, Profile())


def _tonight(night: Night, drafts: Mapping[int, Draft], kept: str) -> Tonight:
    tallies: dict[int, Tally] = {}
    features: dict[str, list[DatasetRef]] = {}
    for number, content in enumerate(night.contents):
        if content.table != "interactions":
            ref = night.staged[number].data if number in night.staged else night.known[number].part
            features.setdefault(content.table, []).append(ref)
        else:
            tallies[number] = drafts[number].tally if number in drafts else night.known[number].tally
    new = frozenset(number for number in night.staged if number in tallies)
    return Tonight(night.contents, tallies, new, kept, features, night.delivery, night.as_of)


def _count_ids(engine: Engine, night: Night, drafts: Mapping[int, Draft], baseline: Baseline | None) -> None:
    """Makes `all_users` and `all_items` (id, rows) of tonight's snapshot: where all that was there stays as it is, the
    last good night's counts and the new ones; else those of every partition."""
    logs = [entry.partition for entry in night.ledger.entries if entry.content.table == "interactions"]
    stay = [part for number, part in night.known.items() if part.table == "interactions" and number not in drafts]
    grows = baseline is not None and sorted(logs) == sorted(part.folder for part in stay)
    for kind, name in COUNTS.items():
        refs = [getattr(baseline, name)] if grows else [ref for part in stay if (ref := getattr(part, name))]
        parts = [f"SELECT id, rows FROM new_{kind}", *([f"SELECT id, rows FROM {engine.rows(refs)}"] if refs else [])]
        total = f"SELECT id, sum(rows)::BIGINT AS rows FROM ({' UNION ALL '.join(parts)}) GROUP BY id"
        engine.run(f"CREATE OR REPLACE TEMP TABLE all_{kind} AS {total}")


def _file_by_file(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    place = {key: number for number, key in enumerate(dict.fromkeys((f.table, f.source) for f in findings))}
    return tuple(sorted(findings, key=lambda finding: place[finding.table, finding.source]))


def _not_judged(drifted: Iterable[Distribution]) -> Iterator[str]:
    for one in drifted:
        if not is_judged(one):
            least = least_rows(one.column)
            yield f"drift of {one.column} is not judged: fewer than {least:,} rows tonight, or on the last good night"


def _notes(night: Night, known: Mapping[str, Figure]) -> tuple[str, ...]:
    """On the delivery: what came, and what became of it."""
    notes = [f"{len(night.staged):,} of {len(night.contents):,} files are new tonight"]
    for name, words in (
        ("changed_files", "changed under a known name"),
        ("repeated_files", "with the content of another"),
    ):
        if (figure := known[name]).value:
            notes.append(f"{count_of(figure.value, 'file')} {words}: {figure.shown}")
    if (late := known.get("late_share")) is not None and late.value:
        rows = count_of(late.n_failing, "new row")
        notes.append(f"older than the newest row of the last good night: {rows} ({late.shown})")
    if night.outdated:
        notes.append(
            f"{len(night.outdated):,} files were held against earlier rules and are no longer there to be read"
        )
    return tuple(notes)
