"""The two halves of neumf, each of which is a model of its own too: a weighted product, and a tower of layers.

U users, I items, D vector length of the product, E of the tower's input, F features that an output weighs, H width of
a layer, B rows in a batch, N items of a row, C items for all rows, R = B · N pairs
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..base import TrainingData
from ..fitting.samplers import fill_normal
from ..nn.dropout import dropout
from ..nn.gather import gather
from ..nn.product import all_products
from .config import GMFConfig, MLPConfig, NeuMFConfig
from .kernel import products, row_sums

BLOCK = 2**20
"""Numbers in the widest layer's output when all items are scored: what fits the cache goes several times as fast."""


class Part(nn.Module, ABC):
    """Tables of users and items, and an output that weighs what is made of them."""

    output: nn.Linear
    bias_I: Tensor | None

    @abstractmethod
    def initialise(self, seed: int, std: float) -> None:
        """Draws the first weights; `std` is that of the tables."""

    @property
    @abstractmethod
    def tables(self) -> tuple[Tensor, Tensor]:
        """The users' and the items' vectors."""

    @property
    def n_features(self) -> int:
        return self.output.in_features


class Product(Part):
    """Features are the products of two vectors, number by number, and the item's bias."""

    def __init__(self, config: GMFConfig | NeuMFConfig, data: TrainingData) -> None:
        super().__init__()
        self.dim = config.dim
        self.user_UD = nn.Parameter(torch.zeros(data.n_users, config.dim))
        self.item_ID = nn.Parameter(torch.zeros(data.n_items, config.dim))
        self.bias_I = nn.Parameter(torch.zeros(data.n_items)) if config.use_bias else None
        self.output = nn.Linear(config.dim + config.use_bias, 1)

    def initialise(self, seed: int, std: float) -> None:
        for name, table in (("user", self.user_UD), ("item", self.item_ID)):
            fill_normal(table, std, seed, "gmf", name, "initialise")
        if self.bias_I is not None:
            self.bias_I.zero_()
        # Ones make it a plain dot product to begin with.
        self.output.weight.fill_(1)
        self.output.bias.zero_()

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        return self.user_UD, self.item_ID

    def forward(self, users_B: Tensor, items: Tensor, weight_F: Tensor) -> Tensor:
        """[B, N] weighted sums of the features for each row's own items [B, N]; [B, C] for items [C]."""
        user_UD = self.user_UD * weight_F[: self.dim]
        if items.ndim == 1:
            logit = gather(user_UD, users_B) @ gather(self.item_ID, items).T
        else:
            logit = products(user_UD, self.item_ID, users_B, items)
        return logit if self.bias_I is None else logit + weight_F[self.dim] * gather(self.bias_I, items)

    def all_items(self, user_UD: Tensor, weight_F: Tensor) -> Tensor:
        """[U, I] weighted sums of the features of users with these vectors and all items."""
        score_UI = all_products(user_UD * weight_F[: self.dim], self.item_ID)
        return score_UI if self.bias_I is None else score_UI.add_(weight_F[self.dim] * self.bias_I)


class Layer(nn.Module):
    """A dense layer, and where wanted its normalisation over the batch; without a relu."""

    def __init__(self, n_inputs: int, n_outputs: int, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(n_inputs, n_outputs)
        self.norm = nn.BatchNorm1d(n_outputs) if batch_norm else None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weights [H, H] and biases [H] that do all of it once training is over."""
        weight_HH, bias_H = self.linear.weight, self.linear.bias
        if self.norm is None:
            return weight_HH, bias_H
        assert self.norm.running_var is not None
        assert self.norm.running_mean is not None
        scale_H = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        return weight_HH * scale_H[:, None], (bias_H - self.norm.running_mean) * scale_H + self.norm.bias


class Tower(Part):
    """Features are the outputs of the last of some dense layers over the two vectors side by side.

    The first layer of the two vectors is W [u; i] = Wu u + Wi i. So its products are made once for every user and item
    in the tables, and a pair costs no more than a sum: the same numbers but for rounding."""

    def __init__(self, config: MLPConfig | NeuMFConfig, data: TrainingData) -> None:
        super().__init__()
        self.config = config
        half, widths = config.tower[0] // 2, config.tower
        self.user_UE = nn.Parameter(torch.zeros(data.n_users, half))
        self.item_IE = nn.Parameter(torch.zeros(data.n_items, half))
        self.bias_I = None  # the vectors can hold it
        self.layers = nn.ModuleList(Layer(*sizes, config.batch_norm) for sizes in pairwise(widths))
        self.output = nn.Linear(widths[-1], 1)

    def initialise(self, seed: int, std: float) -> None:
        for name, table in (("user", self.user_UE), ("item", self.item_IE)):
            fill_normal(table, std, seed, "mlp", name, "initialise")
        for number, dense in enumerate([*(layer.linear for layer in self._layers), self.output]):
            # As the paper's code: Glorot and Bengio, AISTATS 2010.
            glorot = (2 / sum(dense.weight.shape)) ** 0.5
            fill_normal(dense.weight, glorot, seed, "mlp", "layer", number, "initialise")
            dense.bias.zero_()
        for layer in self._layers:
            if layer.norm is not None:
                layer.norm.reset_parameters()

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        return self.user_UE, self.item_IE

    def forward(self, users_B: Tensor, items_BN: Tensor) -> tuple[Tensor, Tensor]:
        """[R, H] the last layer's outputs, and the penalty on those of all."""
        first, normalised = self._layers[0].linear, self.config.batch_norm
        user_UH, item_IH = self._first_layer(self.user_UE, first.weight, first.bias)
        out_RH = row_sums(user_UH, item_IH, users_B, items_BN, relu=not normalised)
        penalty = out_RH.new_zeros(())
        for number, layer in enumerate(self._layers):
            if number:
                out_RH = layer.linear(out_RH)
            if layer.norm is not None:
                out_RH = layer.norm(out_RH)
            if number or normalised:
                out_RH = out_RH.relu_()
            if self.config.activity_l2:
                penalty = penalty + self.config.activity_l2 * out_RH.square().sum() / len(out_RH)
            if self.config.activity_l1:
                penalty = penalty + self.config.activity_l1 * out_RH.sum() / len(out_RH)  # relu: none is below 0
            if self.config.dropout:
                out_RH = dropout(out_RH, self.config.dropout, self.training)
        return out_RH, penalty

    def add_all_items(self, score_UI: Tensor, user_UE: Tensor, weight_F: Tensor) -> None:
        """Adds weighted sums of the features of users with these vectors and all items, in place, block by block."""
        layers = [layer.folded() for layer in self._layers]
        user_UH, item_IH = self._first_layer(user_UE, *layers[0])
        n_pairs = max(1, BLOCK // max(self.config.tower[1:]))
        n_items = min(n_pairs, len(item_IH))
        n_users = max(1, min(n_pairs // n_items, len(user_UH)))
        buffers = [item_IH.new_empty(n_users * n_items, width) for width in self.config.tower[1:]]
        for first_item in range(0, len(item_IH), n_items):
            items_IH = item_IH[first_item : first_item + n_items]
            for first_user in range(0, len(user_UH), n_users):
                users_UH = user_UH[first_user : first_user + n_users]
                n = len(users_UH) * len(items_IH)
                out_RH = buffers[0][:n]
                torch.add(users_UH[:, None], items_IH, out=out_RH.view(len(users_UH), len(items_IH), -1)).relu_()
                for (weight_HH, bias_H), buffer in zip(layers[1:], buffers[1:], strict=True):
                    out_RH = torch.addmm(bias_H, out_RH, weight_HH.T, out=buffer[:n]).relu_()
                block_UI = (out_RH @ weight_F).view(len(users_UH), len(items_IH))
                score_UI[first_user : first_user + n_users, first_item : first_item + n_items] += block_UI

    @property
    def _layers(self) -> list[Layer]:
        return cast(list[Layer], list(self.layers))

    def _first_layer(self, user_UE: Tensor, weight_HE: Tensor, bias_H: Tensor) -> tuple[Tensor, Tensor]:
        """[U, H] and [I, H], whose sums are the first layer's before its relu."""
        half = self.item_IE.shape[1]
        return linear(user_UE, weight_HE[:, :half], bias_H), linear(self.item_IE, weight_HE[:, half:])
