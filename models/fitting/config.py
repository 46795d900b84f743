"""What can be set of training: the loop, its stopping, its files, its rate, and what rows are compared with."""

from pathlib import PurePosixPath
from string import Formatter
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..frozen import Frozen

OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "ftrl"]
Monitor = Literal[
    "ndcg_at_10", "recall_at_10", "hit_at_10", "precision_at_10", "map_at_10", "mrr_at_10",
    "ndcg_at_20", "recall_at_20", "hit_at_20", "precision_at_20", "map_at_20", "mrr_at_20", "loss",
]  # fmt: skip


class StoppingConfig(Frozen):
    """By what the epoch is chosen, and what counts as getting better. All as in Keras' EarlyStopping."""

    monitor: Monitor = "ndcg_at_10"
    """What chooses the epoch: a metric of the validation rows, or `loss`, that of training."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether lower or higher is better; `auto` is min for the loss and max for metrics."""
    min_delta: NonNegativeFloat = 0.0
    """An epoch is better only if it is so by more than this."""
    baseline: float | None = None
    """Epochs that are not better than this do not count as progress: `patience` of them end the training."""
    restore_best_weights: bool = True
    """Keep the weights of the best epoch in the end; false: those of the last one."""
    start_from_epoch: NonNegativeInt = 0
    """So many epochs at the start are not judged: none of them is the best, and `patience` does not count them."""
    verbose: bool = False
    """Report each epoch that is judged, the end of the patience and the epoch that was kept, one line each."""

    @property
    def sign(self) -> int:
        """-1 where lower is better, else 1."""
        return -1 if self.mode == "min" or (self.mode == "auto" and self.monitor == "loss") else 1


class CheckpointConfig(Frozen):
    """Files of single epochs, kept for you. All as in Keras' ModelCheckpoint. A killed training needs none of them."""

    path: str | None = None
    """Name of the files, as epoch-{epoch:03d}-{ndcg_at_10:.4f}.safetensors: fields are epoch (from 1), loss and the
    metrics of the validation rows, nan where there are none. A name without fields is one file, replaced each time.
    Unset: no files."""
    monitor: Monitor = "ndcg_at_10"
    """For save_best_only: a metric of the validation rows, or `loss`, that of training."""
    mode: Literal["auto", "min", "max"] = "auto"
    """For save_best_only: whether lower or higher is better; `auto` is min for the loss and max for metrics."""
    initial_value_threshold: float | None = None
    """For save_best_only: an epoch must be better than this, too."""
    save_best_only: bool = False
    """Write only epochs that are better than all that were looked at before; one that was not validated never is."""
    save_weights_only: bool = False
    """Write the weights alone; false: also the optimizer and the history, all that `initial_weights` can go on from."""
    every: PositiveInt = 1
    """Epochs from one that may be written to the next; the last epoch has no privilege."""
    verbose: bool = False
    """Report each file, and with save_best_only also why there is none, one line an epoch."""

    @model_validator(mode="after")
    def _all_is_read(self) -> Self:
        unset = CheckpointConfig.model_fields
        if self.path is None and (given := [name for name, value in self if value != unset[name].default]):
            raise ValueError(f"{', '.join(given)}: no file is written before checkpoint.path names it")
        read = ("monitor", "mode", "initial_value_threshold") if not self.save_best_only else ()
        if given := [name for name in read if getattr(self, name) != unset[name].default]:
            raise ValueError(f"{', '.join(given)}: only save_best_only=true chooses epochs")
        if self.path is not None:
            check_pattern(self.path)
        return self

    @property
    def rule(self) -> StoppingConfig:
        """How epochs are compared."""
        return StoppingConfig(monitor=self.monitor, mode=self.mode)


def check_pattern(pattern: str) -> None:
    """Raises ValueError where it is no name of files in one folder, or would give two epochs one name by accident."""
    figures = get_args(Monitor)
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}; fields look like {{epoch:03d}}") from error
    named = {name for _, name, _, _ in parts if name is not None}
    if unknown := sorted(named - {"epoch", *figures}):
        raise ValueError(f"unknown field {{{unknown[0]}}}; known: epoch, {', '.join(figures)}")
    # a width of many digits would fill the memory
    if any(conversion or {"/", "{"} & set(spec or "") or len(spec or "") > 5 for _, _, spec, conversion in parts):
        raise ValueError(f"{pattern!r}: only plain formats such as {{epoch:03d}} and {{loss:.4f}} are understood")
    try:
        # equal figures are the worst case: only the epoch tells the files apart
        names = {pattern.format(epoch=epoch, **dict.fromkeys(figures, 0.5)) for epoch in range(1, 1001)}
    except ValueError as error:
        raise ValueError(f"{pattern!r}: {error}; epoch is an integer, all else has decimals") from error
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or pattern.startswith("~") or "\\" in pattern or "\0" in pattern:
        raise ValueError(f"{pattern!r} leaves the run's folder: give a name, not a path to another place")
    if path.suffix != ".safetensors" or len(path.name) > 200:
        raise ValueError(f"{pattern!r} must be a short name that ends in .safetensors")
    if named and len(names) < 1000:
        raise ValueError(
            f"{pattern!r}: epochs with equal figures would overwrite each other; write {{epoch:03d}} in it"
        )


class ScheduleConfig(Frozen):
    """How the learning rate moves from epoch to epoch. Within an epoch it stays."""

    kind: Literal["constant", "linear", "cosine", "step"] = "constant"
    """Shape of the fall after the warm-up."""
    warmup: NonNegativeInt = 0
    """Epochs at the start in which the rate rises in equal steps, before the first at the full rate."""
    epochs: PositiveInt | None = None
    """For linear and cosine: the fall is over after this many epochs, warm-up included; unset: `trainer.epochs`."""
    end: Annotated[float, Field(ge=0, le=1)] = 0.0
    """For linear and cosine: the share of the learning rate that is left when the fall is over."""
    every: PositiveInt = 10
    """For step: epochs at the same rate."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """For step: each rate is this times the one before."""

    @model_validator(mode="after")
    def _all_is_read(self) -> Self:
        read = {"linear": {"epochs", "end"}, "cosine": {"epochs", "end"}, "step": {"every", "factor"}}
        for name in sorted({"epochs", "end", "every", "factor"} - read.get(self.kind, set())):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning for kind {self.kind}")
        if self.epochs is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs}")
        return self

    def filled(self, epochs: int | None) -> "ScheduleConfig":
        """A copy that falls over these epochs if it falls and does not say how long."""
        if self.kind not in ("linear", "cosine") or self.epochs is not None:
            return self
        return ScheduleConfig.model_validate({**self.model_dump(), "epochs": epochs})


class TrainerConfig(Frozen):
    """How gradient models are trained. A field left unset takes the model's own recommended value."""

    epochs: PositiveInt | None = None
    """Passes over the training rows at most; the validation rows choose the best one."""
    batch_size: PositiveInt | None = None
    """Positive rows a step; for sasrec and gru4rec about so many, as pieces of histories are not cut for it."""
    learning_rate: PositiveFloat | None = None
    """Step size at the start."""
    optimizer: OptimizerName | None = None
    """Update rule. bpr_mf has a fast kernel for sgd on a CPU; all else, and that with steps_per_epoch, clip_norm or
    max_norm, runs as batched torch."""
    patience: NonNegativeInt | None = None
    """Epochs without a better validation NDCG@10 (`stopping.monitor`) that end the training; 0 never stops early."""
    stopping: StoppingConfig = StoppingConfig()
    validate_every: PositiveInt = 1
    """Epochs from one validation to the next; the last epoch is always validated."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    recovery_every: PositiveInt = 1
    """Epochs from one recovery point to the next, from which a killed training goes on by itself; the last epoch always
    has one. They are removed when the training is done: for files to keep see `checkpoint.path`."""
    initial_epoch: NonNegativeInt = 0
    """Epochs that count as done: training starts with the next one, with its learning rate and its random streams."""
    initial_weights: str | None = None
    """A file that `checkpoint.path` named: training starts from its weights and, where it holds them, the optimizer's
    state. With its epoch as initial_epoch the fit goes on as if never interrupted; with 0 it begins anew from there."""
    warm_start: bool = False
    """A night begins from the champion's weights, where they are of the same configuration: users and items that it
    knew keep theirs, new ones begin as ever. Judged like a cold fit; the first night is cold, and so are models that
    are not fitted in epochs."""
    cold_every: PositiveInt = 7
    """With warm_start: every so many nights the fit begins from nothing, so that no error is inherited for ever."""
    steps_per_epoch: PositiveInt | None = None
    """Batches an epoch, of rows in an order of its own; unset: as many as it takes to see every row once."""
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: PositiveFloat | None = None
    """Gradients of a step that are longer than this, all taken together, are shortened to it."""
    max_norm: PositiveFloat | None = None
    """Embedding vectors that are longer than this after a step are shortened to it."""
    seed: NonNegativeInt = 0
    """Every random stream of the night is derived from this number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    deterministic: bool = True
    """Equal seeds give equal weights, bit for bit, on one kind of machine."""
    refit: bool = True
    """After the validation rows have chosen the epoch, train anew on training and validation rows before the test."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.stopping.baseline is not None and self.patience == 0:
            raise ValueError("stopping.baseline says when patience runs out: it needs a patience above 0")
        if self.epochs is not None and self.schedule.warmup >= self.epochs:
            raise ValueError(f"schedule.warmup of {self.schedule.warmup} leaves nothing of {self.epochs} epochs")
        for name, done in (("initial_epoch", self.initial_epoch), ("start_from_epoch", self.stopping.start_from_epoch)):
            if self.epochs is not None and done >= self.epochs:
                raise ValueError(f"{name} of {done} leaves nothing of {self.epochs} epochs: raise trainer.epochs")
        if self.warm_start and self.initial_weights is not None:
            raise ValueError("warm_start and initial_weights both say where training begins: leave one of them out")
        if self.initial_weights == "":
            raise ValueError("initial_weights is empty: name a file, or leave it out")
        return self

    @property
    def continues(self) -> list[str]:
        """What is asked for that deals with single epochs of one model: a model without any cannot honour it."""
        asked = {
            "trainer.checkpoint.path": self.checkpoint.path,
            "trainer.initial_weights": self.initial_weights,
            "trainer.initial_epoch": self.initial_epoch,
        }
        return [name for name, value in asked.items() if value]

    @property
    def needs_steps(self) -> bool:
        """Whether something is asked for that acts on single batches: a kernel that has none cannot honour it."""
        return not (self.steps_per_epoch is None and self.clip_norm is None and self.max_norm is None)

    def filled(self, recommended: dict[str, Any]) -> "TrainerConfig":
        """A copy in which every unset field holds the model's recommended value."""
        unset = {name for name, value in self if value is None}
        filled = self.model_copy(update={name: recommended[name] for name in unset if name in recommended})
        if self.epochs is None:  # else it was compared with the rest when it was set
            TrainerConfig.model_validate(dict(filled))
        return filled.model_copy(update={"schedule": filled.schedule.filled(filled.epochs)})


class SamplingConfig(Frozen):
    """What each training row is compared with, and what it weighs. A field left unset takes the model's own value."""

    negatives: PositiveInt | None = None
    """Items beside each row that its user has not seen, drawn anew each epoch, or once with `stored`."""
    distribution: Literal["uniform", "popularity", "log_uniform", "in_batch"] | None = None
    """Where they come from: all items alike, by popularity to the power of `exponent`, by the logarithm of the rank in
    popularity (Zipf's law), or the batch's other rows."""
    exponent: Annotated[float, Field(ge=0, le=10)] | None = None
    """For popularity: 0 draws all items alike, 1 as often as they are in the rows; .75 where unset."""
    hardest_of: PositiveInt | None = None
    """Each negative is the highest scored of so many draws (Zhang et al., SIGIR 2013); 1 takes them as they come."""
    shared: bool | None = None
    """For sampled_softmax: all rows of a batch get the same `negatives`, so that thousands cost one matrix product."""
    stored: bool = False
    """For mind, youtube_dnn and caser: the negatives are drawn once and stored beside the rows, not anew each epoch."""
    weights: Literal["equal", "user", "item"] = "equal"
    """What a row weighs in the loss: user: all users weigh the same, however many rows they have; item: likewise."""

    @property
    def asked_for(self) -> list[str]:
        """The fields of this class that were given another value than their default."""
        fields = SamplingConfig.model_fields
        return [name for name in fields if getattr(self, name) != fields[name].default]


NO_WISH = SamplingConfig()


def named(sampling: SamplingConfig) -> str:
    """The fields that were asked for, as the user spells them."""
    return ", ".join(f"sample.{name}" for name in sampling.asked_for)
