"""A blend's members are fitted one after the other, each with a session of its own."""

import hashlib
import json
from collections.abc import Sequence

from ..base import Callback, Epoch, FitSession, Recommender, TrainingData
from ..fitting import checkpoint
from ..fitting.config import NO_WISH
from ..registry import build
from .config import Member

CHECKPOINT_BYTES = 2**30
"""Members up to this size are written down once fitted, so that a killed fit need not repeat them."""


class Onward(Callback):
    """Tells the blend's callbacks of each member's epochs, numbered through."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = callbacks
        self.done = 0
        """Epochs of the members before."""

    def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
        for callback in self._callbacks:
            callback.on_start(model, self.done + epochs, samples_per_epoch)

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        through = Epoch(self.done + epoch.number, epoch.loss, epoch.samples, epoch.seconds, epoch.metrics)
        for callback in self._callbacks:
            callback.on_epoch_end(model, through)

    def on_end(self, model: Recommender, history: Sequence[Epoch]) -> None:
        for callback in self._callbacks:
            callback.on_end(model, history)


def fit_member(
    number: int, member: Member, data: TrainingData, session: FitSession, progress: Onward
) -> tuple[Member, Recommender]:
    """Fits a member, or finds it as a killed fit left it. Returns it as fitted, and the model."""
    folder = f"{number}-{member.config.name}"
    sampling = session.sampling if member.learns else NO_WISH
    own = FitSession(
        trainer=member.told(session.trainer, sampling),
        validate=session.validate,
        callbacks=(progress,),
        checkpoints=session.checkpoints / folder if session.checkpoints else None,
        sampling=sampling,
        keep=session.keep / folder if session.keep else None,
    )
    identity = _identity(member, own, data)
    if own.checkpoints and (found := checkpoint.read_newest(own.checkpoints / "fitted")) is not None:
        tensors, record = found
        if record["identity"] != identity:
            raise ValueError(f"the checkpoints in {own.checkpoints} are of another fit: delete this folder")
        fitted = Member.of(record["member"])
        progress.done += record["epochs"]
        return fitted, build(fitted.config.name, fitted.config, data).load_weights(tensors)
    model = build(member.config.name, member.config, data).fit(data, own)
    fitted = member.fitted(model.config, own)
    progress.done += len(own.history)
    if own.checkpoints:
        tensors = model.weights()
        if sum(tensor.nbytes for tensor in tensors.values()) <= CHECKPOINT_BYTES:
            record = {"identity": identity, "member": fitted.spec, "epochs": len(own.history)}
            checkpoint.write(own.checkpoints / "fitted", 1, tensors, record)
    return fitted, model


def _identity(member: Member, session: FitSession, data: TrainingData) -> str:
    """A hash of what decides how a member is fitted."""
    configs = (member.config, session.trainer, session.sampling)
    words = [config.model_dump(mode="json") for config in configs]
    digest = hashlib.sha256(json.dumps([words, data.n_items, session.validate is not None]).encode())
    features = [*sorted(data.user_features.items()), *sorted(data.item_features.items())]
    weights = [] if data.weights_R is None else [data.weights_R]
    for array in (
        data.histories.offsets_U1,
        data.histories.items_R,
        *weights,
        *(feature.codes_N for _, feature in features),
    ):
        digest.update(array.tobytes())
    return digest.hexdigest()
