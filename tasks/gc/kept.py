"""What has to stay: champions, those who were lately, versions that are young or pinned, and all that they need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.tracking.cleaning import TrackedRun, Version
from tasks.tracking.history import Event
from tasks.tracking.reigns import earlier, reigns

PINNED = "keep"  # a tag that anybody may set on a version, in MLflow's own pages too
KEYS = ("key", "judged_key", "warm_key")  # tags with a checkpoint: went out, was judged, was begun with


@dataclass(frozen=True)
class Keep:
    """What stays however old it is."""

    versions: frozenset[str]  # of the registered model that is tidied
    runs: frozenset[str]
    snapshots: frozenset[str]
    keys: frozenset[str]  # of checkpoints

    @classmethod
    def of(cls, versions: Iterable[Version], numbers: frozenset[str]) -> "Keep":
        """`versions` stay, with their runs and what these made of which data; `numbers` are those among them that
        belong to the registered model."""
        kept = list(versions)
        tags = [version.tags for version in kept]
        keys = {one.get(name) for one in tags for name in KEYS} - {None, ""}
        return cls(
            numbers,
            frozenset(version.run_id for version in kept),
            frozenset(one["snapshot"] for one in tags if one.get("snapshot")),
            frozenset(str(key) for key in keys),
        )


def kept_versions(
    versions: Sequence[Version],
    history: Sequence[Event],
    champion: str | None,
    now: datetime,
    before: datetime,
    n_champions: int,
) -> list[Version]:
    """Of one registered model: whoever is champion, was one since `before`, or is among the last `n_champions` that one
    may go back to and that are still there; versions that were made since then, and those that are pinned."""
    since = {one.event.version for one in reigns(history, now) if one.ended >= before}
    there = {version.number for version in versions}
    last = [number for number in earlier(history) if number in there]
    wanted = {champion, *since, *last[:n_champions]}
    return [
        version for version in versions if version.number in wanted or version.made >= before or PINNED in version.tags
    ]


def old_runs(runs: Sequence[TrackedRun], keep: Keep, before: datetime) -> list[TrackedRun]:
    """Runs that began earlier, are not going on and that nothing needs; those below another one go with it."""
    by_id = {run.run_id: run for run in runs}
    return [run for run in runs if _is_old(_top(run, by_id), keep, before) and _is_old(run, keep, before)]


def _is_old(run: TrackedRun, keep: Keep, before: datetime) -> bool:
    return run.begun < before and not run.is_running and run.run_id not in keep.runs


def _top(run: TrackedRun, by_id: dict[str, TrackedRun]) -> TrackedRun:
    """The run that this one is shown below, where it is still there."""
    seen = {run.run_id}
    while run.parent in by_id and run.parent not in seen:
        seen.add(run.parent)
        run = by_id[run.parent]
    return run
