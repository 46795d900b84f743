"""The base of models that learn by gradient steps. They bring a loss, or a whole epoch; the loop is in trainer.py."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..base import FitSession, TrainingData, TrainingDiverged
from .config import TrainerConfig
from .objective import PairModelConfig, make_pairs
from .rows import Rows
from .samplers import stream
from .schedule import share_of_rate
from .trainable import Pass, Trainable
from .trainer import train


class GradientModel(Trainable):
    """A recommender that is fitted by the one trainer.

    A model must give `loss`, and overrides of the rest only what differs: `prepare` and `batches` where it learns from
    something else than pairs (its configuration is then no `PairModelConfig`), `embeddings` where they are no
    `nn.Embedding`, `epoch` where a kernel replaces the steps (not if `trainer.needs_steps`). All that a model keeps
    between epochs must be in its weights, or a killed fit could not go on."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """The mean over the batch, penalty included: one number to take the gradient of."""

    def initialise(self, seed: int) -> None:
        """Draws the first weights. The default calls each layer's own `reset_parameters`.

        A model with parameters outside of such layers must override this."""
        with seeded(seed, "initialise"):
            for module in self.modules():
                if module is not self and callable(reset := getattr(module, "reset_parameters", None)):
                    reset()

    def prepare(self, data: TrainingData, session: FitSession) -> Any:
        """What every epoch needs and is computed once. The session's configurations are complete."""
        assert isinstance(self.config, PairModelConfig)  # others override this
        return make_pairs(data, self.config, session.sampling)

    def samples_per_epoch(self, data: TrainingData) -> int:
        """For progress bars."""
        return data.n_rows

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        """Step size of this epoch (from 1). It may not depend on the number of epochs: a refit has fewer."""
        assert trainer.learning_rate is not None  # filled by the trainer
        return trainer.learning_rate * share_of_rate(trainer.schedule, epoch)

    def embeddings(self) -> Iterable[Tensor]:
        """The tables whose rows `trainer.max_norm` keeps short."""
        return [module.weight for module in self.modules() if isinstance(module, nn.Embedding)]

    def batches(self, prepared: Any, trainer: TrainerConfig, epoch: int) -> Iterator[Any]:
        """The epoch's batches; each has a length, and `to(device)`, which gives its copy there."""
        assert trainer.batch_size is not None
        batches: Iterator[Any] = prepared.batches(trainer.batch_size, trainer.seed, epoch)
        return batches

    def epoch(self, prepared: Any, trainer: TrainerConfig, epoch: int, optimizer: Optimizer) -> Pass:
        """One pass over the data, which changes the weights. Raises TrainingDiverged."""
        self.train()
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        total, n_samples = 0.0, 0
        # Dropout and its like draw from torch's global stream: give them the epoch's own.
        with seeded(trainer.seed, "train", epoch, "layers"):
            for step, batch in enumerate(self._as_many_batches(prepared, trainer, epoch)):
                optimizer.zero_grad(set_to_none=True)
                loss = self.loss(batch.to(self.device))
                if not torch.isfinite(loss):
                    raise TrainingDiverged(f"loss is {loss.item()} at epoch {epoch}, step {step}")
                loss.backward()  # type: ignore[no-untyped-call]
                if trainer.clip_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
                optimizer.step()
                if trainer.max_norm is not None:
                    shorten(self.embeddings(), trainer.max_norm)
                total += loss.item() * len(batch)
                n_samples += len(batch)
        self.eval()
        return Pass(total / max(n_samples, 1), n_samples)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        if session.trainer.max_norm is not None and not list(self.embeddings()):
            raise ValueError(f"{self.config.name} has no embeddings: leave trainer.max_norm unset")
        if isinstance(self.config, PairModelConfig):
            session.trainer = self.config.with_batches(session.trainer, data.n_rows)
        train(self, data, session)
        return self

    def _as_many_batches(self, prepared: Any, trainer: TrainerConfig, epoch: int) -> Iterator[Any]:
        """One pass, or exactly `steps_per_epoch` batches: a part of a pass, or several with other orders."""
        if trainer.steps_per_epoch is None:
            yield from self.batches(prepared, trainer, epoch)
            return
        left, again = trainer.steps_per_epoch, trainer
        for number in count(1):
            before = left
            for batch in islice(self.batches(prepared, again, epoch), left):
                yield batch
                left -= 1
            if left in (0, before):  # enough, or there are none
                return
            seed = int(stream(trainer.seed, "train", epoch, "pass", number).integers(2**63))
            again = trainer.model_copy(update={"seed": seed})

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        self.load_state_dict(dict(weights))
        self.eval()  # a model that was just built is in training mode, with its dropout
        return self

    def adopt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a fit on perhaps other rows, with what describes the rows as it is here.

        Buffers of truth values do, as `fitted_U`; a model that keeps other such buffers must override this."""
        own = {name: buffer for name, buffer in self.named_buffers() if buffer.dtype == torch.bool and name in weights}
        return {**weights, **{name: buffer.detach().cpu().clone() for name, buffer in own.items()}}

    def rows(self) -> Mapping[str, Rows]:
        """By name, the weights of which users or items have rows of their own, and which: so a later fit, with other
        users and items, can begin with them. Without these a model whose tables grow begins from nothing."""
        return {}

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


class seeded:  # noqa: N801  (reads as a statement)
    """Torch's global generators follow the given stream inside, and are as before outside."""

    def __init__(self, seed: int, *purpose: str | int) -> None:
        self._seed = int(stream(seed, *purpose).integers(2**63))
        self._fork = torch.random.fork_rng()

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


@torch.no_grad()
def shorten(tables: Iterable[Tensor], longest: float) -> None:
    """Scales rows that are longer than `longest` to that length, in place. Source: Srebro et al., NIPS 2004."""
    for table in tables:
        length = torch.linalg.vector_norm(table, dim=1, keepdim=True)
        table.mul_((longest / length).clamp(max=1))  # a row of zeros gives infinity, and so 1
