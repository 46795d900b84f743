"""What a model of pairs is trained by: which loss goes with which negatives, and the loss of a batch.

Models bring a score for users and items; nothing here knows how it comes about.

I items, B rows in a batch, N negatives of a row, H draws that compete for one negative, C candidates
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from ..base import TrainingData
from ..config import ModelConfig
from ..nn import losses
from ..nn.gather import gather
from ..nn.log_sum import log_sum_exp
from .config import SamplingConfig, TrainerConfig, named
from .opponents import PairBatch
from .pairs import Pairs

LossName = Literal[
    "bpr", "hinge", "exponential", "warp", "log_loss", "mse", "mae", "gbce", "softmax", "sampled_softmax"
]
Score = Callable[[Tensor, Tensor], Tensor]
"""[B, N] from users [B] and items: [B, N], each row's own, or [C], the same for all rows."""
LogSum = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""[B] from users [B], items [C], offsets [C], masked [B, C] or None: log sum exp(score / temperature + offset), over
the items that are not masked. For products of vectors, `nn.log_sum` has it at a fraction of the cost."""


@dataclass(frozen=True)
class Rule:
    """What a loss compares, and so which negatives it can be given."""

    compares: Literal["pairs", "labels", "candidates"]
    distributions: tuple[str, ...]
    negatives: int | None
    """As many as where nothing else is known; None: it takes all items."""
    why: str
    """Said where other negatives are asked for."""


TABLES = ("uniform", "popularity", "log_uniform")
DRAWN = (
    "it compares a row with items that its user has not seen: sample.distribution is uniform, popularity or "
    "log_uniform (in_batch is for the loss sampled_softmax)"
)
UNIFORM = "it tells a rank from the number of uniform draws up to the first mistake: sample.distribution is uniform"
# The one table of what goes together. Every loss goes with every model of pairs, but what needs the scores of all
# candidates for all rows (softmax, in_batch and shared negatives) only with those whose score is a product of vectors.
RULES: dict[LossName, Rule] = {
    "bpr": Rule("pairs", TABLES, 1, DRAWN),
    "hinge": Rule("pairs", TABLES, 1, DRAWN),
    "exponential": Rule("pairs", TABLES, 1, DRAWN),
    "warp": Rule("pairs", ("uniform",), 10, UNIFORM),
    "log_loss": Rule("labels", TABLES, 4, DRAWN),
    "mse": Rule("labels", TABLES, 4, DRAWN),
    "mae": Rule("labels", TABLES, 4, DRAWN),
    "gbce": Rule("labels", TABLES, 256, DRAWN),
    "sampled_softmax": Rule("candidates", (*TABLES, "in_batch"), 64, ""),
    "softmax": Rule("candidates", (), None, "it compares a row with every item, so leave that unset"),
}
TOO_DEAR = "every row would go with every candidate through its layers"
LABELS = {"log_loss": losses.log_loss, "mse": losses.mse, "mae": losses.mae, "gbce": losses.log_loss}
PAIRS = {"bpr": losses.bpr, "hinge": losses.hinge, "exponential": losses.exponential}


class PairModelConfig(ModelConfig):
    """Base of the configurations of models that learn from pairs of user and item."""

    loss: LossName = "bpr"
    """What the scores are trained by: bpr, hinge, exponential or warp (above unseen items), log_loss, mse or mae
    (1 for a row, 0 for unseen items), gbce (log_loss that counters its few negatives), softmax or sampled_softmax (the
    most probable of all or of drawn items)."""
    positive_weight: PositiveFloat = 1.0
    """For log_loss, mse and mae: what a row weighs beside each of its negatives."""
    temperature: PositiveFloat = 1.0
    """For the softmaxes: scores are divided by it."""
    calibration: float = Field(0.75, ge=0, le=1)
    """For gbce: 0 is log_loss, 1 makes the scores probabilities as if no negative had been left out (Petrov &
    Macdonald, RecSys 2023: t)."""

    factorised: ClassVar[bool] = True
    """Whether the score is a product of vectors, so that many items for many users cost one matrix product."""
    sampling: ClassVar[dict[str, Any]] = {}
    """SamplingConfig fields that suit the model with its own loss, used where the user sets none."""
    largest_batch: ClassVar[int | None] = None
    """What `trainer.batch_size` is on many rows; on few the batches are smaller, for `steps` of them an epoch. It
    depends on the data, so it is no recommended value: the fit chooses it. None: the recommended value holds."""
    steps: ClassVar[int] = 64
    """Of an epoch at least, where `largest_batch` is set."""

    @model_validator(mode="after")
    def _loss_makes_sense(self) -> Self:
        if self.loss == "softmax" and not self.factorised:
            raise ValueError(f"the loss softmax and {self.name}: {TOO_DEAR}; take sampled_softmax")
        if self.positive_weight != 1 and (RULES[self.loss].compares != "labels" or self.loss == "gbce"):
            why = "it is what calibration gives" if self.loss == "gbce" else "it has no labels"
            raise ValueError(f"positive_weight has no meaning for the loss {self.loss}: {why}")
        if self.temperature != 1 and RULES[self.loss].compares != "candidates":
            raise ValueError(f"temperature has no meaning for the loss {self.loss}: it is no softmax")
        if self.calibration != 0.75 and self.loss != "gbce":
            raise ValueError(f"calibration has no meaning for the loss {self.loss}: it is for gbce")
        return self

    def with_batches(self, trainer: TrainerConfig, n_rows: int) -> TrainerConfig:
        """With a batch size that gives enough steps on so many rows, where it has none and the model leaves it open."""
        if trainer.batch_size is not None or self.largest_batch is None:
            return trainer
        size = max(1, min(self.largest_batch, n_rows // self.steps))
        return trainer.model_copy(update={"batch_size": size})

    def complete_sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """Fills what is unset, and refuses what makes no sense with a reason."""
        rule, asked = RULES[self.loss], set(sampling.asked_for) - {"weights"}
        if not rule.distributions:
            if asked:
                raise ValueError(f"{named(sampling)} and the loss {self.loss}: {rule.why}")
            return sampling
        if sampling.distribution == "in_batch" and asked & {"negatives", "hardest_of", "shared"}:
            raise ValueError(
                "sample.distribution in_batch takes the batch's other rows, and trainer.batch_size says how many: "
                "leave sample.negatives, sample.hardest_of and sample.shared unset"
            )
        made = sampling.model_copy(update=self._filled(rule, {name: getattr(sampling, name) for name in asked}))
        self._refuse_nonsense(made, rule)
        return made

    def _filled(self, rule: Rule, asked: dict[str, Any]) -> dict[str, Any]:
        """What the model recommends, where nothing else is asked for than how many negatives, and by which table."""
        usual: dict[str, Any] = {"distribution": "uniform", "negatives": rule.negatives, "hardest_of": 1}
        own = self.sampling if self.loss == type(self).model_fields["loss"].default else {}
        kind = {name: value for name, value in asked.items() if name not in ("negatives", "exponent")}
        if kind.get("distribution") in TABLES and "distribution" not in own:
            del kind["distribution"]
        filled = usual | {"shared": False, "stored": False}
        if kind.items() <= (filled | own).items():
            filled |= own
        filled |= asked
        if filled["distribution"] == "in_batch":
            return filled | {"negatives": None, "hardest_of": None, "shared": None}
        return {"exponent": 0.75, **filled} if filled["distribution"] == "popularity" else filled

    def _refuse_nonsense(self, sampling: SamplingConfig, rule: Rule) -> None:
        if sampling.stored and not self.reads_windows:
            raise ValueError(f"sample.stored and {self.name}: it does not learn from stored rows; leave it unset")
        if sampling.stored and (sampling.shared or sampling.distribution == "in_batch" or sampling.hardest_of != 1):
            raise ValueError(
                "sample.stored keeps each row's own negatives: it goes with neither in_batch, sample.shared nor "
                "sample.hardest_of"
            )
        if not self.factorised and sampling.distribution == "in_batch":
            raise ValueError(
                f"sample.distribution in_batch and {self.name}: {TOO_DEAR}; it is uniform or popularity there"
            )
        if not self.factorised and sampling.shared:
            raise ValueError(f"sample.shared and {self.name}: {TOO_DEAR}; leave sample.shared unset")
        if sampling.distribution not in rule.distributions:
            raise ValueError(f"sample.distribution {sampling.distribution} and the loss {self.loss}: {rule.why}")
        if sampling.exponent is not None and sampling.distribution != "popularity":
            raise ValueError(f"sample.exponent has no meaning for sample.distribution {sampling.distribution}")
        if (sampling.hardest_of or 1) > 1 and (rule.compares == "candidates" or self.loss == "warp"):
            raise ValueError(
                f"sample.hardest_of and the loss {self.loss}: it needs to know how likely each draw was; leave it at 1"
            )
        if sampling.shared and rule.compares != "candidates":
            raise ValueError("sample.shared is for the loss sampled_softmax: others compare a row with its own draws")


def make_pairs(data: TrainingData, config: PairModelConfig, sampling: SamplingConfig) -> Pairs:
    """The rows with the negatives that a complete configuration asks for."""
    return Pairs(data, sampling, corrected=RULES[config.loss].compares == "candidates")


def pair_loss(
    config: PairModelConfig, batch: PairBatch, score: Score, n_items: int, log_sum: LogSum | None = None
) -> Tensor:
    """The weighted mean over the batch, without penalties. `log_sum` is used for candidates that all rows share.

    Of draws that compete for a place, `choose_hardest` has made the choice before."""
    rule = RULES[config.loss]
    if rule.compares == "candidates":
        loss_B = _against_candidates(config, batch, score, n_items, log_sum)
    else:
        score_BN = score(batch.users_B, torch.cat([batch.positives_B[:, None], batch.negatives], dim=1))
        if rule.compares == "labels":
            label_BN = torch.zeros_like(score_BN)
            label_BN[:, 0] = 1
            loss_BN = LABELS[config.loss](score_BN, label_BN)
            weight = config.positive_weight
            if config.loss == "gbce":
                weight = losses.gbce_weight(score_BN.shape[1] - 1, n_items, config.calibration)
            loss_B = (loss_BN.sum(dim=1) + (weight - 1) * loss_BN[:, 0]) / score_BN.shape[1]
        elif config.loss == "warp":
            loss_B = losses.warp(score_BN[:, 0], score_BN[:, 1:], n_items)
        else:
            loss_B = PAIRS[config.loss](score_BN[:, :1], score_BN[:, 1:]).mean(dim=1)
    return (batch.weight_B * loss_B).mean()


def vector_loss(config: PairModelConfig, batch: PairBatch, row_BD: Tensor, item_ID: Tensor) -> Tensor:
    """`pair_loss` where the score is the product of a vector that each row brings along, and the item's.

    Draws that compete for a place are compared by it too."""

    def affinity(users_B: Tensor, items: Tensor) -> Tensor:
        vectors = gather(item_ID, items)
        return row_BD @ vectors.T if items.ndim == 1 else torch.einsum("bd,bnd->bn", row_BD, vectors)

    def log_sum(users_B: Tensor, items_C: Tensor, offset_C: Tensor, masked_BC: Tensor | None) -> Tensor:
        item_CD = item_ID if len(items_C) == len(item_ID) and masked_BC is None else gather(item_ID, items_C)
        return log_sum_exp(row_BD / config.temperature, item_CD, offset_C, masked_BC)

    return pair_loss(config, choose_hardest(batch, affinity), affinity, len(item_ID), log_sum)


@torch.no_grad()
def choose_hardest(batch: PairBatch, score: Score) -> PairBatch:
    """Of draws [B, N, H] those [B, N] with the highest score in each place, of equals the first; others stay.

    Done once for loss and penalties together. Source: Zhang et al., SIGIR 2013."""
    if batch.negatives.ndim < 3:
        return batch
    score_BNH = score(batch.users_B, batch.negatives.flatten(1)).view(batch.negatives.shape)
    negatives_BN = batch.negatives.gather(2, score_BNH.argmax(dim=2, keepdim=True))[:, :, 0]
    return replace(batch, negatives=negatives_BN)


def _against_candidates(
    config: PairModelConfig, batch: PairBatch, score: Score, n_items: int, log_sum: LogSum | None
) -> Tensor:
    """[B] the softmax of each row's item among all items, the batch's, those shared by the batch, or its own draws."""
    n, device = len(batch), batch.users_B.device
    if config.loss == "softmax":
        every_I = torch.arange(n_items, device=device)
        if log_sum is None:
            return losses.softmax(score(batch.users_B, every_I) / config.temperature, batch.positives_B)
        own_B = score(batch.users_B, batch.positives_B[:, None])[:, 0] / config.temperature
        return log_sum(batch.users_B, every_I, torch.zeros(n_items, device=device), None) - own_B
    first_B = torch.zeros(n, dtype=torch.int64, device=device)
    if batch.negatives.ndim == 2:
        candidates_BC = torch.cat([batch.positives_B[:, None], batch.negatives], dim=1)
        return losses.sampled_softmax(score(batch.users_B, candidates_BC) / config.temperature, first_B, batch.log_q)
    if not len(batch.negatives):
        score_BB = score(batch.users_B, batch.positives_B) / config.temperature
        own_B = torch.arange(n, device=device)
        return losses.sampled_softmax(score_BB, own_B, batch.log_q, batch.masked_BC)
    own_B = score(batch.users_B, batch.positives_B[:, None])[:, 0] / config.temperature - batch.log_q[:n]
    if log_sum:
        others_B = log_sum(batch.users_B, batch.negatives, -batch.log_q[n:], batch.masked_BC)
    else:
        logit_BC = score(batch.users_B, batch.negatives) / config.temperature - batch.log_q[n:]
        others_B = logit_BC.masked_fill(batch.masked_BC, -torch.inf).logsumexp(dim=1)
    return torch.logaddexp(own_B, others_B) - own_B
