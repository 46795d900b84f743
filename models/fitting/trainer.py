"""The one training loop: epochs, validation, early stopping, checkpoints, and the best weights in the end.

Nothing here is random and nothing outlives an epoch but what a checkpoint holds: weights, optimizer, history. So a
fit that was killed and started again ends with the same bits as one that was not.
"""

import hashlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..base import Epoch, FitSession, NothingToLearn, TrainingData, TrainingDiverged, WrongStart
from . import checkpoint
from .config import TrainerConfig
from .keeping import LOG, Start, begin, can_keep, keep, load_optimizer, pack, read_start, unpack
from .optimizers import make_optimizer
from .stopping import look_back, monitored, report
from .trainable import Trainable
from .warm import begin_warm, fingerprint


def train(model: Trainable, data: TrainingData, session: FitSession) -> None:
    """Trains in place. Fills `session.trainer` (what was unset), `history` and `best_epoch`.

    With `session.validate` the epoch is kept that is best by `trainer.stopping`, without it the last.
    Raises TrainingDiverged, naming epoch and step, and WrongStart. However training ends, the model has the kept
    weights."""
    session.trainer = config = model.config.complete(session.trainer, session.sampling)
    session.sampling = model.config.complete_sampling(session.sampling)
    if data.n_rows == 0:
        raise ValueError("there are no rows to train on")
    if config.epochs is None or config.learning_rate is None or config.optimizer is None:
        raise ValueError(f"{type(model.config).__name__}.recommended must name epochs, learning_rate and optimizer")
    if config.initial_epoch >= config.epochs:
        raise WrongStart(f"initial_epoch of {config.initial_epoch} leaves nothing of {config.epochs} epochs")
    if config.checkpoint.path is not None and session.keep is None:
        raise ValueError("trainer.checkpoint.path is set: name the folder for its files, FitSession.keep")
    if config.initial_epoch and config.initial_weights is None:
        LOG.warning(
            "epoch %d comes first, with new weights: trainer.initial_weights is unset", config.initial_epoch + 1
        )
    start = read_start(config)
    model.to(choose_device(config.device))
    model.initialise(config.seed)
    model.eval()
    optimizer = make_optimizer(config.optimizer, model.parameters(), config.learning_rate)
    prepared = model.prepare(data, session)
    if hasattr(prepared, "__len__") and not len(prepared):
        raise NothingToLearn(
            f"{model.config.name} finds no row to learn from: no user has two rows, or each has seen every item"
        )
    identity = _identity(model, data, session, start)

    session.history.clear()
    kept = _resume(session, model, optimizer, identity) if session.checkpoints else {}
    if start is not None and not session.history:
        kept = begin(model, data, session, optimizer, start)
        if _ended(session):
            LOG.warning("trainer.patience had run out by epoch %d: nothing is left to train", config.initial_epoch)
    if session.start is not None and not session.history:
        begin_warm(model, session.start)
    if config.checkpoint.path is not None and not can_keep(config.checkpoint, session.validate is not None):
        LOG.warning("there are no validation rows, so no epoch is the best: trainer.checkpoint writes no file")
    for callback in session.callbacks:
        callback.on_start(model, config.epochs, _samples_per_epoch(model, data, config))
    try:
        while not _ended(session):
            number = (session.history[-1].number if session.history else config.initial_epoch) + 1
            session.history.append(_run_epoch(model, prepared, session, optimizer, number))
            session.best_epoch = look_back(session.history, config.stopping, session.validate is not None).best
            if session.best_epoch == number:
                kept = model.weights()
            _report(session)
            # before the recovery point: a fit that is killed in between runs the epoch again, and writes the file again
            keep(model, data, session, optimizer, kept)
            if session.checkpoints and (number % config.recovery_every == 0 or _ended(session)):
                _save(session.checkpoints, session, model, optimizer, kept, identity)
            for callback in session.callbacks:
                callback.on_epoch_end(model, session.history[-1])
    finally:
        if kept:
            model.load_weights(kept)
        for callback in session.callbacks:
            callback.on_end(model, session.history)


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises ValueError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("trainer.device is cuda, but torch sees no GPU; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _run_epoch(model: Trainable, prepared: Any, session: FitSession, optimizer: Optimizer, number: int) -> Epoch:
    config = session.trainer
    for group in optimizer.param_groups:
        group["lr"] = model.learning_rate(config, number)
    started = time.perf_counter()
    with ExitStack() as stack:
        if config.deterministic:
            stack.enter_context(_deterministic())
        done = model.epoch(prepared, config, number, optimizer)
    seconds = time.perf_counter() - started
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise TrainingDiverged(f"{name} is not finite after epoch {number}; try a smaller trainer.learning_rate")
    due = number % config.validate_every == 0 or number == config.epochs
    metrics = _validate(model, session) if due else {}
    return Epoch(number, done.loss, done.samples, seconds, metrics)


def _validate(model: Trainable, session: FitSession) -> Mapping[str, float]:
    if session.validate is None:
        return {}
    with torch.no_grad():
        metrics = dict(session.validate(model))
    stopping = session.trainer.stopping
    value = monitored(Epoch(0, 0.0, 0, 0.0, metrics), stopping)
    if value is None or value != value:
        raise ValueError(f"validation gave {stopping.monitor} = {value}: there is nothing to choose the epoch by")
    return metrics


def _ended(session: FitSession) -> bool:
    """Whether all epochs are done or patience has run out."""
    config, history = session.trainer, session.history
    if not history or history[-1].number == config.epochs:
        return bool(history)
    waited = look_back(history, config.stopping, session.validate is not None).waited
    return bool(config.patience) and waited >= (config.patience or 0)


def _report(session: FitSession) -> None:
    """What `stopping.verbose` asks for."""
    config, history = session.trainer, session.history
    if not config.stopping.verbose or session.validate is None:
        return
    if line := report(history, config.stopping):
        LOG.info(line)
    if _ended(session):
        number = history[-1].number
        if number != config.epochs:
            LOG.info("epoch %d: %d epochs without progress: training ends early", number, config.patience)
        LOG.info("training ends with the weights of epoch %d", session.best_epoch)


def _samples_per_epoch(model: Trainable, data: TrainingData, config: TrainerConfig) -> int:
    if config.steps_per_epoch is None or config.batch_size is None:
        return model.samples_per_epoch(data)
    return config.steps_per_epoch * config.batch_size


class _deterministic:  # noqa: N801
    """Torch picks only kernels that give equal results for equal inputs; where there is none, it warns.

    This matters on a CPU too: the gradient of `table[rows]` is else added up by several threads in any order."""

    def __enter__(self) -> None:
        self._before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *error: Any) -> None:
        torch.use_deterministic_algorithms(self._before)


def _identity(model: Trainable, data: TrainingData, session: FitSession, start: Start | None) -> str:
    """A hash of everything that decides what the fit computes."""
    digest = hashlib.sha256(b"" if start is None else start.sha256.encode())
    digest.update(b"" if session.start is None else fingerprint(session.start).encode())
    digest.update(type(model).__name__.encode())
    for config in (model.config, session.trainer, session.sampling):
        digest.update(config.model_dump_json().encode())
    digest.update(f"{data.n_items} {session.validate is not None}".encode())
    digest.update(data.histories.offsets_U1.tobytes())
    digest.update(data.histories.items_R.tobytes())
    windows = data.windows
    stored = [] if windows is None else [windows.lengths_W, windows.negatives_WN, *windows.features.values()]
    for optional in (data.weights_R, *stored):
        digest.update(b"" if optional is None else optional.tobytes())
    for features in (data.user_features, data.item_features):
        for name, feature in sorted(features.items()):
            digest.update(name.encode())
            digest.update(f"{feature.size}".encode() + feature.codes_N.tobytes())
    return digest.hexdigest()


def _save(
    folder: Path,
    session: FitSession,
    model: Trainable,
    optimizer: Optimizer,
    kept: Mapping[str, Tensor],
    identity: str,
) -> None:
    number = session.history[-1].number
    tensors = pack(model, optimizer, kept if session.best_epoch != number else {})  # else they are the model's
    history = [asdict(epoch) for epoch in session.history]
    checkpoint.write(folder, number, tensors, {"identity": identity, "history": history})


def _resume(session: FitSession, model: Trainable, optimizer: Optimizer, identity: str) -> dict[str, Tensor]:
    """Takes up the newest good checkpoint, if there is one. Returns the kept weights."""
    assert session.checkpoints is not None
    found = checkpoint.read_newest(session.checkpoints)
    if found is None:
        return {}
    tensors, record = found
    if record["identity"] != identity:
        raise ValueError(
            f"the checkpoints in {session.checkpoints} are of another fit (other data or configuration); "
            "give every fit a folder of its own, or delete this one"
        )
    groups = unpack(tensors)
    model.load_weights(groups["model"])
    load_optimizer(optimizer, groups["optimizer"])
    session.history.extend(Epoch(**epoch) for epoch in record["history"])
    session.best_epoch = look_back(session.history, session.trainer.stopping, session.validate is not None).best
    return groups["kept"] or groups["model"]
