"""Neural collaborative filtering, gmf and mlp, and what they share with neumf (He et al., WWW 2017).

U users in the query or the tables, I items, D vector length, B rows in a batch, N items of a row, C items for all rows
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numba
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ..base import Query, TrainingData
from ..fitting.config import TrainerConfig
from ..fitting.gradient import GradientModel
from ..fitting.objective import Score, choose_hardest, pair_loss
from ..fitting.opponents import PairBatch
from ..fitting.rows import ITEMS, USERS, Rows
from ..fitting.trainable import Pass
from .config import GMFConfig, MLPConfig, NCFConfig
from .parts import Part, Product, Tower

MAIN = "main"
"""The output that scores; the only one of gmf and mlp."""

FEW = 1024
"""Rows of a batch below which threads wait for each other longer than they work: fifty times, on a busy machine."""


class Outputs(NamedTuple):
    """What a model makes of some users and items."""

    logits: Mapping[str, Tensor]
    """[B, N] or [B, C] by output."""
    penalty: Tensor
    """On what the layers put out: one number."""


class NCF(GradientModel):
    """What the three have in common: a loss for each output, penalties, and batches that suit the number of rows.

    A user without fitted rows gets the mean of the others' vectors."""

    config: NCFConfig

    def __init__(self, config: NCFConfig, data: TrainingData) -> None:
        super().__init__()
        self.config = config
        self.n_items = data.n_items
        self.register_buffer("fitted_U", torch.from_numpy(data.histories.lengths_U > 0))
        self.fitted_U: Tensor

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Whose tables are penalised."""

    @abstractmethod
    def outputs(self, users_B: Tensor, items: Tensor) -> Outputs:
        """For items [B, N], each row's own; where the model is factorised also for [C], the same for all rows."""

    @abstractmethod
    def score_all(self, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        """[U, I] of the users whose rows `vectors` takes from a table."""

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        for part in self.parts:
            part.initialise(seed, self.config.init_std)

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        return super().learning_rate(trainer, epoch) * self.config.decay ** (epoch - 1)

    def rows(self) -> Mapping[str, Rows]:
        whose = {"user_UD": USERS, "user_UE": USERS, "item_ID": ITEMS, "item_IE": ITEMS, "bias_I": ITEMS}
        return {name: whose[last] for name in self.state_dict() if (last := name.rpartition(".")[2]) in whose}

    def embeddings(self) -> list[Tensor]:
        return [table for part in self.parts for table in part.tables]

    def epoch(self, prepared: Any, trainer: TrainerConfig, epoch: int, optimizer: Optimizer) -> Pass:
        with one_thread(wanted=(trainer.batch_size or 0) < FEW):
            return super().epoch(prepared, trainer, epoch, optimizer)

    def loss(self, batch: PairBatch) -> Tensor:
        batch = self._settled(batch)
        made = _Once(self.outputs)
        losses = [
            weight * pair_loss(self.config, batch, made.score(name), self.n_items)
            for name, weight in self.config.outputs.items()
        ]
        return torch.stack(losses).sum() + made.penalty + self._penalty(batch)

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        users_U = torch.from_numpy(np.asarray(query.users_U, dtype=np.int64)).to(self.device)
        safe_U = users_U.clamp(min=0)
        known_U = (users_U >= 0) & self.fitted_U[safe_U]

        def vectors(table_UD: Tensor) -> Tensor:
            mean_D = table_UD[self.fitted_U].mean(dim=0) if self.fitted_U.any() else torch.zeros_like(table_UD[0])
            return torch.where(known_U[:, None], table_UD[safe_U], mean_D)

        return self.score_all(vectors)

    def _settled(self, batch: PairBatch) -> PairBatch:
        """With the hardest draws, by scores as they are served: without dropout, and unseen by batch norm."""
        if batch.negatives.ndim < 3:
            return batch
        training = self.training
        self.eval()
        batch = choose_hardest(batch, lambda users_B, items: self.outputs(users_B, items).logits[MAIN])
        self.train(training)
        return batch

    def _penalty(self, batch: PairBatch) -> Tensor:
        """On the rows of the tables, as often as the batch uses them: without a copy of them."""
        l1, l2 = self.config.l1, self.config.l2
        if not (l1 or l2):
            return self.fitted_U.new_zeros((), dtype=torch.float32)
        # Candidates for the whole batch are nobody's own: [C] are left out.
        own = batch.negatives if batch.negatives.ndim > 1 else batch.positives_B[:, None][:, :0]
        items = torch.cat([batch.positives_B[:, None], own], dim=1).flatten()
        users_U = torch.bincount(batch.users_B, minlength=len(self.fitted_U)) / len(batch)
        items_I = torch.bincount(items, minlength=self.n_items) / len(items)
        used = [pair for part in self.parts for pair in zip((users_U, items_I), part.tables, strict=True)]
        used += [(items_I, part.bias_I) for part in self.parts if part.bias_I is not None]
        penalties = []
        for share_N, table in used:
            if l2:
                penalties.append(0.5 * l2 * (share_N.to(table.dtype) @ table.square()).sum())
            if l1:
                penalties.append(l1 * (share_N.to(table.dtype) @ table.abs()).sum())
        return torch.stack(penalties).sum()


class GMF(NCF):
    """Score is a weighted sum of the products of the two vectors, number by number, plus the item's bias."""

    Config = GMFConfig

    def __init__(self, config: GMFConfig, data: TrainingData) -> None:
        super().__init__(config, data)
        self.product = Product(config, data)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.product,)

    def outputs(self, users_B: Tensor, items: Tensor) -> Outputs:
        logit = self.product(users_B, items, self.product.output.weight[0]) + self.product.output.bias
        return Outputs({MAIN: logit}, logit.new_zeros(()))

    def score_all(self, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        output = self.product.output
        return self.product.all_items(vectors(self.product.user_UD), output.weight[0]).add_(output.bias)


class MLP(NCF):
    """Score is what a tower of dense layers makes of the two vectors side by side."""

    Config = MLPConfig

    def __init__(self, config: MLPConfig, data: TrainingData) -> None:
        super().__init__(config, data)
        self.tower = Tower(config, data)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.tower,)

    def outputs(self, users_B: Tensor, items: Tensor) -> Outputs:
        out_RH, penalty = self.tower(users_B, items)
        return Outputs({MAIN: self.tower.output(out_RH).view(items.shape)}, penalty)

    def score_all(self, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        user_UE, output = vectors(self.tower.user_UE), self.tower.output
        score_UI = output.bias.expand(len(user_UE), self.n_items).clone()
        self.tower.add_all_items(score_UI, user_UE, output.weight[0])
        return score_UI


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Inside, torch and the kernels use one thread, if that is wanted."""
    if not wanted:
        yield
        return
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


class _Once:
    """The outputs for the items of a batch: made once, although every loss asks for its own."""

    def __init__(self, outputs: Callable[[Tensor, Tensor], Outputs]) -> None:
        self._outputs = outputs
        self._made: tuple[Tensor, bool, Outputs] | None = None

    @property
    def penalty(self) -> Tensor:
        assert self._made is not None  # a loss has asked
        return self._made[2].penalty

    def score(self, name: str) -> Score:
        def score(users_B: Tensor, items: Tensor) -> Tensor:
            # The hardest of some draws are chosen without a gradient, and then needed with one.
            grad, made = torch.is_grad_enabled(), self._made
            if made is None or made[1] != grad or not torch.equal(made[0], items):
                self._made = made = (items, grad, self._outputs(users_B, items))
            return made[2].logits[name]

        return score
