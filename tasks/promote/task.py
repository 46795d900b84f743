"""The step: decide, register the version with its reasons, and, once its lists are written, crown it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bundle import Bundle
from tasks.promote.candidacy import Candidacy, Check, Pair, Scores
from tasks.promote.config import GateConfig
from tasks.promote.decide import Decision, decide
from tasks.store.atomic import write_json
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.store.tables import read_table
from tasks.tracking import history, registry
from tasks.tracking.history import Event
from tasks.tracking.runs import Run

METRIC = "ndcg_at_10"
MAX_TAG = 2000  # a database other than SQLite refuses more than 5000; an operator's reason may be of any length


@dataclass(frozen=True)
class Contestants:
    """Everybody's scores as files: what the gate reads."""

    new: EvaluatedRef
    floors: Mapping[str, EvaluatedRef]  # by name, the first must be beaten; none only for that floor itself
    champion: EvaluatedRef | None = None  # champion and challenger on the rows that may judge both
    anchor: EvaluatedRef | None = None
    seeds: Sequence[EvaluatedRef] = ()  # champion and challenger of another seed


@dataclass(frozen=True)
class Promotion:
    """What became of the new model."""

    decision: Decision
    name: str  # of the registered model
    version: str
    champion: str | None  # the version that is the champion once this night is over


@task(cache_policy=NO_CACHE)
def judge(
    store: Store,
    contestants: Contestants,
    gate: GateConfig,
    same_configuration: bool,
    by_chance: bool = False,
    frozen: str | None = None,
    tries: int = 1,
) -> Decision:
    """Reads the scores and decides."""
    fitted = store.manifest(contestants.new.path).get("fitted_test_rows")
    candidacy = Candidacy(
        new=_scores(store, contestants.new, "test", "the new model"),
        floors=tuple(_scores(store, ref, "test", name) for name, ref in contestants.floors.items()),
        champion=_pair(store, contestants.champion, "the champion"),
        anchor=_pair(store, contestants.anchor, "the anchor"),
        seeds=tuple(_pair_of(store, ref, "the champion") for ref in contestants.seeds),
        same_configuration=same_configuration,
        by_chance=by_chance,
        tries=tries,
        fitted_test_rows=None if fitted is None else int(fitted),
        frozen=frozen,
    )
    return decide(candidacy, gate)


@task(cache_policy=NO_CACHE)
def register(
    store: Store,
    run: Run,
    name: str,
    decision: Decision,
    samples: SampleRefs,
    trained: TrainedRef,
    champion: ChampionRef | None,
    tags: Mapping[str, str],
) -> Promotion:
    """Registers the version, with the reasons as tags. Nobody is crowned yet: its lists have to be written first.

    The decision is written down before anything moves, so that a promotion that was cut short can be told and repeated.
    """
    write_json(store.path(f"decisions/{run.run_id}.json"), asdict(decision))
    bundle = Bundle.load(store.path(trained.path))
    example, features = str(bundle.users.ids_N[0]), bundle.features.names
    model_id = registry.log_model(run, store.path(trained.path), bundle.items.are_integers, example, features)
    version = registry.register(run, name, model_id, {**_tags(decision, samples, trained, champion), **tags})
    return Promotion(decision, name, version, version if decision.promote else champion.version if champion else None)


@task(cache_policy=NO_CACHE)
def announce(tracking_uri: str, event: Event) -> None:
    """Writes down that the champion is going to change."""
    history.announce(tracking_uri, event)


@task(cache_policy=NO_CACHE)
def promote(tracking_uri: str, event: Event) -> None:
    """Moves the champion's alias to the version. Doing it twice changes nothing."""
    registry.crown(tracking_uri, event.name, event.version)


@task(cache_policy=NO_CACHE)
def conclude(tracking_uri: str, event: Event) -> None:
    """Puts the change into the history. Doing it twice changes nothing."""
    history.conclude(tracking_uri, event)


def _pair(store: Store, ref: EvaluatedRef | None, name: str) -> Pair | None:
    return None if ref is None else _pair_of(store, ref, name)


def _pair_of(store: Store, ref: EvaluatedRef, name: str) -> Pair:
    overlap = float(store.manifest(ref.path).get("overlap_at_10", float("nan")))
    return Pair(_scores(store, ref, "challenger", "the new model"), _scores(store, ref, "champion", name), overlap)


def _scores(store: Store, ref: EvaluatedRef, part: str, name: str) -> Scores:
    """`part`: the file in the folder, and the name below which `beyond` has the figures of its lists."""
    table = read_table(store.path(f"{ref.path}/{part}.parquet"), [METRIC, "history_length"])
    manifest = store.manifest(ref.path)
    beyond: dict[str, Any] = manifest.get("beyond", {}).get(part, {})
    ndcg_U = np.asarray(table[METRIC].to_numpy(), dtype=np.float64)
    return Scores(name, manifest["test_fingerprint"], ndcg_U, table["history_length"].to_numpy(), beyond)


def _tags(decision: Decision, samples: SampleRefs, trained: TrainedRef, champion: ChampionRef | None) -> dict[str, str]:
    return {
        "decision": _outcome(decision),
        "champion": champion.version if champion else "",  # beside whom it was judged
        "gain": "" if decision.gain is None else repr(decision.gain),
        **{f"check: {check.name}": _shown(check) for check in decision.checks},
        "dataset": samples.split.dataset,
        "snapshot": samples.split.snapshot.hash,
        "key": trained.key,
        "weights_sha256": trained.weights_sha256,
    }


def _outcome(decision: Decision) -> str:
    if decision.promote:
        return "promoted"
    return "waiting" if decision.awaits_approval else "refused"


def _shown(check: Check) -> str:
    return f"{'passed' if check.passed else 'FAILED'}: {check.detail}"[:MAX_TAG]
