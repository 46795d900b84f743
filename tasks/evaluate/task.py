"""The step: each model's metrics per user, in a folder whose manifest holds the means and intervals."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.base import FloatArray
from models.bundle import Bundle
from models.features import UserFeatures
from tasks.evaluate.beyond import Catalogue, read_genres
from tasks.evaluate.champion import Champion, duel
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fair import fair_rows
from tasks.evaluate.logic import evaluate_bundle, fitted_test_rows, intervals
from tasks.evaluate.segments import first_times, item_ages
from tasks.judging import Judges, make_judges, means
from tasks.schema import PER_USER
from tasks.store.histories import read_histories
from tasks.store.keys import code_hash, make_key
from tasks.store.refs import ChampionRef, EvaluatedRef, SampleRefs, SplitRefs, TrainedRef
from tasks.store.store import Store, Writer
from tasks.store.tables import fingerprint


@task(cache_policy=NO_CACHE)
def evaluate(store: Store, samples: SampleRefs, trained: TrainedRef, config: EvaluateConfig) -> EvaluatedRef:
    """Scores a trained model on the test rows, or finds its scores."""
    ranking = code_hash("models.serving")
    key = make_key(__name__, ranking, trained.key, trained.weights_sha256, samples.key, config)

    def write(writer: Writer) -> dict[str, Any]:
        bundle = Bundle.load(store.path(trained.path))
        test = judges_of_test(store, samples, bundle.features)
        candidates = store.read(samples.candidates) if samples.candidates else None
        more = (_strangers(store, samples), _item_ages(store, samples.split))
        made = evaluate_bundle(bundle, test, candidates, _catalogue(store, samples), config.all_cutoffs, *more)
        for part, metrics in made.per_user.items():
            _write_per_user(writer, part, made.users[part], metrics)
        return {
            "made_from": samples.split.snapshot.made_from,
            "test_fingerprint": fingerprint(test.rows),
            "users": {part: len(judges) for part, judges in made.users.items()},
            "means": made.means(),
            "intervals": intervals(made, config),
            "curves": dict(made.curves),
            "segments": dict(made.segments),
            "beyond": dict(made.beyond),
            "fitted_test_rows": fitted_test_rows(bundle, test),
        }

    built = store.build(f"metrics/{key}", write)
    return EvaluatedRef(key, built.path, built.cached)


@task(cache_policy=NO_CACHE)
def evaluate_beside(
    store: Store, samples: SampleRefs, trained: TrainedRef, champion: Champion, ref: ChampionRef, config: EvaluateConfig
) -> EvaluatedRef:
    """Scores the champion and the challenger on the test rows that the champion was not fitted on.

    The champion answers with lists alone, so that neither has an AUC here."""
    key = make_key(__name__, trained.key, trained.weights_sha256, samples.key, config, ref)

    def write(writer: Writer) -> dict[str, Any]:
        bundle = Bundle.load(store.path(trained.path))
        fair = fair_rows(champion, judges_of_test(store, samples, bundle.features))
        test = judges_of_test(store, samples, bundle.features, fair.rows)
        made = duel(champion, bundle, test, _catalogue(store, samples), config.all_cutoffs, fair.learned)
        for name, metrics in made.per_user.items():
            _write_per_user(writer, name, test, metrics)
        return {
            "made_from": samples.split.snapshot.made_from,
            "test_fingerprint": fingerprint(test.rows),
            "users": {"champion": len(test)},
            "means": {f"champion/{name}": mean for name, mean in means(dict(made.per_user["champion"])).items()},
            "beyond": dict(made.beyond),
            **made.overlap,
        }

    built = store.build(f"metrics/{key}", write)
    return EvaluatedRef(key, built.path, built.cached)


def judges_of_test(store: Store, samples: SampleRefs, features: UserFeatures, rows: pa.Table | None = None) -> Judges:
    """The test users; with `rows` only those of the test rows."""
    known, seen = (read_histories(store.path(ref.path)) for ref in (samples.known, samples.seen_known))
    rows = store.read(samples.split.test) if rows is None else rows
    return make_judges(rows, known, samples.split.keeps_repeats, seen, features, _strangers(store, samples))


def _catalogue(store: Store, samples: SampleRefs) -> Catalogue:
    items, known = store.read(samples.split.items), read_histories(store.path(samples.known.path))
    return Catalogue(known, items.num_rows, read_genres(items))


def _strangers(store: Store, samples: SampleRefs) -> pa.Table | None:
    return store.read(samples.split.strangers) if samples.split.strangers else None


def _item_ages(store: Store, split: SplitRefs) -> FloatArray | None:
    before = chain.from_iterable(store.blocks(ref, ["item_idx", "timestamp"]) for ref in (split.train, split.valid))
    return item_ages(store.read(split.test), first_times(before, split.items.rows))


def _write_per_user(writer: Writer, name: str, judges: Judges, metrics: Mapping[str, FloatArray]) -> None:
    base = [judges.user_ids, judges.n_relevant_U.astype(np.int32), judges.known.lengths_U.astype(np.int32)]
    table = pa.table(base, schema=PER_USER)
    for metric, values_U in metrics.items():
        table = table.append_column(metric, pa.array(values_U))
    writer.table(name, table)
