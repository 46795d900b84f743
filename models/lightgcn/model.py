"""LightGCN: vectors of users and items, averaged over steps on their graph, so that neighbours resemble each other.

U users in the query or the fit, I items, D vector length, B rows in a batch, N items of a row, C items for all rows,
R pairs
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..base import FitSession, Query, Ragged, TrainingData
from ..fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from ..fitting.gradient import GradientModel
from ..fitting.objective import LossName, PairModelConfig, choose_hardest, pair_loss
from ..fitting.opponents import PairBatch
from ..fitting.rows import ITEMS, USERS, Rows
from ..fitting.samplers import fill_normal
from ..nn.gather import gather
from ..nn.log_sum import log_sum_exp
from ..nn.product import all_products
from ..search import Real, Space, Whole
from ..sparse import Csr, times_dense
from .propagation import Graph, layer_sums, propagate

SOFTMAXES = ("softmax", "sampled_softmax")


class LightGCNConfig(PairModelConfig):
    """LightGCN (He et al., SIGIR 2020), trained by default with a softmax over cosines (Wu et al., TOIS 2024)."""

    name: Literal["lightgcn"] = "lightgcn"
    dim: PositiveInt = 64
    """Length of the user and item vectors."""
    layers: PositiveInt = 2
    """Steps on the graph; the vectors are the mean over 0, 1, .. so many. Left open with another loss than the
    softmaxes: 3."""
    loss: LossName = "sampled_softmax"
    """As for the other models of pairs. With bpr alone it is the paper's model: dot products of 3 layers, l2 0.0001."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """What compares a user's vector with an item's. Left open with another loss than the softmaxes: dot."""
    temperature: PositiveFloat = 0.1
    """For the softmaxes: scores are divided by it."""
    l2: NonNegativeFloat = 0.0
    """Weight of half the squared norm of what a row uses: the first vectors, before any step, of user and item, and
    the mean over its own negatives of the same. Left open with another loss than the softmaxes: 0.0001."""
    edge_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the graph's pairs that each training step leaves out."""
    init_std: PositiveFloat = 0.1
    """Standard deviation of the first vectors."""

    # How the defaults of this class were found: on Gowalla (LightGCN's training part), by Recall@20 of a random tenth
    # of each user's rows (full ranking, one seed), each for 3 to 5 epochs. 512, 1024 and 2048 shared negatives give
    # .155 after 5 epochs, .165 after 4 and .169 after 3. With 512: temperatures .07, .1, .15 give .147, .156, .145;
    # rates .01 and .02 .156 and .158; batches of 16,384 .143. With 2048: 1, 2 and 3 layers give .164, .173 and .169 (2
    # and 3 .186 and .182 after 12 epochs); temperature .08 gives .169; rate .05 and init_std .02 change nothing. On
    # MovieLens 100K, by NDCG@10 of each user's last row but one: .088; batches of 2,048 give .091, with 3 layers .093.
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.02, "epochs": 40, "patience": 5, "batch_size": 8192,
    }  # fmt: skip
    sampling: ClassVar[dict[str, Any]] = {"negatives": 2048, "shared": True}
    search: ClassVar[dict[str, Space]] = {
        "model.dim": Whole(low=32, high=256, log=True),
        "model.layers": Whole(low=1, high=4),
        "model.temperature": Real(low=0.05, high=0.3, log=True),
        "model.edge_dropout": Real(low=0, high=0.5),
        "trainer.learning_rate": Real(low=0.002, high=0.05, log=True),
    }
    """Layers as in the paper, 1 to 4; the others around the defaults."""
    plain: ClassVar[dict[str, Any]] = {"layers": 3, "similarity": "dot", "temperature": 1.0, "l2": 1e-4}
    """What fields are where they are left open with another loss than the softmaxes."""

    @model_validator(mode="before")
    @classmethod
    def _open_fields_go_with_the_loss(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("loss", "sampled_softmax") not in SOFTMAXES:
            return cls.plain | fields
        return fields

    def complete(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """Losses without a softmax take the settings of the authors' quick run; all items, or those of the whole
        batch, for each row take a batch that leaves room for their scores."""
        other: dict[str, Any] = {}
        if self.loss not in SOFTMAXES:
            other = {"learning_rate": 0.01, "batch_size": 16384}
        elif self.loss == "softmax" or sampling.distribution == "in_batch":
            other = {"batch_size": 2048}
        return trainer.filled(self.recommended | other)


class Vectors(NamedTuple):
    """What scores are made of, after all steps."""

    user_UD: Tensor
    item_ID: Tensor
    passed_on_ID: Tensor
    """What an item gives to a user on the last step: the sum of its own layers but the last."""
    mean_D: Tensor
    """The mean of the fitted users."""


class LightGCN(GradientModel):
    """Score is the cosine or the dot product of the two vectors.

    A user without fitted rows whose history is known is put on the graph as if the own first vector were zero, and
    without changing anyone else; one without a history gets the mean of the fitted users' vectors."""

    Config = LightGCNConfig

    def __init__(self, config: LightGCNConfig, data: TrainingData) -> None:
        super().__init__()
        self.config: LightGCNConfig = config
        self.user_UD = nn.Parameter(torch.zeros(data.n_users, config.dim))
        self.item_ID = nn.Parameter(torch.zeros(data.n_items, config.dim))
        self.graph = Graph.of(Ragged.empty(data.n_users), data.n_items)
        self._vectors: Vectors | None = None  # made at the first query after a change

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data)

    def initialise(self, seed: int) -> None:
        for name, vectors in (("user", self.user_UD), ("item", self.item_ID)):
            fill_normal(vectors, self.config.init_std, seed, "lightgcn", "initialise", name)

    def train(self, mode: bool = True) -> Self:
        self._vectors = None
        return super().train(mode)

    def rows(self) -> Mapping[str, Rows]:
        return {"user_UD": USERS, "item_ID": ITEMS}

    def embeddings(self) -> Iterable[Tensor]:
        return [self.user_UD, self.item_ID]

    def prepare(self, data: TrainingData, session: FitSession) -> Any:
        self.graph, self._vectors = Graph.of(data.histories, data.n_items), None
        return super().prepare(data, session)

    def loss(self, batch: PairBatch) -> Tensor:
        user_UD, item_ID = propagate(self._graph_of_step(), self.user_UD, self.item_ID, self.config.layers)

        def vectors(users_B: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
            return self._comparable(gather(user_UD, users_B)), self._comparable(gather(item_ID, items))

        def affinity(users_B: Tensor, items: Tensor) -> Tensor:
            user_BD, item_D = vectors(users_B, items)
            return user_BD @ item_D.T if items.ndim == 1 else torch.einsum("bd,bnd->bn", user_BD, item_D)

        def log_sum(users_B: Tensor, items_C: Tensor, offset_C: Tensor, masked_BC: Tensor | None) -> Tensor:
            user_BD, item_CD = vectors(users_B, items_C)
            return log_sum_exp(user_BD / self.config.temperature, item_CD, offset_C, masked_BC)

        batch = choose_hardest(batch, affinity)
        loss = pair_loss(self.config, batch, affinity, len(self.item_ID), log_sum)
        return loss + 0.5 * self.config.l2 * self._squared_norm(batch) if self.config.l2 else loss

    @property
    def folds_in(self) -> bool:
        return True

    @torch.no_grad()
    def score(self, query: Query) -> Tensor:
        vectors = self._final_vectors()
        users_U = np.maximum(query.users_U, 0)
        known_U = (query.users_U >= 0) & (self.graph.pairs.lengths_U[users_U] > 0)
        user_UD = vectors.user_UD[torch.from_numpy(users_U).to(self.device)]
        if not known_U.all():
            strangers = np.flatnonzero(~known_U)
            user_UD[torch.from_numpy(strangers).to(self.device)] = self._guess(query.histories.take(strangers), vectors)
        return all_products(user_UD, vectors.item_ID)

    def weights(self) -> dict[str, Tensor]:
        """The first vectors and the pairs: for sparse data smaller than the vectors after all steps, which follow."""
        return super().weights() | self._pairs()

    def adopt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().adopt(weights) | self._pairs()

    def _pairs(self) -> dict[str, Tensor]:
        pairs = self.graph.pairs
        return {"pairs.offsets": torch.tensor(pairs.offsets_U1), "pairs.items": torch.tensor(pairs.items_R)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        pairs = Ragged(weights["pairs.offsets"].numpy().copy(), weights["pairs.items"].numpy().copy())
        self.graph, self._vectors = Graph.of(pairs, len(self.item_ID)), None
        return super().load_weights({name: weights[name] for name in self.state_dict()})

    def _graph_of_step(self) -> Graph:
        dropped = self.config.edge_dropout
        if not (dropped and self.training):
            return self.graph
        kept_R = torch.rand(len(self.graph.order_R)).numpy() >= dropped  # `epoch` has seeded torch's stream
        return self.graph.thinned(kept_R, 1 - dropped)

    def _comparable(self, vectors: Tensor) -> Tensor:
        return normalize(vectors, dim=-1) if self.config.similarity == "cosine" else vectors

    def _squared_norm(self, batch: PairBatch) -> Tensor:
        """The mean over the rows. Candidates for the whole batch are nobody's own."""
        used = [gather(self.user_UD, batch.users_B), gather(self.item_ID, batch.positives_B)]
        if batch.negatives.ndim > 1:
            used.append(gather(self.item_ID, batch.negatives))
        return torch.stack([vectors.square().sum(dim=-1).mean() for vectors in used]).sum()

    def _final_vectors(self) -> Vectors:
        """Made once and kept until `train` or `eval` is called: they stand around whatever changes the weights."""
        if self._vectors is None:
            self._vectors = self._propagated()
        return self._vectors

    def _propagated(self) -> Vectors:
        graph, layers = self.graph, self.config.layers
        user_UD, item_ID = (self._comparable(one) for one in propagate(graph, self.user_UD, self.item_ID, layers))
        _, passed_on_ID = layer_sums(graph, self.user_UD, self.item_ID, layers - 1, 1.0)
        fitted_U = torch.from_numpy(graph.pairs.lengths_U > 0).to(self.device)
        mean_D = user_UD[fitted_U].mean(dim=0) if fitted_U.any() else torch.zeros_like(user_UD[0])
        return Vectors(user_UD, item_ID, passed_on_ID, mean_D)

    def _guess(self, histories: Ragged, vectors: Vectors) -> Tensor:
        """[U, D] the vectors of users who were not fitted."""
        sets = histories.as_sets()
        degree_I = np.maximum(np.diff(self.graph.by_item.offsets), 1)
        weight_R = 1 / np.sqrt(sets.lengths_U[sets.users_R] * degree_I[sets.items_R])
        rows = Csr(sets.offsets_U1, sets.items_R, weight_R.astype(np.float32))
        sum_UD = torch.from_numpy(times_dense(rows, vectors.passed_on_ID.cpu().numpy())).to(self.device)
        known_U1 = torch.from_numpy(sets.lengths_U > 0).to(self.device)[:, None]
        return torch.where(known_U1, self._comparable(sum_UD / (self.config.layers + 1)), vectors.mean_D)
