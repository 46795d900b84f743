"""`encore gc`: what is old and no champion needs goes, from the data folder and from MLflow."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from flows.commands import GcConfig
from flows.config import Settings
from flows.keeper import Keeper, about, champion_of, holding
from tasks.errors import RunFailed
from tasks.store.store import Store
from tasks.store.traces import Trace
from tasks.tracking import history

if TYPE_CHECKING:
    from tasks.gc.kept import Keep
    from tasks.tracking.cleaning import TrackedRun, Version

FEW = 20  # of the things that go are named, the largest; the result has all


@dataclass(frozen=True)
class Moments:
    """When it is, and what counts as old."""

    now: datetime
    before: datetime

    @classmethod
    def of(cls, config: GcConfig, settings: Settings) -> "Moments":
        return cls(settings.night, settings.night - timedelta(days=config.keep_days))


def gc(config: GcConfig, settings: Settings) -> dict[str, Any]:
    """Finds what may go, and removes it unless that is only asked for. Safe to repeat, and to kill.

    Raises RunFailed where a change of the champion was cut short and cannot be finished."""
    settings = settings.resolved()
    with holding(config, settings) as held:
        if history.pending(settings.tracking_uri, config.model) is not None:
            raise RunFailed("a change of the champion was cut short", "see encore history, then run this again")
        keep, traces = find(held, config)
        seen = list(_in_words(traces))
        if not config.dry_run:
            for trace in track(traces, "removing", transient=True, disable=len(traces) < FEW):
                trace.clear()
        return {
            **about(config, settings),
            "dry_run": config.dry_run,
            "keep_days": config.keep_days,
            "kept_versions": sorted(keep.versions, key=int),
            "removed": seen,
            "bytes": sum(one["bytes"] for one in seen),
        }


def find(held: Keeper, config: GcConfig) -> tuple["Keep", list[Trace]]:
    """What stays, and what goes, in that order: versions, runs, and then the folders that they came from."""
    from tasks.gc.found import find_old
    from tasks.tracking.cleaning import tracked_runs, versions
    from tasks.validate.spare import contents_of, find_spare

    uri, store, moments = held.settings.tracking_uri, held.store, Moments.of(config, held.settings)
    runs = tracked_runs(uri, held.dataset)
    ours = [one for one in versions(uri, held.name) if one.tags.get("dataset", held.dataset) == held.dataset]
    keep = _keep(held, config, moments, ours, {run.run_id for run in runs})
    return keep, [
        *_old_versions(uri, held.name, ours, keep),
        *_old_runs(uri, runs, keep, moments.before),
        *find_old(
            store, held.dataset, keep, moments.before, _published(store, held.dataset), contents_of(store, held.dataset)
        ),
        *find_spare(store, held.dataset, keep.snapshots, moments.before),
    ]


def _keep(held: Keeper, config: GcConfig, moments: Moments, ours: Sequence["Version"], runs: Collection[str]) -> "Keep":
    """Of other registered models that learned from this dataset everything stays: their own `gc` tidies them. What a
    person registered in MLflow has no tags, but its run is one of the dataset's `runs`."""
    from tasks.gc.kept import Keep, kept_versions
    from tasks.tracking.cleaning import versions

    uri = held.settings.tracking_uri
    events = history.read_history(uri, held.name)
    kept = kept_versions(ours, events, champion_of(held), moments.now, moments.before, config.keep_champions)
    others = [
        version
        for name in history.registered_names(uri)
        if name != held.name
        for version in versions(uri, name)
        if version.tags.get("dataset") == held.dataset or version.run_id in runs
    ]
    return Keep.of([*kept, *others], frozenset(version.number for version in kept))


def _old_versions(uri: str, name: str, versions: Sequence["Version"], keep: "Keep") -> Iterator[Trace]:
    from tasks.tracking.cleaning import remove_version

    for version in versions:
        if version.number not in keep.versions:
            clear = partial(remove_version, uri, name, version.number)
            yield Trace("versions", f"{name} version {version.number}", "removed", clear)


def _old_runs(uri: str, runs: Sequence["TrackedRun"], keep: "Keep", before: datetime) -> Iterator[Trace]:
    from tasks.gc.kept import old_runs
    from tasks.tracking.cleaning import remove_run

    for run in old_runs(runs, keep, before):
        name = f"{run.name} of {run.begun:%Y-%m-%d}, {run.run_id}"
        yield Trace("runs", name, "removed", partial(remove_run, uri, run), bytes=run.bytes)


def _published(store: Store, dataset: str) -> str | None:
    """The folder that production serves, relative to the data folder."""
    pointer = store.path(f"published/{dataset}")
    return f"recommendations/{pointer.readlink().name}" if pointer.is_symlink() else None


def _in_words(traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    for trace in traces:
        yield {"place": trace.place, "name": trace.name, "bytes": trace.bytes or 0}


def show_gc(result: dict[str, Any]) -> None:
    """Prints what went by place, and the largest of it; machines read --json."""
    console, removed = Console(soft_wrap=True), result["removed"]
    versions = ", ".join(result["kept_versions"]) or "none"
    console.print(Text(f"{result['registered_model']}: versions that stay: {versions}"))
    if not removed:
        console.print(Text(f"nothing is older than {result['keep_days']} days that nobody needs"))
        return
    table = Table()
    for name in ("place", "number", "MB"):
        table.add_column(name, justify="left" if name == "place" else "right")
    for place in dict.fromkeys(one["place"] for one in removed):
        sizes = [one["bytes"] for one in removed if one["place"] == place]
        table.add_row(place, f"{len(sizes):,}", f"{sum(sizes) / 1e6:,.1f}")
    console.print(table)
    for one in sorted(removed, key=lambda one: -one["bytes"])[:FEW]:
        console.print(Text(f"  {one['bytes'] / 1e6:8,.1f} MB  {one['place']}: {one['name']}"))
    verb = "would be" if result["dry_run"] else "were"
    console.print(Text(f"{len(removed):,} things {verb} removed, {result['bytes'] / 1e6:,.1f} MB"))
    if result["dry_run"]:
        console.print(Text("to remove them, leave out --dry_run"))
