"""The step: decide, register the version with its reasons, and, once its lists are written, crown it."""

from dataclasses import asdict, dataclass

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bundle import Bundle
from tasks.promote.config import GateConfig
from tasks.promote.decide import Check, Decision, Scores, decide
from tasks.store.atomic import write_json
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.store.tables import read_table
from tasks.tracking import registry
from tasks.tracking.runs import Run

METRIC = "ndcg_at_10"


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
    evaluated: EvaluatedRef,
    floor: EvaluatedRef | None,
    beside: EvaluatedRef | None,
    champion: ChampionRef | None,
    configuration: str,
    gate: GateConfig,
) -> Decision:
    """Reads the scores and decides. `beside` holds champion and challenger on the rows that may judge both."""
    new = _scores(store, evaluated, "test", "the new model")
    return decide(
        new,
        _scores(store, floor, "test", "popularity") if floor else None,
        _scores(store, beside, "champion", "the champion") if beside else None,
        champion is not None and champion.configuration == configuration,
        gate,
        _scores(store, beside, "challenger", "the new model") if beside else None,
    )


@task(cache_policy=NO_CACHE)
def register(
    store: Store,
    run: Run,
    name: str,
    decision: Decision,
    samples: SampleRefs,
    trained: TrainedRef,
    configuration: str,
    champion: ChampionRef | None,
) -> Promotion:
    """Registers the version, with the reasons as tags. Nobody is crowned yet: its lists have to be written first.

    The decision is written down before anything moves, so that a promotion that was cut short can be told and repeated.
    """
    write_json(store.path(f"decisions/{run.run_id}.json"), asdict(decision))
    bundle = Bundle.load(store.path(trained.path))
    example, features = str(bundle.users.ids_N[0]), bundle.features.names
    model_id = registry.log_model(run, store.path(trained.path), bundle.items.are_integers, example, features)
    version = registry.register(run, name, model_id, _tags(decision, samples, trained, configuration))
    return Promotion(decision, name, version, version if decision.promote else champion.version if champion else None)


@task(cache_policy=NO_CACHE)
def promote(run: Run, promotion: Promotion) -> None:
    """Moves the champion's alias to the version. Doing it twice changes nothing."""
    registry.crown(run, promotion.name, promotion.version)


def _scores(store: Store, ref: EvaluatedRef, part: str, name: str) -> Scores:
    table = read_table(store.path(f"{ref.path}/{part}.parquet"), [METRIC])
    ndcg_U = np.asarray(table[METRIC].to_numpy(), dtype=np.float64)
    return Scores(name, store.manifest(ref.path)["test_fingerprint"], ndcg_U)


def _tags(decision: Decision, samples: SampleRefs, trained: TrainedRef, configuration: str) -> dict[str, str]:
    return {
        "decision": "promoted" if decision.promote else "refused",
        **{f"check: {check.name}": _shown(check) for check in decision.checks},
        "dataset": samples.split.dataset,
        "snapshot": samples.split.snapshot.hash,
        "key": trained.key,
        "weights_sha256": trained.weights_sha256,
        "configuration": configuration,
    }


def _shown(check: Check) -> str:
    return f"{'passed' if check.passed else 'FAILED'}: {check.detail}"
