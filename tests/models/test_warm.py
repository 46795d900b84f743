"""A fit begins with what an earlier one has learned: by id, whatever places the ids had there and have here.

U users, I items, N indices
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.base import Feature, FitSession, Query, Ragged, TrainingData, WarmStart, WrongStart
from models.bundle import weights_hash
from models.fitting.config import NO_WISH, TrainerConfig
from models.fitting.gradient import GradientModel
from models.fitting.warm import begin_warm
from models.registry import MODELS, build, make_config, model_class
from tests.factories import KillAfter, Killed, two_communities

TRAINED = [name for name in MODELS if make_config(name).starts_warm]
FEATURES: dict[str, dict[str, Any]] = {
    name: {"features": ("user_id", "colour"), "feature_dropout": 0.0} for name in ("mind", "youtube_dnn")
}
MORE: dict[str, list[dict[str, Any]]] = {
    "gru4rec": [{"tied": True}],
    "sasrec": [{"recent": 0, "positions": "absolute"}],
    "youtube_dnn": [{"tied": False}],
    "gmf": [{"use_bias": False}],
}
VARIANTS = [(name, {**FEATURES.get(name, {}), **one}) for name in TRAINED for one in ({}, *MORE.get(name, []))]
COLOURS = 3
SHORT = TrainerConfig(epochs=2, device="cpu", batch_size=64)
DATA, _ = two_communities(24, 20)


def coloured(data: TrainingData, codes_U: Any = None) -> TrainingData:
    """With a feature of the users."""
    codes_U = 1 + np.arange(data.n_users) % COLOURS if codes_U is None else codes_U
    colour = Feature(np.asarray(codes_U, dtype=np.int32), COLOURS + 1)
    return TrainingData(data.n_items, data.histories, {"colour": colour})


def sized(n_users: int, n_items: int) -> TrainingData:
    return coloured(TrainingData(n_items, Ragged.empty(n_users)))


def make(name: str, data: TrainingData, **fields: Any) -> GradientModel:
    small = {"dim": 8} if "dim" in model_class(name).Config.model_fields else {}
    model = build(name, make_config(name, **{**small, **fields}), data)
    assert isinstance(model, GradientModel)
    return model


def places(users: list[int], items: list[int], colours: tuple[int, ...] = tuple(range(COLOURS))) -> dict[str, Any]:
    named = {"users": users, "items": items, "feature colour": list(colours)}
    return {name: np.array(one, dtype=np.int64) for name, one in named.items()}


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-4, atol=1e-5))


# by hand


def test_rows_follow_their_ids() -> None:
    """Earlier users a, c and items q, s, t; now users a, b, c and items r, s: in places 0, -1, 1 and -1, 1."""
    rows = Ragged.from_pairs(np.array([0, 1]), np.array([0, 1]), 3)
    model = build("bpr_mf", make_config("bpr_mf", dim=2), TrainingData(2, rows))
    assert isinstance(model, GradientModel)
    model.initialise(7)
    fresh = model.weights()
    earlier = {
        "user_UD": torch.tensor([[1.0, 2.0], [5.0, 6.0]]),
        "item_ID": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
        "bias_I": torch.tensor([0.1, 0.2, 0.3]),
        "fitted_U": torch.tensor([False, True]),
    }
    begin_warm(model, WarmStart(earlier, places([0, -1, 1], [-1, 1])))
    begun = model.weights()
    assert begun["user_UD"].tolist() == [[1.0, 2.0], fresh["user_UD"][1].tolist(), [5.0, 6.0]]
    assert begun["item_ID"].tolist() == [fresh["item_ID"][0].tolist(), [2.0, 2.0]]
    assert begun["bias_I"].tolist() == pytest.approx([0.0, 0.2])
    assert begun["fitted_U"].tolist() == [True, True, False]  # who has rows here, not there


def test_nobodys_rows_are_taken_over() -> None:
    """The last row of caser's tables is padding or nobody; the first of a feature's is unknown."""
    caser = make("caser", sized(3, 4))
    caser.initialise(0)
    earlier = {name: torch.full_like(one, 9.0) for name, one in make("caser", sized(2, 2)).weights().items()}
    earlier["user_UD"] = torch.arange(3.0)[:, None].expand(3, 8).clone()
    begin_warm(caser, WarmStart(earlier, places([1, -1, 0], [-1] * 4)))
    assert caser.weights()["user_UD"][[0, 2, 3], 0].tolist() == [1.0, 0.0, 2.0]
    tower = make("youtube_dnn", sized(3, 4), features=("colour",))
    tower.initialise(0)
    own = tower.weights()
    earlier = {name: one.clone() for name, one in own.items()}
    earlier["features.tables.0"] = torch.arange(1.0, 4.0)[:, None].expand(3, 8).clone()  # unknown and two colours
    begin_warm(tower, WarmStart(earlier, places([0, 1, 2], [0, 1, 2, 3], (1, -1, 0))))
    begun = tower.weights()["features.tables.0"]
    assert begun[[0, 1, 3], 0].tolist() == [1.0, 3.0, 2.0]
    assert torch.equal(begun[2], own["features.tables.0"][2])


# every model


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_each_model_says_whose_all_its_rows_are(name: str, fields: dict[str, Any]) -> None:
    """Built for more users or items, exactly the tables grow that it names, and by their first dimension."""
    shapes = {size: _shapes(make(name, sized(*size), **fields)) for size in ((4, 5), (6, 5), (4, 9))}
    small, more_users, more_items = shapes.values()
    grown = {
        weight: whose
        for whose, more, by in (("users", more_users, 2), ("items", more_items, 4))
        for weight in small
        if more[weight] != small[weight] and _grew(small[weight], more[weight], by)
    }
    model = make(name, sized(4, 5), **fields)
    named = {weight: rows.whose for weight, rows in model.rows().items() if rows.whose in ("users", "items")}
    assert named == grown
    assert "items" in grown.values()


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_other_places_change_nothing_but_the_places(name: str, fields: dict[str, Any]) -> None:
    """The same users and items in another order: the model that begins there scores as the one before."""
    rng = np.random.default_rng(1)
    users_U, items_I, colours = rng.permutation(24), rng.permutation(20), (2, 0, 1)
    before = coloured(DATA)
    # user u of the new order is users_U[u] of the old; code c is colours[c - 1] + 1
    histories = DATA.histories.take(users_U)
    at_I, at_C = np.argsort(items_I), np.argsort(colours)
    moved = Ragged(histories.offsets_U1, at_I[histories.items_R].astype(np.int32))
    after = coloured(TrainingData(20, moved), 1 + at_C[np.arange(24)[users_U] % COLOURS])
    earlier = make(name, before, **fields).fit(before, FitSession(SHORT))
    model = make(name, after, **fields)
    model.initialise(0)
    model.prepare(after, _complete(model))  # as the trainer does before
    begin_warm(model, WarmStart(earlier.weights(), places(users_U.tolist(), items_I.tolist(), colours)))
    asked = Query(np.arange(24), after.histories, {"colour": after.user_features["colour"].codes_N})
    then = Query(users_U, before.histories.take(users_U), {"colour": before.user_features["colour"].codes_N[users_U]})
    assert close(model.score(asked), earlier.score(then)[:, torch.from_numpy(items_I)])


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_what_is_new_begins_as_in_a_cold_fit(name: str, fields: dict[str, Any]) -> None:
    model = make(name, sized(5, 6), **fields)
    model.initialise(3)
    fresh = model.weights()
    earlier = make(name, sized(4, 5), **fields)
    earlier.initialise(4)
    begin_warm(model, WarmStart(earlier.weights(), places([0, -1, 1, 2, -1], [4, -1, -1, 0, 1, 2], (0, -1, 2))))
    begun, new = model.weights(), {"users": [1, 4], "items": [1, 2], "feature colour": [1]}
    for weight, rows in model.rows().items():
        at = [rows.first + index for index in new[rows.whose]]
        assert torch.equal(begun[weight][at], fresh[weight][at]), weight
        kept = [rows.first + index for index in {"users": [0], "items": [0], "feature colour": [2]}[rows.whose]]
        there = {"users": 0, "items": 4, "feature colour": 2}[rows.whose]
        assert torch.equal(begun[weight][kept[0]], earlier.weights()[weight][rows.first + there]), weight


@pytest.mark.parametrize("name", TRAINED)
def test_each_model_is_fitted_from_there(name: str) -> None:
    """With the same outcome each time, and another one than from nothing."""
    earlier = _fit(name, None)
    start = WarmStart(earlier, places(list(range(24)), list(range(20))))
    warm = _fit(name, start)
    assert weights_hash(warm) == weights_hash(_fit(name, start))
    assert weights_hash(warm) != weights_hash(_fit(name, None))


# the loop


@pytest.mark.parametrize("name", ["bpr_mf", "lightgcn", "sasrec"])
def test_a_killed_warm_fit_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    start = WarmStart(_fit(name, None), places(list(range(24)), [*range(19), -1]))
    whole = _fit(name, start, epochs=3)
    with pytest.raises(Killed):
        _fit(name, start, epochs=3, callbacks=[KillAfter(2)], checkpoints=tmp_path)
    assert weights_hash(_fit(name, start, epochs=3, checkpoints=tmp_path)) == weights_hash(whole)


def test_a_killed_fit_does_not_go_on_as_one_that_began_elsewhere(tmp_path: Path) -> None:
    weights = _fit("bpr_mf", None)
    one = WarmStart(weights, places(list(range(24)), list(range(20))))
    others = [
        None,
        WarmStart(weights, places(list(range(24)), [*range(19), -1])),
        WarmStart({**weights, "bias_I": weights["bias_I"] + 1}, one.places),
    ]
    with pytest.raises(Killed):
        _fit("bpr_mf", one, callbacks=[KillAfter(1)], checkpoints=tmp_path)
    for other in others:
        with pytest.raises(ValueError, match="are of another fit"):
            _fit("bpr_mf", other, checkpoints=tmp_path)


def test_a_stranger_to_all_is_a_cold_start() -> None:
    """Nobody and nothing that the earlier fit knew is here."""
    start = WarmStart(_fit("bpr_mf", None), places([-1] * 24, [-1] * 20))
    assert weights_hash(_fit("bpr_mf", start)) == weights_hash(_fit("bpr_mf", None))


def test_shapes_of_another_model_are_refused() -> None:
    everyone = places([0, 1, 2, 3], [0, 1, 2, 3, 4])
    longer = make("bpr_mf", sized(4, 5), dim=9).weights()
    with pytest.raises(WrongStart, match="user_UD is 9 there and 8 here"):
        begin_warm(make("bpr_mf", sized(4, 5)), WarmStart(longer, everyone))
    wider = make("sasrec", sized(4, 5), width=7).weights()
    with pytest.raises(WrongStart, match=r"there and .* here"):
        begin_warm(make("sasrec", sized(4, 5)), WarmStart(wider, everyone))
    with pytest.raises(WrongStart, match="only one of the two models has output_ID"):
        begin_warm(make("gru4rec", sized(4, 5), tied=True), WarmStart(make("gru4rec", sized(4, 5)).weights(), everyone))


@pytest.mark.parametrize("name", ["ease", "ials"])
def test_models_without_epochs_take_no_notice(name: str) -> None:
    unreadable = WarmStart({}, {})
    one, other = (
        build(name, make_config(name), DATA).fit(DATA, FitSession(SHORT, start=start)).weights()
        for start in (unreadable, None)
    )
    assert weights_hash(one) == weights_hash(other)


def test_which_models_start_warm() -> None:
    assert set(TRAINED) == set(MODELS) - {
        "popularity", "item_knn", "markov", "ease", "graph_filter", "ials", "blend",
    }  # fmt: skip
    assert not make_config("neumf", pretrain=True).starts_warm


def test_one_place_says_where_training_begins() -> None:
    with pytest.raises(ValidationError, match="warm_start and initial_weights both say"):
        TrainerConfig(warm_start=True, initial_weights="1.safetensors")


def _fit(name: str, start: WarmStart | None, epochs: int = 2, **places: Any) -> dict[str, Tensor]:
    trainer = SHORT.model_copy(update={"epochs": epochs})
    fitted: dict[str, Tensor] = make(name, DATA).fit(DATA, FitSession(trainer, start=start, **places)).weights()
    return fitted


def _complete(model: GradientModel) -> FitSession:
    return FitSession(model.config.complete(SHORT), sampling=model.config.complete_sampling(NO_WISH))


def _shapes(model: GradientModel) -> dict[str, tuple[int, ...]]:
    """Of all that is learned: what describes the rows of the fit is each fit's own."""
    return {name: tuple(one.shape) for name, one in model.named_parameters()}


def _grew(small: tuple[int, ...], more: tuple[int, ...], by: int) -> bool:
    assert (more[0] - small[0], more[1:]) == (by, small[1:])
    return True
