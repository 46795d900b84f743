"""NeuMF: a weighted product and a tower side by side, trained at once or from parts trained before (He et al., 2017).

U users in the query or the tables, I items, F features that an output weighs, B rows in a batch, N items of a row
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from ..base import Callback, Epoch, FitSession, Recommender, TrainingData
from ..fitting.config import TrainerConfig
from .config import GMFConfig, MLPConfig, NeuMFConfig
from .model import GMF, MAIN, MLP, NCF, Outputs
from .parts import Part, Product, Tower

EPOCHS = {"gmf": "gmf_epochs", "mlp": "mlp_epochs", "neumf": "neumf_epochs"}
"""The field of each training's epochs."""
ALPHAS = (0.5, 0.7, 0.8, 0.9)
"""What alpha is chosen from, where it is unset: the paper's first."""


class NeuMF(NCF):
    """Score is a weighted sum of the features of both parts, each with tables of its own."""

    Config = NeuMFConfig
    config: NeuMFConfig

    def __init__(self, config: NeuMFConfig, data: TrainingData) -> None:
        super().__init__(config, data)
        self.product, self.tower = Product(config, data), Tower(config, data)
        self.output = nn.Linear(self.product.n_features + self.tower.n_features, 1)
        for name, part in (("gmf", self.product), ("mlp", self.tower)):
            part.output.requires_grad_(name in config.outputs)
        self._pretrained: tuple[GMF, MLP, float] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.product, self.tower

    def begin_with(self, gmf: GMF, mlp: MLP, alpha: float) -> None:
        """From now on the first weights are theirs, instead of drawn, and the scores alpha GMF + (1 - alpha) MLP."""
        self._pretrained = gmf, mlp, alpha

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        share = (1.0, 1.0)
        if self._pretrained is not None:
            gmf, mlp, alpha = self._pretrained
            self.product.load_state_dict(gmf.product.state_dict())
            self.tower.load_state_dict(mlp.tower.state_dict())
            share = (alpha, 1 - alpha)
        one, other = self.product.output, self.tower.output
        self.output.weight.copy_(torch.cat([share[0] * one.weight, share[1] * other.weight], dim=1))
        self.output.bias.copy_(share[0] * one.bias + share[1] * other.bias)

    def learning_rate(self, trainer: TrainerConfig, epoch: int) -> float:
        share = 1.0 if self._pretrained is None else self.config.fine_tuning
        return super().learning_rate(trainer, epoch) * share

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        """With `pretrain` three trainings in turn, which the session sees as one: its epochs are numbered through.

        Afterwards `config` has the epochs of each that were kept, and alpha, so that a refit repeats them."""
        if not self.config.pretrain:
            return super().fit(data, session)
        trainer = self.config.with_batches(session.trainer, data.n_rows)
        session.trainer = self.config.complete(trainer, session.sampling)
        session.history.clear()
        for callback in session.callbacks:
            callback.on_start(self, self._most_epochs(session.trainer), data.n_rows)
        try:
            gmf, mlp = GMF(self.config.part(GMFConfig), data), MLP(self.config.part(MLPConfig), data)
            self._fit_one(gmf, data, session)
            self._fit_one(mlp, data, session)
            alpha = self.config.alpha
            if alpha is None:
                alpha = self._best_alpha(gmf, mlp, session)
                self.config = self.config.model_copy(update={"alpha": alpha})
            self.begin_with(gmf, mlp, alpha)
            self._fit_one(self, data, session)
        finally:
            self._pretrained = None
            for callback in session.callbacks:
                callback.on_end(self, session.history)
        return self

    def outputs(self, users_B: Tensor, items: Tensor) -> Outputs:
        out_RH, penalty = self.tower(users_B, items)
        weight_F, weight_H = self._weights()
        main_BN = self.product(users_B, items, weight_F) + (out_RH @ weight_H).view(items.shape) + self.output.bias
        logits = {MAIN: main_BN}
        if "gmf" in self.config.outputs:
            output = self.product.output
            logits["gmf"] = self.product(users_B, items, output.weight[0]) + output.bias
        if "mlp" in self.config.outputs:
            logits["mlp"] = self.tower.output(out_RH).view(items.shape)
        return Outputs(logits, penalty)

    def score_all(self, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        weight_F, weight_H = self._weights()
        score_UI = self.product.all_items(vectors(self.product.user_UD), weight_F).add_(self.output.bias)
        self.tower.add_all_items(score_UI, vectors(self.tower.user_UE), weight_H)
        return score_UI

    def _most_epochs(self, trainer: TrainerConfig) -> int:
        return sum(getattr(self.config, field) or trainer.epochs or 0 for field in EPOCHS.values())

    def _best_alpha(self, gmf: GMF, mlp: MLP, session: FitSession) -> float:
        """The one whose first scores are best on the validation rows; without such rows the first of all."""
        stopping = session.trainer.stopping
        if session.validate is None or stopping.monitor == "loss":
            return ALPHAS[0]
        self.to(gmf.device).eval()
        found = {}
        for alpha in ALPHAS:
            self.begin_with(gmf, mlp, alpha)
            self.initialise(session.trainer.seed)
            found[alpha] = stopping.sign * session.validate(self)[stopping.monitor]
        return max(found, key=lambda alpha: found[alpha])

    def _fit_one(self, model: NCF, data: TrainingData, session: FitSession) -> None:
        """One of the trainings, with checkpoints of its own: when a killed fit goes on, what was done stays done."""
        field = EPOCHS[model.config.name]
        epochs = getattr(self.config, field) or session.trainer.epochs
        checkpoints, keep = (
            folder / model.config.name if folder is not None else None for folder in (session.checkpoints, session.keep)
        )
        own = FitSession(
            session.trainer.model_copy(update={"epochs": epochs}),
            session.validate,
            checkpoints=checkpoints,
            sampling=session.sampling,
            keep=keep,
        )
        own.callbacks = (relay := _Relay(session, own),)
        NCF.fit(model, data, own)
        session.sampling, session.best_epoch = own.sampling, relay.before + own.best_epoch
        self.config = self.config.model_copy(update={field: own.best_epoch})

    def _weights(self) -> tuple[Tensor, Tensor]:
        """[F] of the product's features and [H] of the tower's."""
        weight = self.output.weight[0]
        return weight[: self.product.n_features], weight[self.product.n_features :]


class _Relay(Callback):
    """Tells a session of the epochs of one training out of several, numbered from where the one before ended."""

    def __init__(self, session: FitSession, own: FitSession) -> None:
        self.before = len(session.history)
        self._session, self._own = session, own

    def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
        self._session.history.extend(self._renumbered(epoch) for epoch in self._own.history)  # from a checkpoint

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self._session.history.append(self._renumbered(epoch))
        for callback in self._session.callbacks:
            callback.on_epoch_end(model, self._session.history[-1])

    def _renumbered(self, epoch: Epoch) -> Epoch:
        return replace(epoch, number=self.before + epoch.number)
