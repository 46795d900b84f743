"""BPR-MF: a vector for each user and item, trained so that what a user took scores above what they did not.

U users in the query, I items, D vector length, B rows in a batch, N items of a row, C items for all rows
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim import Optimizer

from ..base import FitSession, Query, TrainingData, TrainingDiverged
from ..fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from ..fitting.gradient import GradientModel
from ..fitting.objective import PairModelConfig, choose_hardest, pair_loss
from ..fitting.opponents import PairBatch
from ..fitting.pairs import row_weights
from ..fitting.rows import ITEMS, USERS, Rows
from ..fitting.samplers import fill_normal
from ..fitting.trainable import Pass
from ..nn.gather import gather
from ..nn.product import all_products
from ..search import Choice, Real, Space, Whole
from . import kernel


class BPRMFConfig(PairModelConfig):
    """Matrix factorisation by Bayesian personalised ranking (Rendle et al., UAI 2009), or by another loss."""

    name: Literal["bpr_mf"] = "bpr_mf"
    dim: PositiveInt = 64
    """Length of the user and item vectors."""
    l2: NonNegativeFloat = 0.0075
    """Weight of half the squared norm of what a row uses: the vectors of user and item, the item's bias, and the mean
    over its own negatives of the same."""
    init_std: PositiveFloat = 0.03
    """Standard deviation of the first vectors; biases start at zero."""
    use_bias: bool = True
    """Give each item a number of its own beside its vector: its popularity."""
    decay: PositiveFloat = 0.97
    """Each epoch's learning rate is this times the one before."""

    # How the defaults of this class were found: on MovieLens 100K, by NDCG@10 of each user's last row but one (full
    # ranking, smoothed over 7 epochs: single epochs differ by .005 from noise). First 58 random draws with 2 seeds over
    # l2 .002 to .05, rate .02 to .15, decay .93 to 1, init_std .01 to .1, with and without bias; then 18 points around
    # the best with 4 seeds. There l2 .005 and .0075 are equal (.069); without decay rate .1 gives .065, rate .05 .067.
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "sgd", "learning_rate": 0.1, "epochs": 80, "patience": 15, "batch_size": 1024,
    }  # fmt: skip
    """For the kernel, which takes one row a step: `batch_size` is for the others."""
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=16, high=256, log=True),
        "model.l2": Real(low=0.0005, high=0.1, log=True),
        "model.init_std": Real(low=0.01, high=0.2, log=True),
        "model.use_bias": Choice(values=(True, False)),
        "model.decay": Real(low=0.9, high=1),
        "trainer.learning_rate": Real(low=0.01, high=0.3, log=True),
    }
    """About as far as the search that found the defaults went."""

    # Adam at .003, .01 and .03 gave .067, .073 and .069 on the same rows (one seed), ten times as slowly.
    batched: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.01, "epochs": 80, "patience": 15, "batch_size": 1024,
    }  # fmt: skip

    # What a batch's mean leaves of a row's step: so these rules move as far as the kernel at equal settings. On 1,200
    # users of MovieLens 1M (one random row held out, 15 epochs, one seed) the kernel gives .090, these .087 to .088.
    rate_per_row: ClassVar[dict[str, float]] = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "ftrl": 0.1}
    # Best of three to five tried on the same rows: .094 and .081.
    rates: ClassVar[dict[str, float]] = {"adagrad": 0.1, "adadelta": 60.0}

    def complete(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """Without a wish, the kernel on the CPU: it is faster than batches on a GPU for vectors of this length."""
        wants_kernel = trainer.optimizer in (None, "sgd") and trainer.device != "cuda" and not trainer.needs_steps
        if wants_kernel and self.is_plain(sampling):
            return trainer.filled(self.recommended).model_copy(update={"device": "cpu"})
        name, batch_size = trainer.optimizer or "adam", trainer.batch_size or self.batched["batch_size"]
        rate = self.rates.get(name, self.batched["learning_rate"])
        if name in self.rate_per_row:
            rate = self.rate_per_row[name] * batch_size
        return trainer.filled({**self.batched, "learning_rate": rate})

    def is_plain(self, sampling: SamplingConfig) -> bool:
        """Whether it is what the paper does, and the kernel: one uniform negative for each row, all rows alike."""
        return self.loss == "bpr" and self.complete_sampling(sampling) == self.complete_sampling(
            sampling.model_copy(update=dict(NO_WISH))
        )


class BPRMF(GradientModel):
    """Score is the dot product of the two vectors plus the item's bias.

    A user without fitted rows gets the mean of the others' vectors."""

    Config = BPRMFConfig

    def __init__(self, config: BPRMFConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: BPRMFConfig = config
        self.user_UD = nn.Parameter(torch.zeros(data.n_users, config.dim))
        self.item_ID = nn.Parameter(torch.zeros(data.n_items, config.dim))
        self.bias_I = nn.Parameter(torch.zeros(data.n_items), requires_grad=config.use_bias)
        self.register_buffer("fitted_U", torch.from_numpy(data.histories.lengths_U > 0))
        self.fitted_U: Tensor

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    def initialise(self, seed: int) -> None:
        for name, vectors in (("user", self.user_UD), ("item", self.item_ID)):
            fill_normal(vectors, self.config.init_std, seed, "bpr_mf", "initialise", name)
        with torch.no_grad():
            self.bias_I.zero_()

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        return super().learning_rate(trainer, epoch) * self.config.decay ** (epoch - 1)

    def rows(self) -> Mapping[str, Rows]:
        return {"user_UD": USERS, "item_ID": ITEMS, "bias_I": ITEMS}

    def embeddings(self) -> Iterable[Tensor]:
        return [self.user_UD, self.item_ID]

    def prepare(self, data: TrainingData, session: FitSession) -> Any:
        trainer, plain = session.trainer, self.config.is_plain(session.sampling)
        if not (plain and trainer.optimizer == "sgd" and self.device.type == "cpu" and not trainer.needs_steps):
            return super().prepare(data, session)
        weight_R = kernel.ALIKE if data.weights_R is None else row_weights(data, "equal")
        return kernel.Rows.of(data.histories, data.n_items, weight_R)

    def epoch(self, prepared: Any, trainer: TrainerConfig, epoch: int, optimizer: Optimizer) -> Pass:
        if not isinstance(prepared, kernel.Rows):
            return super().epoch(prepared, trainer, epoch, optimizer)
        losses, n_samples = kernel.train_epoch(
            prepared,
            self.user_UD.detach().numpy(),  # shares the model's memory: the kernel works in place
            self.item_ID.detach().numpy(),
            self.bias_I.detach().numpy(),
            rate=optimizer.param_groups[0]["lr"],
            l2=self.config.l2,
            use_bias=self.config.use_bias,
            seed=trainer.seed,
            epoch=epoch,
        )
        if not np.isfinite(losses[-1]):
            raise TrainingDiverged(f"loss is {losses[-1]} at epoch {epoch}, step {len(losses) - 1}")
        return Pass(sum(losses) / max(n_samples, 1), n_samples)

    def loss(self, batch: PairBatch) -> Tensor:
        batch = choose_hardest(batch, self.affinity)
        used = [gather(self.user_UD, batch.users_B), self._item(batch.positives_B)]
        norm = torch.stack([vector_BE.square().sum(dim=1).mean() for vector_BE in used]).sum()
        if batch.negatives.ndim > 1:  # candidates for the whole batch are nobody's own
            norm = norm + self._item(batch.negatives).square().sum(dim=-1).mean()
        return pair_loss(self.config, batch, self.affinity, len(self.item_ID)) + 0.5 * self.config.l2 * norm

    def affinity(self, users_B: Tensor, items: Tensor) -> Tensor:
        """[B, N] scores of each row's own items [B, N], or of items [C] for all rows: [B, C]."""
        user_BD = gather(self.user_UD, users_B)
        if items.ndim == 1:
            return torch.addmm(gather(self.bias_I, items), user_BD, gather(self.item_ID, items).T)
        return torch.einsum("bd,bnd->bn", user_BD, gather(self.item_ID, items)) + gather(self.bias_I, items)

    def _item(self, items: Tensor) -> Tensor:
        """[..., D + 1] the vectors of items and their biases."""
        return torch.cat([gather(self.item_ID, items), gather(self.bias_I, items)[..., None]], dim=-1)

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        users_U = torch.from_numpy(np.asarray(query.users_U, dtype=np.int64)).to(self.device)
        known_U = (users_U >= 0) & self.fitted_U[users_U.clamp(min=0)]
        user_UD = self.user_UD[users_U.clamp(min=0)]
        if not known_U.all():
            mean_D = self.user_UD[self.fitted_U].mean(dim=0) if self.fitted_U.any() else torch.zeros_like(user_UD[0])
            user_UD = torch.where(known_U[:, None], user_UD, mean_D)
        return all_products(user_UD, self.item_ID, self.bias_I)
