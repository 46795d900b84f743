"""The files of single epochs that `trainer.checkpoint` asks for, and fits that start from one of them.

Recovery points, from which a killed fit goes on by itself, are the trainer's own; both hold the same tensors.
"""

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from torch import Tensor
from torch.optim import Optimizer

from ..base import Epoch, FitSession, TrainingData, WrongStart
from . import checkpoint
from .config import CheckpointConfig, Monitor, TrainerConfig
from .stopping import look_back, monitored, records

if TYPE_CHECKING:
    from .trainable import Trainable

LOG = logging.getLogger("encore.training")


@dataclass(frozen=True)
class Start:
    """What the file that `trainer.initial_weights` names holds."""

    path: str
    sha256: str
    """Of the file: its content decides what a fit computes, wherever it lies."""
    groups: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]


def pack(model: "Trainable", optimizer: Optimizer, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors that a fit needs to go on; `kept` are the best weights, where they are not the model's."""
    tensors = {f"model.{name}": tensor for name, tensor in model.weights().items()}
    tensors |= {f"kept.{name}": tensor for name, tensor in kept.items()}
    # An optimizer keeps tensors only (Adam's step count too), by the number of the parameter.
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by their group: model, kept, optimizer."""
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "kept": {}, "optimizer": {}}
    for full_name, tensor in tensors.items():
        group, name = full_name.split(".", 1)
        groups[group][name] = tensor
    return groups


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state = optimizer.state_dict()
    state["state"] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        state["state"].setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict(state)


# writing


def keep(
    model: "Trainable", data: TrainingData, session: FitSession, optimizer: Optimizer, kept: Mapping[str, Tensor]
) -> None:
    """Writes the file of the last epoch, if `trainer.checkpoint` wants one of it; an older one of its name is replaced.

    What was written is told by the history alone, so a restart writes what an uninterrupted fit does."""
    config, last = session.trainer.checkpoint, session.history[-1]
    if config.path is None or session.keep is None or last.number % config.every:
        return
    level = logging.INFO if config.verbose else logging.DEBUG
    if config.save_best_only and (reason := _not_the_best(session)):
        LOG.log(level, "epoch %d: %s, so no file is written", last.number, reason)
        return
    path = session.keep / file_name(config, last)
    record = {
        "model": model.config.name,
        "config": model.config.model_dump(mode="json"),
        "epoch": last.number,
        "weights_only": config.save_weights_only,
    }
    if config.save_weights_only:
        checkpoint.write_file(path, model.weights(), record)
    else:
        record |= {
            "optimizer": session.trainer.optimizer,
            "rows": _rows(data),
            "kept_epoch": session.best_epoch,
            "history": [asdict(epoch) for epoch in session.history],
        }
        best = kept if session.best_epoch != last.number else {}
        checkpoint.write_file(path, pack(model, optimizer, best), record)
    LOG.log(level, "epoch %d: %s is written", last.number, path.relative_to(session.keep))


def file_name(config: CheckpointConfig, epoch: Epoch) -> str:
    """The epoch's name by the pattern; what was not measured is nan."""
    assert config.path is not None
    figures = dict.fromkeys(get_args(Monitor), math.nan) | dict(epoch.metrics)
    return config.path.format(**{**figures, "epoch": epoch.number, "loss": epoch.loss})


def can_keep(config: CheckpointConfig, judged: bool) -> bool:
    """Whether a fit would ever write a file: without validation rows no epoch is the best by one of their metrics."""
    return config.path is not None and (judged or not config.save_best_only or config.monitor == "loss")


def _not_the_best(session: FitSession) -> str | None:
    """Why the last epoch is not better than all that were looked at before; None where it is."""
    config, last = session.trainer.checkpoint, session.history[-1]
    value = monitored(last, config.rule)
    if value is None:  # it must not replace a file of which we know that it is good
        return f"there is no {config.monitor}"
    looked_at = [(e.number, monitored(e, config.rule)) for e in session.history if e.number % config.every == 0]
    known = [(number, value) for number, value in looked_at if value is not None]
    best = records(known, config.rule, config.initial_value_threshold)
    if best and best[-1][0] == last.number:
        return None
    to_beat = best[-1][1] if best else config.initial_value_threshold
    return f"{config.monitor} of {value:.5f} is not better than {to_beat:.5f}"


# reading


def read_start(config: TrainerConfig) -> Start | None:
    """The file of `trainer.initial_weights`, where it is set. Raises WrongStart where it cannot be read."""
    if config.initial_weights is None:
        return None
    path = Path(config.initial_weights).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WrongStart(
            f"trainer.initial_weights: {path} cannot be read ({error.strerror}): check the path"
        ) from error
    found = checkpoint.parse(content)
    if found is None or "weights_only" not in found[1]:
        raise WrongStart(f"trainer.initial_weights: {path} is damaged, or no file that trainer.checkpoint.path named")
    tensors, record = found
    groups = {"model": tensors} if record["weights_only"] else unpack(tensors)
    return Start(str(path), hashlib.sha256(content).hexdigest(), groups, record)


def begin(
    model: "Trainable", data: TrainingData, session: FitSession, optimizer: Optimizer, start: Start
) -> dict[str, Tensor]:
    """Takes up the weights and what else the file holds. Returns the weights that were the best so far, if any.

    Raises WrongStart for a file of another model, shape or epoch."""
    config, record, judged = session.trainer, start.record, session.validate is not None
    epoch, weights = record["epoch"], start.groups["model"]
    _check_fits(model, start)
    if not record["weights_only"] and config.initial_epoch not in (0, epoch):
        raise WrongStart(
            f"trainer.initial_weights holds the training up to epoch {epoch}: set trainer.initial_epoch={epoch} to go "
            "on there, or 0 to begin anew from its weights"
        )
    model.load_weights(model.adopt(weights))
    if record["weights_only"]:
        return {}
    if record["optimizer"] == config.optimizer:
        load_optimizer(optimizer, start.groups["optimizer"])
    else:
        LOG.warning("%s was trained with %s: %s begins anew", start.path, record["optimizer"], config.optimizer)
    if config.initial_epoch == 0:
        return {}
    if record["rows"] != _rows(data):  # its metrics are of other rows: no epoch of these can be compared with them
        LOG.log(logging.WARNING if judged else logging.DEBUG, "%s is of other rows: its history is left", start.path)
        return {}
    history = [Epoch(**epoch) for epoch in record["history"]]
    best = look_back(history, config.stopping, judged).best
    if best not in (epoch, record["kept_epoch"]):
        raise WrongStart(
            f"by trainer.stopping epoch {best} is the best so far, and {start.path} does not hold its weights: leave "
            "trainer.stopping as it was, or set trainer.initial_epoch=0 to begin anew"
        )
    session.history.extend(history)
    session.best_epoch = best
    return model.adopt(weights if best == epoch else start.groups["kept"])


def _check_fits(model: "Trainable", start: Start) -> None:
    name, own = start.record["model"], model.weights()
    if name != model.config.name:
        raise WrongStart(
            f"trainer.initial_weights is of model {name}, not {model.config.name}: set model.name={name}, or name "
            "another file"
        )
    given = model.adopt(start.groups["model"])
    for part in sorted({*own, *given}):
        here, there = (_shape(weights.get(part)) for weights in (own, given))
        if here != there:
            raise WrongStart(
                f"trainer.initial_weights: {part} is {there} in the file and {here} here: the model is set otherwise, "
                "or users or items have come since; train without it"
            )


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else " x ".join(map(str, tensor.shape)) or "a number"


def _rows(data: TrainingData) -> str:
    """sha256 of the fitted rows."""
    digest = hashlib.sha256(f"{data.n_items} ".encode())
    digest.update(data.histories.offsets_U1.tobytes())
    digest.update(data.histories.items_R.tobytes())
    return digest.hexdigest()
