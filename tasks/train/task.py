"""The step: histories in, a bundle out: the fitted model as it will be shipped, and the record of its training."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.base import Callback, DoesNotFit, NoSuchFeature, Ragged, TrainingData, TrainingDiverged, WrongStart
from models.bundle import Bundle, weights_hash
from models.config import ModelConfig
from models.features import UserFeatures
from models.fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from models.ids import IdMap
from models.registry import modules_used
from tasks.errors import ConfigError, RunFailed
from tasks.features import user_features
from tasks.pairs_file import content_hash
from tasks.store.histories import read_histories
from tasks.store.keys import code_hash, make_key
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store, Writer
from tasks.store.windows import read_windows
from tasks.train.logic import Fitted, fit, validation_judges


@task(cache_policy=NO_CACHE)
def train(
    store: Store,
    samples: SampleRefs,
    config: ModelConfig,
    trainer: TrainerConfig,
    sampling: SamplingConfig = NO_WISH,
    history_length: int | None = None,
    callbacks: Callable[[str], Sequence[Callback]] = lambda phase: (),
) -> TrainedRef:
    """Trains, or finds the bundle that the same rows, configuration and code left. A killed training goes on."""
    code = [code_hash(module) for module in modules_used(config)]
    refs = (samples.fitted, samples.known, samples.served, samples.seen_served)
    windows = samples.windows if config.reads_windows else None
    inputs = [ref.fingerprint for ref in (*refs, *((windows.fitted, windows.known) if windows else ()))]
    start = content_hash(
        trainer.initial_weights, "trainer.initial_weights", "a file that trainer.checkpoint.path named"
    )
    key = make_key(__name__, samples.split.key, inputs, config, trainer, sampling, history_length, start, code)
    kept = f"checkpoints/{key}/kept"

    def write(writer: Writer) -> dict[str, Any]:
        split = samples.split
        fitted, known, served = (read_histories(store.read(r)) for r in (samples.fitted, samples.known, samples.served))
        features = user_features(store.read(split.users))
        table = features.table
        judges = validation_judges(store.read(split.valid), fitted, split.keeps_repeats, features)
        rows = TrainingData(split.items.rows, fitted, table), TrainingData(split.items.rows, known, table)
        if windows is not None:
            of_fitted, of_known = (read_windows(store.path(ref.path)) for ref in (windows.fitted, windows.known))
            rows = replace(rows[0], windows=of_fitted), replace(rows[1], windows=of_known)
        epochs = store.path(f"checkpoints/{key}/epochs")
        try:
            made = fit(config, trainer, sampling, *rows, judges, history_length, callbacks, epochs, store.path(kept))
        except (WrongStart, NoSuchFeature) as error:
            raise ConfigError(str(error)) from error
        except TrainingDiverged as error:
            raise RunFailed(f"training diverged: {error}", "try a smaller trainer.learning_rate") from error
        except DoesNotFit as error:
            raise RunFailed(str(error), "--model.name=item_knn, ials or graph_filter; or more memory") from error
        bundle = make_bundle(store, samples, made, served, features, history_length)
        bundle.save(writer.folder)
        return {**record(made), "kept": kept if store.path(kept).is_dir() else None}

    built = store.build(f"checkpoints/{key}/bundle", write)
    shutil.rmtree(store.path(f"checkpoints/{key}/epochs"), ignore_errors=True)
    return TrainedRef(key, built.path, built.manifest["weights_sha256"], built.cached)


def make_bundle(
    store: Store,
    samples: SampleRefs,
    made: Fitted,
    served: Ragged,
    features: UserFeatures,
    history_length: int | None,
) -> Bundle:
    """The fitted model with the ids it speaks."""
    users = IdMap(store.read(samples.split.users, ["user_id"])["user_id"].to_numpy())
    items = IdMap(store.read(samples.split.items, ["item_id"])["item_id"].to_numpy())
    masked = read_histories(store.read(samples.seen_served)) if samples.split.rated.rows else None
    fitted = made.data.histories
    return Bundle(samples.split.dataset, made.model, users, items, fitted, served, history_length, masked, features)


def record(made: Fitted) -> dict[str, Any]:
    """What is remembered of a training: all that the tracker, the card and the result show of it."""
    return {
        "weights_sha256": weights_hash(made.model.weights()),
        "n_parameters": made.model.n_parameters,
        "config": made.model.config.model_dump(mode="json"),  # as fitted: what was left to the fit is filled in
        "best_epoch": made.best_epoch,
        "refitted": made.refitted,
        "valid": dict(made.valid),
        "history": [asdict(epoch) for epoch in made.history],
        "seconds": made.seconds,
        "samples_per_second": made.samples_per_second,
    }
