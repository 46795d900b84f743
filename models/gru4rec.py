"""GRU4Rec: what comes next, by a recurrent network that has read what a user took (Hidasi et al., ICLR 2016).

U users in the query, I items, B sequences, L places, D vector length, H width of the state, T targets
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .base import FitSession, Query, TrainingData
from .fitting.config import TrainerConfig
from .fitting.gradient import GradientModel
from .fitting.history import HistoryModelConfig
from .fitting.objective import LossName, vector_loss
from .fitting.rows import ITEMS, Rows
from .fitting.samplers import fill_normal
from .fitting.sequences import SequenceBatch, Sequences
from .nn.dropout import dropout
from .nn.gather import gather
from .nn.product import all_products
from .nn.reading import read, with_bias
from .search import Real, Space, Whole


class GRU4RecConfig(HistoryModelConfig):
    """Gated recurrent units over the latest items (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)."""

    name: Literal["gru4rec"] = "gru4rec"
    dim: PositiveInt = 64
    """Length of the item vectors."""
    width: PositiveInt = 64
    """Of the state that is carried from item to item."""
    layers: PositiveInt = 1
    """Of units, each reading the states of the one before."""
    history_length: PositiveInt = 50
    """How many of the latest items it is shown: the same as `sample.history_length`."""
    tied: bool = False
    """The vectors that are read also score: half the parameters."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the item vectors' and the states' numbers that a training step leaves out."""
    loss: LossName = "sampled_softmax"
    """As for the models of pairs; at each place what came next is compared with other items. The softmax over all of
    them does no better on MovieLens 100K, and takes twice as long on Beauty, which has 12,000."""
    decay: float = Field(0.9, gt=0, le=1)
    """Each epoch's learning rate is this times the one before; `trainer.schedule` comes on top."""
    init_std: PositiveFloat = 0.1
    """Standard deviation of the first vectors."""

    # How the defaults were found, by NDCG@10 of each user's last row before the test (full ranking), one run a point.
    # MovieLens 100K (item_knn has .115), 8 epochs from rate .004, falling to 0, with width 128 and a softmax over all
    # items: tied .105, tied cosines .111, own output vectors .115, these with dropout .5 .110 and with 1,024 sampled
    # items .117. Up to 20 epochs with decay .9: width 128 at .006 .113, at .003 with dropout .4 .105, width 64 at .004
    # .121. Beauty (item_knn has .056), 8 epochs from .004 with 1,024 sampled items: tied .027, tied cosines .037, own
    # .044.
    largest_batch: ClassVar[int | None] = 2048
    steps: ClassVar[int] = 32
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.004, "epochs": 20, "patience": 4,
    }  # fmt: skip
    sampling: ClassVar[dict[str, Any]] = {"negatives": 1024, "shared": True}
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=32, high=128, log=True),
        "model.width": Whole(low=32, high=256, log=True),
        "model.layers": Whole(low=1, high=2),
        "model.dropout": Real(low=0, high=0.6),
        "model.decay": Real(low=0.8, high=1),
        "trainer.learning_rate": Real(low=0.001, high=0.01, log=True),
    }
    """Around the defaults."""


class GRU4Rec(GradientModel):
    """Score is the product of an item's vector with a dense layer of the state at a history's newest place, plus the
    item's bias.

    A user's index plays no part; who has no history gets the biases. It learns from whole histories, and long
    ones in pieces, each from an empty state; the papers go through many sessions side by side."""

    Config = GRU4RecConfig

    def __init__(self, config: GRU4RecConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: GRU4RecConfig = config
        self.n_items = data.n_items
        widths = [config.dim, *[config.width] * config.layers]
        self.item_ID = nn.Parameter(torch.zeros(data.n_items + 1, config.dim))  # the last row is no item: zeros
        self.units = nn.ModuleList(nn.GRU(given, made, batch_first=True) for given, made in pairwise(widths))
        self.dense = nn.Linear(config.width, config.dim)
        self.output_ID = None if config.tied else nn.Parameter(torch.zeros(data.n_items, config.dim))
        self.bias_I = nn.Parameter(torch.zeros(data.n_items))

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    def folds_in(self) -> bool:
        return True

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        for name, table in (("item", self.item_ID), ("output", self.output_ID)):
            if table is not None:
                fill_normal(table, self.config.init_std, seed, "gru4rec", "initialise", name)
        with torch.no_grad():
            self.item_ID[-1] = 0
            self.bias_I.zero_()

    def rows(self) -> Mapping[str, Rows]:
        return dict.fromkeys(("item_ID", "bias_I") if self.config.tied else ("item_ID", "output_ID", "bias_I"), ITEMS)

    def embeddings(self) -> Iterable[Tensor]:
        return [self.item_ID] if self.output_ID is None else [self.item_ID, self.output_ID]

    def prepare(self, data: TrainingData, session: FitSession) -> Sequences:
        return Sequences(data, self.config, session)

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        return super().learning_rate(trainer, epoch) * self.config.decay ** (epoch - 1)

    def samples_per_epoch(self, data: TrainingData) -> int:
        return int(np.maximum(data.histories.lengths_U - 1, 0).sum())

    def loss(self, batch: SequenceBatch) -> Tensor:
        row_TD = gather(self.contexts(batch.items_BL).flatten(0, 1), batch.place_T)
        return vector_loss(self.config, batch.pairs, *self._comparable(row_TD))

    def contexts(self, items_BL: Tensor) -> Tensor:
        """[B, L, D] at each place what comes next, from the items up to there; padding stands behind."""
        share, training = self.config.dropout, self.training
        state_BLH = dropout(gather(self.item_ID, items_BL), share, training)
        for unit in self.units:
            state_BLH = dropout(unit(state_BLH)[0], share, training)
        row_BLD: Tensor = self.dense(state_BLH)
        return row_BLD

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        config = self.config
        row_UD = read(query.histories, config.history_length, config.dim, self.n_items, self.device, self.contexts)
        row_UD, item_ID = self._comparable(row_UD)
        return all_products(row_UD, item_ID)

    def _comparable(self, row_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of rows and of all items whose product is the score."""
        return with_bias(row_BD, self.item_ID[:-1] if self.output_ID is None else self.output_ID, self.bias_I)
