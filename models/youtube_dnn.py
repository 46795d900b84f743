"""YouTubeDNN: one vector for each user, by a tower over the mean of the latest items and the user's features.

U users in the query, B rows in a batch, L history length, D vector length, I items, R rows of a table
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from .base import FitSession, Query, TrainingData
from .fitting.gradient import GradientModel
from .fitting.history import HistoryModelConfig
from .fitting.objective import LossName, vector_loss
from .fitting.rows import ITEMS, Rows
from .fitting.samplers import fill_normal
from .fitting.window_pairs import WindowBatch, WindowPairs
from .frozen import split_commas
from .nn.dropout import dropout
from .nn.features import USER_ID, FeatureTables, Tower
from .nn.gather import gather
from .nn.product import all_products
from .search import Real, Space, Whole
from .windows import latest

Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(split_commas)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class YouTubeDNNConfig(HistoryModelConfig):
    """The candidate generation of YouTube (Covington et al., RecSys 2016)."""

    name: Literal["youtube_dnn"] = "youtube_dnn"
    dim: PositiveInt = 64
    """Length of the vectors of items, features and users."""
    loss: LossName = "sampled_softmax"
    """As for the models of pairs; a row is compared with other items that might have come next."""
    history_length: PositiveInt = 50
    """How many of the latest items it is shown: the same as `sample.history_length`."""
    recency: bool = True
    """Learn for each place, counted from the newest item, what it weighs in the mean. Without it all weigh the same,
    as in the paper."""
    tied: bool = True
    """Compare the user with the vectors that the mean is made of; else items have two vectors each, as in the paper."""
    features: Names = ()
    """Categorical columns of users that the tower reads beside the mean; user_id, the user's own number, is one that
    every data has."""
    feature_dropout: Dropout = 0.1
    """Share of the features that a training step takes for unknown, so that a user of whom they are is no surprise."""
    tower: Widths | None = None
    """Widths of the dense layers over features and mean, relu between them; the last is linear and as wide as `dim`.
    Left open: one layer."""
    residual: bool = True
    """Add what the tower makes of the mean to the mean, instead of taking it in its place."""
    dropout: Dropout = 0.0
    """Share of the mean's numbers that a training step leaves out."""
    init_std: PositiveFloat = 0.1
    """Standard deviation of the first vectors."""

    # How the defaults were found: on MovieLens 100K, by NDCG@10 of each user's last row but one (full ranking, one run
    # and one seed a point). With 20 items and recency, by a softmax over all items: the paper's relu tower (128, 64)
    # and two vectors an item have .109, one linear layer, residual and tied .136. By sampled_softmax, where seen items
    # are no opponents, .139; a residual tower of (128, 64) has .137, age, gender and occupation .123, 50 items .145 and
    # with them init_std .2 .143. Amazon Beauty (the last row, 20 items): .058.
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.005, "epochs": 30, "patience": 4,
    }  # fmt: skip
    sampling: ClassVar[dict[str, Any]] = {"negatives": 1024, "shared": True}
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=32, high=128, log=True),
        "model.dropout": Real(low=0, high=0.5),
        "model.init_std": Real(low=0.03, high=0.4, log=True),
        "model.history_length": Whole(low=10, high=100, log=True),
        "trainer.learning_rate": Real(low=0.001, high=0.02, log=True),
    }
    """Around the defaults."""
    largest_batch: ClassVar[int | None] = 1024
    reads_windows: ClassVar[bool] = True

    @model_validator(mode="after")
    def _tower_fits(self) -> Self:
        if len(set(self.features)) < len(self.features):
            raise ValueError("features has a name twice")
        if not self.features and self.feature_dropout != type(self).model_fields["feature_dropout"].default:
            raise ValueError("feature_dropout has no meaning without features")
        if self.widths[-1:] != (self.dim,):
            raise ValueError(f"tower must end with {self.dim}, which is dim: users and items are compared")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.dim,) if self.tower is None else self.tower


class YouTubeDNN(GradientModel):
    """Score is the product of an item's vector with the user's, which history and features make.

    Nothing else of a fitted user is kept, unless the features name user_id. Without a history the mean is zero."""

    Config = YouTubeDNNConfig

    def __init__(self, config: YouTubeDNNConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: YouTubeDNNConfig = config
        self.n_items, dim = data.n_items, config.dim
        self.item_RD = nn.Parameter(torch.zeros(data.n_items + 1, dim))  # the last row is padding and stays zero
        self.output_ID = None if config.tied else nn.Parameter(torch.zeros(data.n_items, dim))
        self.features = FeatureTables(config.features, data, dim, config.feature_dropout)
        self.tower = Tower(self.features.width, dim, config.widths)
        self.log_weight_L = nn.Parameter(torch.zeros(config.history_length)) if config.recency else None

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    def folds_in(self) -> bool:
        return True

    @property
    def features_used(self) -> tuple[str, ...]:
        return tuple(name for name in self.config.features if name != USER_ID)

    @property
    def compared_ID(self) -> Tensor:
        """The items' vectors that users are compared with."""
        return self.item_RD[: self.n_items] if self.output_ID is None else self.output_ID

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        config = self.config
        fill_normal(self.item_RD, config.init_std, seed, "youtube_dnn", "items", "initialise")
        self.item_RD[self.n_items] = 0
        if self.output_ID is not None:
            fill_normal(self.output_ID, config.init_std, seed, "youtube_dnn", "output", "initialise")
        self.features.initialise(seed, config.init_std)
        self.tower.initialise(seed, 0.1 if config.residual else 1.0)
        if self.log_weight_L is not None:
            self.log_weight_L.copy_(-0.1 * torch.arange(config.history_length).flip(0))

    def rows(self) -> Mapping[str, Rows]:
        own = ("item_RD",) if self.config.tied else ("item_RD", "output_ID")
        return {**dict.fromkeys(own, ITEMS), **self.features.rows("features")}

    def embeddings(self) -> Iterable[Tensor]:
        own = [] if self.output_ID is None else [self.output_ID]
        return [self.item_RD, *own, *self.features.tables]

    def prepare(self, data: TrainingData, session: FitSession) -> WindowPairs:
        return WindowPairs(data, self.config, session)

    def loss(self, batch: WindowBatch) -> Tensor:
        row_BD = self.vectors(batch.history_BL, self.features(batch.pairs.users_B, batch.features))
        return vector_loss(self.config, batch.pairs, row_BD, self.compared_ID)

    def vectors(self, history_BL: Tensor, feature_BF: Tensor) -> Tensor:
        """[B, D] of users whose histories have the newest item last."""
        weight_BL = (history_BL != self.n_items).to(self.item_RD.dtype)
        if self.log_weight_L is not None:
            weight_BL = weight_BL * self.log_weight_L[-history_BL.shape[1] :].exp()
        total_B1 = weight_BL.sum(dim=1, keepdim=True)
        share_BL = weight_BL / (total_B1 + (total_B1 == 0))  # the mean of nothing is zero
        mean_B1D = dropout(share_BL[:, None] @ gather(self.item_RD, history_BL), self.config.dropout, self.training)
        made_B1D: Tensor = self.tower(feature_BF, mean_B1D)
        return (mean_B1D + made_B1D if self.config.residual else made_B1D)[:, 0]

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        longest = min(self.config.history_length, int(query.histories.lengths_U.max(initial=1)))
        history_UL = torch.from_numpy(latest(query.histories, longest, self.n_items)).to(self.device)
        user_UD = self.vectors(history_UL, self.features.of(query, self.device))
        return all_products(user_UD, self.compared_ID)
