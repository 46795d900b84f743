"""MIND: several vectors for each user, made of the latest items by dynamic routing, one for each interest.

U users in the query, B rows in a batch, L history length, K interests, D vector length, I items, R rows of a table
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear

from .base import FitSession, Query, TrainingData
from .fitting.gradient import GradientModel
from .fitting.history import HistoryModelConfig
from .fitting.objective import LossName, vector_loss
from .fitting.rows import ITEMS, Rows
from .fitting.samplers import fill_normal
from .fitting.window_pairs import WindowBatch, WindowPairs
from .frozen import split_commas
from .nn.attention import label_aware
from .nn.dropout import dropout
from .nn.features import USER_ID, FeatureTables, Tower
from .nn.gather import gather
from .nn.product import all_products
from .nn.routing import interests_of, route
from .search import Real, Space, Whole
from .windows import latest

Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(split_commas)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class MINDConfig(HistoryModelConfig):
    """Multi-interest network with dynamic routing (Li et al., CIKM 2019)."""

    name: Literal["mind"] = "mind"
    dim: PositiveInt = 64
    """Length of the vectors of items, features and interests."""
    interests: int = Field(2, ge=1, le=32)
    """Vectors of a user; an item is scored by the one that it goes with best."""
    adaptive: bool = False
    """Give a user with a history of n items only max(1, min(interests, log2(1 + n))) interests, rounded down."""
    iterations: PositiveInt = 3
    """Of the routing; only the last one passes a gradient on."""
    routing_std: NonNegativeFloat = 0.1
    """Standard deviation of the routing's first logits, which are drawn once, saved and never trained. It sets the
    interests apart: the paper has 1, and 0 makes them all the same for ever."""
    loss: LossName = "sampled_softmax"
    """As for the models of pairs; a row is compared with other items that might have come next."""
    history_length: PositiveInt = 50
    """How many of the latest items it is shown: the same as `sample.history_length`."""
    recency: bool = True
    """Learn for each place, counted from the newest item, what it weighs in the routing's sums. Without it the order
    of the items does not matter, as in the paper."""
    features: Names = ()
    """Categorical columns of users that the tower reads beside each interest; user_id, the user's own number, is one
    that every data has."""
    feature_dropout: Dropout = 0.1
    """Share of the features that a training step takes for unknown, so that a user of whom they are is no surprise."""
    tower: Widths | None = None
    """Widths of the dense layers over features and interest, relu between them; the last is linear and as wide as
    `dim`. Left open: one layer. Empty: none, and so no features."""
    residual: bool = True
    """Add what the tower makes of an interest to the interest, instead of taking it in its place."""
    power: NonNegativeFloat | Literal["hard"] = "hard"
    """Of label-aware attention: 0 trains the mean of the interests, 1 weighs them by a softmax of their products with
    the item, hard (infinity) trains only the best of them."""
    dropout: Dropout = 0.0
    """Share of the numbers of the items' mapped vectors that a training step leaves out."""
    init_std: PositiveFloat = 0.2
    """Standard deviation of the first vectors. Squashing shrinks short vectors, so small ones hardly learn."""

    # How the defaults were found: on MovieLens 100K, by NDCG@10 of each user's last row but one (full ranking, one run
    # and one seed a point). By a softmax over all items with 20 items and vectors of .1: with routing_std 1, a tower
    # (128, 64) and no recency 1 and 2 interests have .098 and .087, with recency .116 and .105; one layer and residual
    # .120 with one interest (no tower .124; all five features and dropout .3 .112), and with two by routing_std .01
    # .120. By sampled_softmax, where seen items are no opponents, 1, 2 and 4 interests have .134, .135 and .124; with
    # two, power 1 has .131, dropout .3 .132, no tower .126, rate .003 .128, init_std .2 .138 and with it 50 items .138
    # (the mean of the best three epochs .137 instead of .132). With these, one interest has .138; two have .138 by
    # routing_std .01, but they are the same (mean cosine 1.00), .132 by .1 (.90), .130 by .3 (.67) and .122 by 1 (.56):
    # taste is narrow in so small a catalogue. Amazon Beauty (the last row, 20 items, vectors of .1): .054, with dropout
    # .4 .050.
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.005, "epochs": 30, "patience": 4,
    }  # fmt: skip
    largest_batch: ClassVar[int | None] = 1024
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=32, high=128, log=True),
        "model.interests": Whole(low=1, high=6),
        "model.routing_std": Real(low=0.01, high=1, log=True),
        "model.dropout": Real(low=0, high=0.5),
        "model.init_std": Real(low=0.05, high=0.4, log=True),
        "model.history_length": Whole(low=10, high=100, log=True),
        "trainer.learning_rate": Real(low=0.001, high=0.02, log=True),
    }
    """Around the defaults; with more interests it only lost."""
    sampling: ClassVar[dict[str, Any]] = {"negatives": 1024, "shared": True}
    reads_windows: ClassVar[bool] = True

    @model_validator(mode="after")
    def _all_is_read(self) -> Self:
        if len(set(self.features)) < len(self.features):
            raise ValueError("features has a name twice")
        single = "with one interest" if self.interests == 1 else ""
        idle = {
            "feature_dropout": "" if self.features else "without features",
            "residual": "" if self.widths else "without a tower",
            **dict.fromkeys(("adaptive", "power"), single),
        }
        for name, why in idle.items():
            if why and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning {why}")
        return self

    @model_validator(mode="after")
    def _tower_fits(self) -> Self:
        if self.tower and self.tower[-1] != self.dim:
            raise ValueError(
                f"tower ends with {self.tower[-1]}, but dim is {self.dim}: interests and items are compared"
            )
        if self.features and not self.widths:
            raise ValueError("features are read by the tower: leave tower unset, or give it a layer")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.dim,) if self.tower is None else self.tower


class MIND(GradientModel):
    """Score is the highest of the products of an item's vector with those of the user's interests.

    A user is what the history and the features say: nothing else of a fitted user is kept, unless the features name
    user_id. Without a history all interests are what the tower makes of the features alone."""

    Config = MINDConfig

    def __init__(self, config: MINDConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: MINDConfig = config
        self.n_items, dim = data.n_items, config.dim
        self.item_RD = nn.Parameter(torch.zeros(data.n_items + 1, dim))  # the last row is padding and stays zero
        self.map_DD = nn.Parameter(torch.zeros(dim, dim))
        self.features = FeatureTables(config.features, data, dim, config.feature_dropout)
        self.tower = Tower(self.features.width, dim, config.widths) if config.widths else None
        self.log_weight_L = nn.Parameter(torch.zeros(config.history_length)) if config.recency else None
        # By distance from the newest item, which is last: padding and longer histories do not move them.
        self.register_buffer("logit_KL", torch.zeros(config.interests, config.history_length))
        self.logit_KL: Tensor

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    @property
    def folds_in(self) -> bool:
        return True

    @property
    def features_used(self) -> tuple[str, ...]:
        return tuple(name for name in self.config.features if name != USER_ID)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        config = self.config
        fill_normal(self.item_RD, config.init_std, seed, "mind", "items", "initialise")
        self.item_RD[self.n_items] = 0
        fill_normal(self.map_DD, config.dim**-0.5, seed, "mind", "map", "initialise")
        fill_normal(self.logit_KL, config.routing_std, seed, "mind", "routing", "initialise")
        self.features.initialise(seed, config.init_std)
        if self.tower is not None:
            self.tower.initialise(seed, 0.1 if config.residual else 1.0)
        if self.log_weight_L is not None:
            self.log_weight_L.copy_(-0.1 * torch.arange(config.history_length).flip(0))

    def rows(self) -> Mapping[str, Rows]:
        return {"item_RD": ITEMS, **self.features.rows("features")}

    def embeddings(self) -> Iterable[Tensor]:
        return [self.item_RD, *self.features.tables]

    def prepare(self, data: TrainingData, session: FitSession) -> WindowPairs:
        return WindowPairs(data, self.config, session)

    def loss(self, batch: WindowBatch) -> Tensor:
        pairs, item_ID = batch.pairs, self.item_RD[: self.n_items]
        unused_BK = self._unused(batch.history_BL)
        interest_BKD = self.interests(batch.history_BL, self.features(pairs.users_B, batch.features), unused_BK)
        power = inf if self.config.power == "hard" else self.config.power
        row_BD = label_aware(interest_BKD, gather(item_ID, pairs.positives_B), power, unused_BK)
        return vector_loss(self.config, pairs, row_BD, item_ID)

    def interests(self, history_BL: Tensor, feature_BF: Tensor, unused_BK: Tensor | None = None) -> Tensor:
        """[B, K, D] of histories with the newest item last. What the unused ones hold has no meaning."""
        length, config = history_BL.shape[1], self.config
        weight_BL = (history_BL != self.n_items).to(self.map_DD.dtype)
        if self.log_weight_L is not None:
            weight_BL = weight_BL * self.log_weight_L[-length:].exp()
        behaviour_BLD = dropout(self._mapped(history_BL), config.dropout, self.training)
        capsule_BKD = route(behaviour_BLD, self.logit_KL[:, -length:], weight_BL, unused_BK, config.iterations)
        if self.tower is None:
            return capsule_BKD
        made_BKD: Tensor = self.tower(feature_BF, capsule_BKD)
        return capsule_BKD + made_BKD if config.residual else made_BKD

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        longest = min(self.config.history_length, int(query.histories.lengths_U.max(initial=1)))
        history_UL = torch.from_numpy(latest(query.histories, longest, self.n_items)).to(self.device)
        unused_UK = self._unused(history_UL)
        interest_UKD = self.interests(history_UL, self.features.of(query, self.device), unused_UK)
        if unused_UK is not None:  # the first one is always used, and twice it changes no maximum
            interest_UKD = torch.where(unused_UK[:, :, None], interest_UKD[:, :1], interest_UKD)
        item_ID = self.item_RD[: self.n_items]
        return best_products(interest_UKD, item_ID)

    def _mapped(self, history_BL: Tensor) -> Tensor:
        """[B, L, D] the items' vectors after the map S, which is applied to whichever are fewer: items or places."""
        if len(self.item_RD) < history_BL.numel():
            return gather(linear(self.item_RD, self.map_DD), history_BL)
        return linear(gather(self.item_RD, history_BL), self.map_DD)

    def _unused(self, history_BL: Tensor) -> Tensor | None:
        """[B, K] the interests that are too many for so few items; None where all are always used."""
        if not self.config.adaptive:
            return None
        n_B = interests_of((history_BL != self.n_items).sum(dim=1), self.config.interests)
        return torch.arange(self.config.interests, device=n_B.device) >= n_B[:, None]


def best_products(interest_UKD: Tensor, item_ID: Tensor) -> Tensor:
    """[U, I] for each item the highest of its products with a user's interests."""
    best_UI, *others = (all_products(interest_UD, item_ID) for interest_UD in interest_UKD.unbind(1))
    for other_UI in others:
        torch.maximum(best_UI, other_UI, out=best_UI)
    return best_UI
