"""Caser: the latest items as the rows of an image, read by filters across and along it (Tang & Wang, WSDM 2018).

U users in the query, I items, B rows in a batch, L history length, D vector length, W places of a filter, F filters,
H width of what describes a row: twice D
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import pad

from .base import FitSession, Query, TrainingData
from .fitting.gradient import GradientModel
from .fitting.history import HistoryModelConfig
from .fitting.objective import LossName, vector_loss
from .fitting.rows import ITEMS, USERS, Rows
from .fitting.samplers import fill_normal
from .fitting.window_pairs import WindowBatch, WindowPairs
from .nn.dropout import dropout
from .nn.gather import gather
from .nn.product import all_products
from .nn.reading import with_bias
from .search import Real, Space, Whole
from .windows import latest


class CaserConfig(HistoryModelConfig):
    """Convolutions over a user's latest items, beside a vector of the user (Tang & Wang, WSDM 2018)."""

    name: Literal["caser"] = "caser"
    loss: LossName = "sampled_softmax"
    """As for the models of pairs; a row is compared with other items that might have come next."""
    dim: PositiveInt = 64
    """Length of the item and user vectors."""
    history_length: PositiveInt = 8
    """How many of the latest items it is shown: the same as `sample.history_length`."""
    horizontal: PositiveInt = 16
    """Filters of each height, 1 up to the history's length, of which each keeps its strongest place."""
    vertical: PositiveInt = 4
    """Weighted sums of the items, with weights by place."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the filters' outputs that a training step leaves out."""
    user_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the rows whose user a training step hides, so that users without a vector are scored well."""
    init_std: PositiveFloat = 0.05
    """Standard deviation of the first vectors."""
    l2: NonNegativeFloat = 0.001
    """Weight of half the squared norm of the vectors of a row's user and target."""

    reads_windows: ClassVar[bool] = True
    largest_batch: ClassVar[int | None] = 1024
    steps: ClassVar[int] = 32
    # How the defaults were found: on MovieLens 100K, by NDCG@10 of each user's last row but one (full ranking, one run
    # and one seed a point; item_knn has .115). By a softmax over all items at rate .002 and batches of 512: 5 items
    # .124, 8 items .125, init_std .02 .122, user_dropout .5 .117, l2 .001 .127. By sampled_softmax, where seen items
    # are no opponents, .132; with batches of 1024 at rate .004, in half the time, .128.
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adam", "learning_rate": 0.004, "epochs": 30, "patience": 4}
    sampling: ClassVar[dict[str, Any]] = {"negatives": 1024, "shared": True}
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=32, high=128, log=True),
        "model.history_length": Whole(low=4, high=16),
        "model.horizontal": Whole(low=4, high=32, log=True),
        "model.vertical": Whole(low=1, high=8),
        "model.dropout": Real(low=0.2, high=0.7),
        "model.user_dropout": Real(low=0, high=0.5),
        "model.l2": Real(low=0.00001, high=0.01, log=True),
        "trainer.learning_rate": Real(low=0.001, high=0.01, log=True),
    }
    """Around the defaults."""


class Caser(GradientModel):
    """Score is the product of an item's output vector with what the filters make of the history beside the user's own
    vector, plus the item's bias. A user without fitted rows has the vector of nobody, which hidden users teach."""

    Config = CaserConfig

    def __init__(self, config: CaserConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: CaserConfig = config
        self.n_items = data.n_items
        length, dim = config.history_length, config.dim
        self.input_ID = nn.Parameter(torch.zeros(data.n_items + 1, dim))  # the last row is no item: zeros
        self.user_UD = nn.Parameter(torch.zeros(data.n_users + 1, dim))  # the last row is nobody
        self.output_IH = nn.Parameter(torch.zeros(data.n_items, 2 * dim))
        self.bias_I = nn.Parameter(torch.zeros(data.n_items))
        self.filters = nn.ModuleList(nn.Linear(height * dim, config.horizontal) for height in range(1, length + 1))
        self.place_LF = nn.Parameter(torch.zeros(length, config.vertical))
        self.register_buffer("fitted_U", torch.from_numpy(data.histories.lengths_U > 0))
        self.fitted_U: Tensor
        self.join = nn.Linear(length * config.horizontal + config.vertical * dim, dim)

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    def folds_in(self) -> bool:
        return True

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        std = self.config.init_std
        for name, vectors in (("input", self.input_ID), ("user", self.user_UD), ("output", self.output_IH)):
            fill_normal(vectors, std, seed, "caser", "initialise", name)
        fill_normal(self.place_LF, self.config.history_length**-0.5, seed, "caser", "initialise", "place")
        with torch.no_grad():
            self.input_ID[-1] = 0
            self.user_UD[-1] = 0
            self.bias_I.zero_()

    def rows(self) -> Mapping[str, Rows]:
        return {"user_UD": USERS, **dict.fromkeys(("input_ID", "output_IH", "bias_I"), ITEMS)}

    def embeddings(self) -> Iterable[Tensor]:
        return [self.input_ID, self.user_UD, self.output_IH]

    def prepare(self, data: TrainingData, session: FitSession) -> WindowPairs:
        return WindowPairs(data, self.config, session)

    def loss(self, batch: WindowBatch) -> Tensor:
        users_B = batch.pairs.users_B
        if self.config.user_dropout:
            hidden_B = torch.rand(len(users_B), device=users_B.device) < self.config.user_dropout
            users_B = torch.where(hidden_B, len(self.user_UD) - 1, users_B)
        described_BH = self._described(users_B, batch.history_BL)
        loss = vector_loss(self.config, batch.pairs, *with_bias(described_BH, self.output_IH, self.bias_I))
        if not self.config.l2:
            return loss
        used = (gather(self.user_UD, users_B), gather(self.output_IH, batch.pairs.positives_B))
        return loss + 0.5 * self.config.l2 * sum((one.square().sum() / len(users_B) for one in used), torch.zeros(()))

    def _described(self, users_B: Tensor, history_BL: Tensor) -> Tensor:
        """[B, H] what the filters make of the histories (the newest last), beside the users' vectors."""
        length, dim = self.config.history_length, self.config.dim
        history_BL = pad(history_BL[:, -length:], (max(0, length - history_BL.shape[1]), 0), value=self.n_items)
        real_BL = history_BL < self.n_items
        item_BLD = gather(self.input_ID, history_BL) * real_BL[..., None]
        outputs = []
        for height, linear in enumerate(self.filters, start=1):
            rows_BWX = (
                item_BLD.unfold(1, height, 1).transpose(2, 3).reshape(len(item_BLD), length - height + 1, height * dim)
            )
            found_BWF = torch.relu(linear(rows_BWX))
            some_BW1 = real_BL.unfold(1, height, 1).any(dim=2)[..., None]  # a place that has an item
            outputs.append((found_BWF * some_BW1).amax(dim=1))
        outputs.append(torch.einsum("bld,lf->bfd", item_BLD, self.place_LF).flatten(1))
        read_BX = dropout(torch.cat(outputs, dim=1), self.config.dropout, self.training)
        return torch.cat([torch.relu(self.join(read_BX)), gather(self.user_UD, users_B)], dim=1)

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        shown_UL = latest(query.histories, self.config.history_length, self.n_items)
        users_U, history_UL = (torch.from_numpy(one).to(self.device) for one in (query.users_U, shown_UL))
        known_U = (users_U >= 0) & self.fitted_U[users_U.clamp(min=0)]
        described_UH = self._described(torch.where(known_U, users_U, len(self.user_UD) - 1), history_UL)
        return all_products(described_UH, self.output_IH).add_(self.bias_I)
