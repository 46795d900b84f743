"""SASRec: what comes next, by attention to what a user took before (Kang & McAuley, ICDM 2018).

U users in the query, I items, B sequences, L places, D vector length, T targets, S steps back
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad

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
from .nn.transformer import Block, Norm
from .search import Choice, Real, Space, Whole


class SASRecConfig(HistoryModelConfig):
    """Causal self-attention over the latest items (Kang & McAuley, ICDM 2018)."""

    name: Literal["sasrec"] = "sasrec"
    dim: PositiveInt = 64
    """Length of the item vectors, and width of the attention."""
    history_length: PositiveInt = 50
    """How many of the latest items it is shown: the same as `sample.history_length`."""
    blocks: PositiveInt = 2
    """Blocks of attention and dense layers, one after the other."""
    heads: PositiveInt = 2
    """Parts that each attention is split into, with a softmax of their own; they divide `dim`."""
    width: PositiveInt = 128
    """Of the dense layer within a block; the paper's is `dim`."""
    norm: Norm = "pre"
    """Normalise before each layer, as the paper does, or after (post)."""
    positions: Literal["distance", "absolute"] = "distance"
    """What is learned of order: a number for each head and each distance back, or a vector for each place, counted from
    the oldest item that is shown (the paper counts from the newest)."""
    recent: NonNegativeInt = 3
    """Add vectors of so many latest items straight to what the attention says, weighted by how long ago each was: the
    long and the short of a taste side by side, as in Fossil (He & McAuley, ICDM 2016). 0 is the paper's model."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the item vectors' numbers, and of what each layer adds to them, that a training step leaves out."""
    loss: LossName = "sampled_softmax"
    """As for the models of pairs; at each place what came next is compared with other items. The softmax over all of
    them does no better on MovieLens 100K, and takes twice as long on Beauty, which has 12,000."""
    decay: float = Field(0.9, gt=0, le=1)
    """Each epoch's learning rate is this times the one before; `trainer.schedule` comes on top."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the first vectors."""

    # How the defaults were found, by NDCG@10 of each user's last row before the test (full ranking), one run a point.
    # MovieLens 100K (item_knn has .115), 14 epochs at rate .002 with a softmax over all items: a vector for each place
    # .110, distances .118. 8 epochs from .004, falling to 0: distances .110; with dropout .2 .105, 1 block .109,
    # cosines .094; with 3 recent items .120, with vectors of their own for the output too .120, with 1,024 sampled
    # items .118. These, for longer: .135 after 16 epochs. Beauty (item_knn has .056), 8 epochs from .004: with 3 recent
    # items .054, with dropout .5 .048, with cosines .052. These, for longer: .066 after 14 epochs. The short runs had
    # gelu for relu, and dropout behind it too.
    largest_batch: ClassVar[int | None] = 2048
    steps: ClassVar[int] = 32
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.004, "epochs": 20, "patience": 3,
    }  # fmt: skip
    sampling: ClassVar[dict[str, Any]] = {"negatives": 1024, "shared": True}
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Choice(values=(32, 64, 96, 128)),
        "model.blocks": Whole(low=1, high=3),
        "model.heads": Choice(values=(1, 2, 4)),
        "model.recent": Whole(low=0, high=5),
        "model.dropout": Real(low=0.1, high=0.6),
        "model.decay": Real(low=0.8, high=1),
        "trainer.learning_rate": Real(low=0.001, high=0.01, log=True),
    }
    """Around the defaults; every number of heads divides every length."""

    @model_validator(mode="after")
    def _heads_divide_the_vectors(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"model.dim of {self.dim} is not divided by model.heads of {self.heads}")
        if "recent" in self.model_fields_set and self.recent > self.history_length:
            raise ValueError(f"model.recent is {self.recent}, but only {self.history_length} items are shown")
        return self


class SASRec(GradientModel):
    """Score is the product of an item's vector with what the last block says at a history's newest place, plus the
    item's bias. Attention reads the same vectors; what `recent` adds has vectors of its own.

    A user's index plays no part; who has no history gets the biases. It learns to predict at every place. The paper
    compares what came next with one other item; many make a much better model (Klenitskiy & Vasilev, RecSys 2023)."""

    Config = SASRecConfig

    def __init__(self, config: SASRecConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: SASRecConfig = config
        self.n_items = data.n_items
        absolute, shape = config.positions == "absolute", (data.n_items + 1, config.dim)
        reach = None if absolute else config.history_length
        self.item_ID = nn.Parameter(torch.zeros(shape))  # the last row is no item: zeros
        self.place_LD = nn.Parameter(torch.zeros(config.history_length, config.dim)) if absolute else None
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.width, config.dropout, config.norm, reach)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.recent_ID = nn.Parameter(torch.zeros(shape)) if config.recent else None
        self.recency_S = nn.Parameter(torch.zeros(config.recent)) if config.recent else None
        self.bias_I = nn.Parameter(torch.zeros(data.n_items))

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    def folds_in(self) -> bool:
        return True

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        tables = {"item": self.item_ID, "place": self.place_LD, "recent": self.recent_ID}
        with torch.no_grad():
            for name, table in tables.items():
                if table is not None:
                    fill_normal(table, self.config.init_std, seed, "sasrec", "initialise", name)
            for items_ID in self.embeddings():
                items_ID[-1] = 0
            if self.recency_S is not None:
                self.recency_S.copy_(0.6 ** torch.arange(self.config.recent))
            self.bias_I.zero_()

    def rows(self) -> Mapping[str, Rows]:
        return dict.fromkeys(("item_ID", "recent_ID", "bias_I") if self.config.recent else ("item_ID", "bias_I"), ITEMS)

    def embeddings(self) -> Iterable[Tensor]:
        return [self.item_ID] if self.recent_ID is None else [self.item_ID, self.recent_ID]

    def prepare(self, data: TrainingData, session: FitSession) -> Sequences:
        return Sequences(data, self.config, session)

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        return super().learning_rate(trainer, epoch) * self.config.decay ** (epoch - 1)

    def samples_per_epoch(self, data: TrainingData) -> int:
        return int(np.maximum(data.histories.lengths_U - 1, 0).sum())

    def loss(self, batch: SequenceBatch) -> Tensor:
        row_TD = gather(self.contexts(batch.items_BL).flatten(0, 1), batch.place_T)
        return vector_loss(self.config, batch.pairs, *with_bias(row_TD, self.item_ID[:-1], self.bias_I))

    def contexts(self, items_BL: Tensor) -> Tensor:
        """[B, L, D] at each place what comes next, from the items up to there; padding stands behind."""
        config = self.config
        # Vectors are small beside the norms' 1, for the sake of the products; the blocks get them at about its size.
        state_BLD = gather(self.item_ID, items_BL) * config.dim**0.5
        if self.place_LD is not None:
            state_BLD = state_BLD + self.place_LD[: items_BL.shape[1]]
        state_BLD = dropout(state_BLD, config.dropout, self.training)
        for block in self.blocks:
            state_BLD = block(state_BLD)
        said_BLD: Tensor = self.norm(state_BLD)
        return said_BLD if self.recent_ID is None else said_BLD + self._latest(items_BL)

    def _latest(self, items_BL: Tensor) -> Tensor:
        """[B, L, D] at each place the weighted sum of the vectors of the item there and of those just before."""
        assert self.recent_ID is not None
        assert self.recency_S is not None
        near_BLD = dropout(gather(self.recent_ID, items_BL), self.config.dropout, self.training)
        length = items_BL.shape[1]
        sum_BLD = self.recency_S[0] * near_BLD
        for back in range(1, min(self.config.recent, length)):
            sum_BLD = sum_BLD + self.recency_S[back] * pad(near_BLD[:, : length - back], (0, 0, back, 0))
        return sum_BLD

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        config = self.config
        row_UD = read(query.histories, config.history_length, config.dim, self.n_items, self.device, self.contexts)
        row_UD, item_ID = with_bias(row_UD, self.item_ID[:-1], self.bias_I)
        return all_products(row_UD, item_ID)
