"""The step: histories in, a bundle out: the fitted model as it will be shipped, and the record of its training."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.base import (
    Callback,
    DoesNotFit,
    NoSuchFeature,
    NothingToLearn,
    Ragged,
    TrainingData,
    TrainingDiverged,
    WrongStart,
)
from models.bundle import Bundle, Strangers, weights_hash
from models.config import ModelConfig
from models.features import UserFeatures
from models.fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from models.ids import IdMap
from models.registry import modules_used
from tasks.errors import ConfigError, RunFailed
from tasks.features import KEY, codes_of, user_features
from tasks.pairs_file import content_hash
from tasks.schema import ID, TEST_ROWS
from tasks.store.atomic import write_json
from tasks.store.histories import read_histories, read_weights
from tasks.store.keys import code_hash, make_key
from tasks.store.refs import DatasetRef, SampleRefs, TrainedRef
from tasks.store.store import Store, Writer
from tasks.store.windows import read_windows
from tasks.train.logic import Fitted, fit, validation_judges
from tasks.train.start import Cold, Rows, Warm, keep_start, open_start

INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # as text that comes back the same


@task(cache_policy=NO_CACHE)
def train(
    store: Store,
    samples: SampleRefs,
    config: ModelConfig,
    trainer: TrainerConfig,
    sampling: SamplingConfig = NO_WISH,
    history_length: int | None = None,
    callbacks: Callable[[str], Sequence[Callback]] = lambda phase: (),
    begin: Warm | Cold | None = None,
) -> TrainedRef:
    """Trains, or finds the bundle that the same rows, configuration and code left. A killed training goes on.

    `begin` is what `find_start` gave."""
    code = [code_hash(module) for module in modules_used(config)]
    refs = (samples.fitted, samples.known, samples.served, samples.seen_served)
    windows = samples.windows if config.reads_windows else None
    inputs = [ref.fingerprint for ref in (*refs, *((windows.fitted, windows.known) if windows else ()))]
    start = content_hash(
        trainer.initial_weights, "trainer.initial_weights", "a file that trainer.checkpoint.path named"
    )
    key = make_key(__name__, samples.split.key, inputs, config, trainer, sampling, history_length, start, begin, code)
    kept = f"checkpoints/{key}/kept"

    def write(writer: Writer) -> dict[str, Any]:
        split = samples.split
        write_json(store.path(f"checkpoints/{key}/made_from.json"), split.snapshot.made_from)
        paths = [store.path(ref.path) for ref in (samples.fitted, samples.known, samples.served)]
        fitted, known, served = map(read_histories, paths)
        features = user_features(store.read(split.users))
        table = features.table
        judges = validation_judges(store.read(split.valid), fitted, split.keeps_repeats, features)
        weights = [_weights(store, ref) for ref in (samples.fitted_weights, samples.known_weights)]
        rows = (
            TrainingData(split.items.rows, fitted, table, weights_R=weights[0]),
            TrainingData(split.items.rows, known, table, weights_R=weights[1]),
        )
        if windows is not None:
            of_fitted, of_known = (read_windows(store.path(ref.path)) for ref in (windows.fitted, windows.known))
            rows = replace(rows[0], windows=of_fitted), replace(rows[1], windows=of_known)
        epochs = store.path(f"checkpoints/{key}/epochs")
        starts, told = open_start(store, config, begin, _tonight(store, samples, features, *rows))
        folders = (epochs, store.path(kept))
        with explained(config):
            made = fit(config, trainer, sampling, *rows, judges, history_length, callbacks, *folders, starts)
        bundle = make_bundle(store, samples, made, served, features, history_length)
        bundle.save(writer.folder)
        if made.judged is not None:
            keep_start(store, key, made.judged, fitted)
        return {**record(made), "kept": kept if store.path(kept).is_dir() else None, "warm": told}

    built = store.build(f"checkpoints/{key}/bundle", write)
    shutil.rmtree(store.path(f"checkpoints/{key}/epochs"), ignore_errors=True)
    return TrainedRef(key, built.path, built.manifest["weights_sha256"], built.cached)


def _tonight(
    store: Store, samples: SampleRefs, features: UserFeatures, fitted: TrainingData, known: TrainingData
) -> Rows:
    """What a start is held against."""
    split = samples.split
    users, items = id_maps(store, samples)
    return Rows(users, items, features, fitted, known, store.read(split.valid), store.read(split.test))


def id_maps(store: Store, samples: SampleRefs) -> tuple[IdMap, IdMap]:
    """Of users and items."""
    tables = {"user_id": samples.split.users, "item_id": samples.split.items}
    users, items = (IdMap(store.read(ref, [name])[name].to_numpy()) for name, ref in tables.items())
    return users, items


def _weights(store: Store, ref: DatasetRef | None) -> npt.NDArray[np.float32] | None:
    return None if ref is None else read_weights(store.path(ref.path))


@contextmanager
def explained(config: ModelConfig) -> Iterator[None]:
    """What can go wrong in a fit, as errors that name the fix."""
    try:
        yield
    except (WrongStart, NoSuchFeature) as error:
        raise ConfigError(str(error)) from error
    except TrainingDiverged as error:
        raise RunFailed(f"training diverged: {error}", "try a smaller trainer.learning_rate") from error
    except NothingToLearn as error:
        raise RunFailed(str(error), "--model.name=popularity") from error
    except DoesNotFit as error:
        raise RunFailed(str(error), "--model.name=item_knn, ials or graph_filter; or more memory") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).splitlines()[0] if str(error) else "there is not enough memory"
        raise RunFailed(f"{config.name} does not fit: {first}", "smaller vectors or batches, or more memory") from error


def is_out_of_memory(error: Exception) -> bool:
    """Torch says it by a text on a CPU, and by a kind of RuntimeError on a GPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def make_bundle(
    store: Store,
    samples: SampleRefs,
    made: Fitted,
    served: Ragged,
    features: UserFeatures,
    history_length: int | None,
) -> Bundle:
    """The fitted model with the ids it speaks."""
    split = samples.split
    users, items = id_maps(store, samples)
    masked = read_histories(store.path(samples.seen_served.path)) if split.rated.rows else None
    known = (users, items, made.data.histories, served, history_length, masked, features)
    # given test rows only judge: their users are not ours
    came = store.read(split.test) if split.protocol != "given" else TEST_ROWS.empty_table()
    described = store.read(split.strangers) if split.strangers else None
    return Bundle(split.dataset, made.model, *known, strangers_of(came, described, users, features))


def strangers_of(test: pa.Table, described: pa.Table | None, users: IdMap, features: UserFeatures) -> Strangers:
    """Who is not among the users: those with test rows (TEST_ROWS) alone, which are their histories, and those whom
    the split's table of such users describes."""
    came = test.filter(pa.array(test["user_idx"].to_numpy() < 0)).sort_by("place")
    named = pa.chunked_array([], ID) if described is None else described[KEY]
    if users.are_integers:
        # 007 and x7 are nobody where ids are integers: the log has no such user, and the lists have no room for one
        named = named.filter(pc.match_substring_regex(named, INTEGER))
    raw = pc.unique(pa.chunked_array([*came[KEY].chunks, *named.chunks], ID))
    ids = IdMap(np.sort((raw.cast(pa.int64()) if users.are_integers else raw).to_numpy(zero_copy_only=False)))
    took = came.filter(pa.array(came["item_idx"].to_numpy() >= 0))
    took_R = ids.index(np.asarray(took[KEY].to_numpy(), dtype=np.str_))
    histories = Ragged.from_pairs(took_R, took["item_idx"].to_numpy(), len(ids))
    codes = codes_of(features, np.full(len(ids), -1), ids.ids_N.astype(np.str_), described)
    return Strangers(ids, histories, codes)


def record(made: Fitted) -> dict[str, Any]:
    """What is remembered of a training: all that the tracker, the card and the result show of it."""
    return {
        "weights_sha256": weights_hash(made.model.weights()),
        "n_parameters": made.model.n_parameters,
        "config": made.model.config.model_dump(mode="json"),  # as fitted: what was left to the fit is filled in
        "trainer": made.trainer.model_dump(mode="json"),
        "best_epoch": made.best_epoch,
        "refitted": made.refitted,
        "valid": dict(made.valid),
        "history": [asdict(epoch) for epoch in made.history],
        "seconds": made.seconds,
        "samples_per_second": made.samples_per_second,
    }
