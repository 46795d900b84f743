"""Scores are standardised, weights come from the validation rows alone, and what was chosen survives.

U users, I items, M members
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import models
import tasks.train.task as train_task
from flows import unchanged
from flows.config import PipelineConfig
from flows.options import parse, read_options
from models import ease
from models.base import Callback, DoesNotFit, Epoch, FitSession, Query, Ragged, Recommender, TrainingData
from models.blend import weights as blend_weights
from models.blend.config import DEFAULT_MEMBERS, BlendConfig, Member
from models.blend.model import Blend
from models.blend.scores import scored, standardised
from models.blend.weights import KeptScores, climb, nearest_to_equal
from models.bundle import weights_hash
from models.fitting.config import NO_WISH, CheckpointConfig, SamplingConfig, TrainerConfig
from models.registry import MODELS, build, make_config, model_class, modules_used
from tasks.errors import ConfigError
from tasks.sample.task import sample
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store import keys
from tasks.store.refs import TrainedRef
from tasks.store.store import Store
from tests.factories import (
    FixedScores,
    make_bundle,
    make_snapshot,
    query_of,
    random_log,
    tiny_log,
    two_communities,
)

DATA, HIDDEN = two_communities(40, 20)
RANDOM = random_log(60, 30, 600, seed=0)
TABLE_UI = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)


def blended(*tables: np.ndarray, weights: tuple[float, ...]) -> Blend:
    """A blend of models that score by tables."""
    config = BlendConfig(members=("popularity", "item_knn", "ease")[: len(tables)], weights=weights)
    made = Blend(config, DATA)
    made.members = [FixedScores(table) for table in tables]
    return made


def ndcg_of(hidden: Ragged) -> Callable[[Recommender], Mapping[str, float]]:
    """Validates by one item a user, in blocks of 7 users."""

    def validate(model: Recommender) -> dict[str, float]:
        gains = []
        for start in range(0, len(hidden), 7):
            users_U = np.arange(start, min(start + 7, len(hidden)))
            score_UI = model.score(Query(users_U, DATA.histories.take(users_U))).numpy()
            seen = DATA.histories.take(users_U)
            score_UI = score_UI.copy()
            score_UI[seen.users_R, seen.items_R] = -np.inf
            own_U1 = np.take_along_axis(score_UI, hidden.take(users_U).items_R[:, None].astype(np.int64), axis=1)
            place_U = (score_UI > own_U1).sum(axis=1)
            gains.append(np.where(place_U < 10, 1 / np.log2(place_U + 2), 0))
        return {"ndcg_at_10": float(np.concatenate(gains).mean())}

    return validate


def chosen(tables: list[np.ndarray], hidden: Ragged = HIDDEN) -> Blend:
    """With weights by the validation items, as `fit` chooses them."""
    made = blended(*tables, weights=(1.0,) * len(tables))
    made.weight_M = made._chosen(ndcg_of(hidden))
    return made


def knows(items: Ragged, strength: float, seed: int) -> np.ndarray:
    """Noise, and the more the stronger each user's item on top."""
    table_UI = np.random.default_rng(seed).normal(size=(DATA.n_users, DATA.n_items))
    table_UI[items.users_R, items.items_R] += strength
    return table_UI


def count_users(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Users of each call to a member's score from now on."""
    asked: list[int] = []

    def counted(member: Recommender, query: Query, real: Any = scored) -> Any:
        asked.append(len(query))
        return real(member, query)

    monkeypatch.setattr(blend_weights, "scored", counted)
    return asked


# scores


def test_standard_scores_by_hand() -> None:
    made_UI = standardised(np.array([[1, 2, 3, 6], [5, 5, 5, 5], [-1e30, 0, 0, 1e30]], dtype=np.float32))
    root = np.sqrt(3.5)  # of ((-2)² + (-1)² + 0² + 3²) / 4
    np.testing.assert_allclose(made_UI[0], [-2 / root, -1 / root, 0, 3 / root], rtol=1e-6)
    assert made_UI[1].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(made_UI[2], [-np.sqrt(2), 0, 0, np.sqrt(2)], rtol=1e-6)
    assert made_UI.dtype == np.float32


@pytest.mark.parametrize("value", [0.1, 1e-30, -3e38, 16777217.0])
def test_a_constant_row_counts_nothing_whatever_its_value(value: float) -> None:
    assert not standardised(np.full((1, 1001), value, dtype=np.float32)).any()


def test_a_small_spread_on_a_large_score_is_kept() -> None:
    made_UI = standardised(np.array([[1e6, 1e6 + 1, 1e6 + 2]], dtype=np.float32))
    np.testing.assert_allclose(made_UI, [[-np.sqrt(1.5), 0, np.sqrt(1.5)]], rtol=1e-6)


def test_a_number_that_is_none_is_not_hidden() -> None:
    assert np.isnan(standardised(np.array([[1, np.nan, 3]], dtype=np.float32))).all()


def test_the_sum_by_hand() -> None:
    first, second = np.zeros((40, 20)), np.full((40, 20), 7.0)
    first[0, :2] = 1, -1  # deviation √(2/20)
    second[0, 2] = 27  # mean 8, deviation √((19² + 19) / 20) = √19
    score_UI = blended(first, second, weights=(3.0, -0.5)).score(query_of(DATA)).numpy()
    expected_I = np.full(20, 0.5 / np.sqrt(19))
    expected_I[:3] += [3 * np.sqrt(10), -3 * np.sqrt(10), -10 / np.sqrt(19)]
    np.testing.assert_allclose(score_UI[0], expected_I, rtol=1e-5)
    assert not score_UI[1:].any()  # both are the same for all items there


@pytest.mark.parametrize(
    ("members", "weights", "folds_in"),
    [
        ("ials,ease", (1, 1), True),
        ("popularity,ease", (1, 1), True),  # shows everyone the same: it has nothing to say against a history
        ("bpr_mf,ease", (1, 1), False),
        ("bpr_mf,ease", (0, 1), True),
        ("popularity,bpr_mf", (1, 0), False),
    ],
)
def test_a_blend_folds_in_where_all_that_tell_users_apart_do(members: str, weights: Any, folds_in: bool) -> None:
    assert Blend(BlendConfig.model_validate({"members": members, "weights": weights}), DATA).folds_in is folds_in


class Younger(FixedScores):
    """Scores a user as the one who is so many places before."""

    features_used = ("age",)

    def score(self, query: Query) -> torch.Tensor:
        return super().score(Query(query.users_U - query.features["age"], query.histories))


def test_a_blend_uses_the_features_of_whoever_is_asked_and_hands_them_on() -> None:
    blend = blended(TABLE_UI, TABLE_UI, TABLE_UI, weights=(1.0, 0.0, 1.0))
    blend.members = [Younger(TABLE_UI), FixedScores(TABLE_UI), FixedScores(TABLE_UI)]
    assert blend.features_used == ("age",)
    query = Query(np.array([5, 6]), Ragged.empty(2), {"age": np.array([0, 2])})
    expected = standardised(TABLE_UI[[5, 4]]) + standardised(TABLE_UI[[5, 6]])
    assert np.allclose(blend.score(query), expected, atol=1e-6)
    kept = KeptScores(blend.members, 20)  # so also while its weights are being chosen
    kept.share = 1.0
    assert np.allclose(kept.score(query, (1.0, 0.0, 1.0)), expected, atol=1e-6)
    blend.members = [FixedScores(TABLE_UI), Younger(TABLE_UI), FixedScores(TABLE_UI)]
    assert not blend.features_used


def test_all_weight_on_one_is_its_ranking_and_the_other_is_not_asked() -> None:
    made = blended(TABLE_UI, TABLE_UI, weights=(2.0, 0.0))
    made.members[1] = None  # type: ignore[call-overload]
    ranks_UI = made.score(query_of(DATA)).argsort(dim=1)
    assert torch.equal(ranks_UI, torch.from_numpy(TABLE_UI).argsort(dim=1))


def test_each_member_is_asked_once_and_its_scores_stay_its_own() -> None:
    asked: list[int] = []

    class Counts(FixedScores):
        def score(self, query: Query) -> torch.Tensor:
            asked.append(len(query))
            return self.score_UI

    made = blended(TABLE_UI, TABLE_UI, weights=(1.0, 1.0))
    made.members = [Counts(TABLE_UI.copy()), Counts(TABLE_UI.copy())]
    made.score(query_of(DATA))
    assert asked == [40, 40]
    assert all((member.weights()["score_UI"].numpy() == TABLE_UI).all() for member in made.members)


# weights


def test_a_member_that_knows_only_the_test_gets_no_weight() -> None:
    test = Ragged(HIDDEN.offsets_U1, HIDDEN.items_R ^ 1)  # an item of the other kind, which the user has not seen
    tables = [knows(HIDDEN, 2, 0) - knows(test, 9, 2), knows(test, 9, 1) - knows(HIDDEN, 9, 3)]
    assert chosen(tables).weight_M == (1, 0)
    assert chosen(tables, test).weight_M[1] > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_validation_never_prefers_a_member_alone(seed: int) -> None:
    tables = [knows(HIDDEN, strength, seed + place) for place, strength in enumerate((2.0, 0.5, 1.5))]
    validate = ndcg_of(HIDDEN)
    made = chosen(tables)
    best = max(validate(FixedScores(table))["ndcg_at_10"] for table in tables)
    assert validate(made)["ndcg_at_10"] >= best
    assert sum(made.weight_M) == pytest.approx(1)
    assert made._kept is None


def test_two_that_are_wrong_in_their_own_ways_do_better_together() -> None:
    tables = [knows(HIDDEN, 2, 0), knows(HIDDEN, 2, 1)]
    validate = ndcg_of(HIDDEN)
    assert validate(chosen(tables))["ndcg_at_10"] > 1.05 * max(
        validate(FixedScores(table))["ndcg_at_10"] for table in tables
    )


def test_scores_are_made_once_however_many_weights_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = blended(TABLE_UI, -TABLE_UI, weights=(1.0, 1.0)), count_users(monkeypatch)
    first = made._chosen(ndcg_of(HIDDEN))
    assert sum(asked) == 2 * 40
    asked.clear()
    monkeypatch.setattr(blend_weights, "SHARE", 0)  # nothing may be kept: slower, but the same
    assert made._chosen(ndcg_of(HIDDEN)) == first
    assert sum(asked) > 4 * 40
    asked.clear()
    monkeypatch.setattr(blend_weights, "SHARE", 1)
    room = SimpleNamespace(available=4 * DATA.n_users * DATA.n_items)  # for one of the two members
    monkeypatch.setattr("models.blend.weights.psutil.virtual_memory", lambda: room)
    assert made._chosen(ndcg_of(HIDDEN)) == first
    assert sum(asked) > 4 * 40


def test_where_only_a_part_of_the_users_is_asked_all_have_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend_weights, "KEPT_SCORES", DATA.n_users * DATA.n_items)  # half of what two members make
    asked = count_users(monkeypatch)
    tables = [knows(HIDDEN, 2, 0), knows(HIDDEN, 1, 1)]
    made, validate = chosen(tables), ndcg_of(HIDDEN)
    assert 0 < sum(asked[:12]) < 2 * 40
    best = max(validate(FixedScores(table))["ndcg_at_10"] for table in tables)
    assert validate(made)["ndcg_at_10"] >= best


def test_the_climb_finds_the_top_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def hill(weights: tuple[float, ...]) -> float:
        return 1 - abs(weights[0] - 0.6) - abs(weights[1] - 0.4) - weights[2]

    tried = climb(hill, 3)
    best = max(tried, key=lambda weights: tried[weights])
    assert tried[best] > 0.9
    assert all(sum(weights) == pytest.approx(1, abs=1e-5) and min(weights) >= 0 for weights in tried)
    assert list(tried)[:4] == [(1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    assert climb(hill, 3) == tried
    monkeypatch.setattr(blend_weights, "MOST_TRIES", 9)
    assert len(climb(hill, 3)) == 9


def test_noise_does_not_move_weights_from_equal_ones() -> None:
    tried: dict[tuple[float, ...], float] = {
        (0.5, 0.5): 0.400,
        (1.0, 0.0): 0.300,
        (0.0, 1.0): 0.200,
        (0.6, 0.4): 0.401,
        (0.8, 0.2): 0.410,
    }
    # of 400 users .1 · √(.41 / 400) = .0032 is noise, of 10 users .0202
    assert nearest_to_equal(tried, 0.1, 400) == (0.8, 0.2)
    assert nearest_to_equal(tried, 0.1, 10) == (0.5, 0.5)
    single = {**tried, (1.0, 0.0): 0.4005}  # never worse than a member alone
    assert nearest_to_equal(single, 0.1, 10) == (0.6, 0.4)


def test_without_validation_rows_all_weigh_the_same() -> None:
    made = Blend(BlendConfig(members=("item_knn", "popularity")), DATA).fit(DATA, FitSession())
    assert made.weight_M == (0.5, 0.5)
    assert made.config.weights == (0.5, 0.5)


# fitting


MIXED = BlendConfig(members=("item_knn", {"name": "bpr_mf", "dim": 4}, {"name": "ials", "dim": 4}))
SESSION: dict[str, Any] = {"trainer": TrainerConfig(epochs=4, patience=0, device="cpu")}


class Watch(Callback):
    """Remembers whose epochs it was told, and dies at one of them."""

    def __init__(self, die: int = 0) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.die = die

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        self.epochs.append((model.config.name, epoch.number))
        if epoch.number == self.die:
            raise KeyboardInterrupt


def test_the_refit_keeps_what_the_members_and_the_weights_chose() -> None:
    scripted = iter([0.1, 0.5, 0.2, 0.2])

    def validate(model: Recommender) -> Mapping[str, float]:
        return {"ndcg_at_10": next(scripted)} if model.config.name == "bpr_mf" else ndcg_of(HIDDEN)(model)

    session = FitSession(**SESSION, validate=validate)
    first = Blend(MIXED, DATA).fit(DATA, session)
    assert (session.best_epoch, session.history) == (0, [])
    assert session.trainer == SESSION["trainer"]
    learnt = Member.of(first.config.parts[1].spec)
    assert learnt.best_epoch == 2  # its own best one, not what all were told
    assert first.config.parts[0].config.neighbours is not None  # type: ignore[attr-defined]
    watch = Watch()
    again = Blend(first.config, DATA).fit(DATA, FitSession(**SESSION, callbacks=[watch]))
    assert again.config == first.config
    assert again.weight_M == first.weight_M
    if first.weight_M[1]:
        assert sum(name == "bpr_mf" for name, _ in watch.epochs) == 2


def test_what_is_chosen_survives_json_and_is_what_loads_the_weights() -> None:
    model = Blend(MIXED, DATA).fit(DATA, FitSession(**SESSION, validate=ndcg_of(HIDDEN)))
    stored = json.loads(json.dumps(model.config.model_dump(mode="json")))
    config = make_config(**stored)
    assert config == model.config
    assert config.model_dump(mode="json") == stored
    assert keys.make_hash(config) == keys.make_hash(model.config)
    no_rows = TrainingData(DATA.n_items, Ragged.empty(DATA.n_users))
    other = build("blend", config, no_rows).load_weights(model.weights())
    assert torch.equal(other.score(query_of(DATA)), model.score(query_of(DATA)))
    assert weights_hash(other.weights()) == weights_hash(model.weights())
    assert other.n_parameters == sum(part.n_parameters for _, part in model._used)


def test_a_member_of_weight_zero_is_neither_fitted_nor_saved() -> None:
    config = BlendConfig(members=("ease", "popularity"), weights=(0.0, 1.0))
    model = Blend(config, DATA).fit(DATA, FitSession(validate=ndcg_of(HIDDEN)))
    assert set(model.weights()) == {"weight_M", "1.count_I"}
    other = Blend(model.config, DATA).load_weights(model.weights())
    assert torch.equal(other.score(query_of(DATA)), model.score(query_of(DATA)))


def test_weights_of_another_number_of_members_are_refused() -> None:
    model = Blend(BlendConfig(members=("item_knn", "popularity")), DATA).fit(DATA, FitSession())
    with pytest.raises(ValueError, match="2 members for a blend of 3"):
        Blend(MIXED, DATA).load_weights(model.weights())


def test_a_fit_killed_in_the_second_member_goes_on_to_equal_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Watch()
    expected = Blend(MIXED, RANDOM).fit(RANDOM, FitSession(**SESSION, callbacks=[whole]))
    assert [number for _, number in whole.epochs] == list(range(1, 13))  # 4 of bpr_mf, 8 of ials, numbered through
    with pytest.raises(KeyboardInterrupt):
        Blend(MIXED, RANDOM).fit(RANDOM, FitSession(**SESSION, callbacks=[Watch(die=3)], checkpoints=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-item_knn", "1-bpr_mf"]

    def never(*args: object) -> None:
        raise AssertionError("the first member was fitted again")

    monkeypatch.setattr(model_class("item_knn"), "fit", never)
    watch = Watch()
    again = Blend(MIXED, RANDOM).fit(RANDOM, FitSession(**SESSION, callbacks=[watch], checkpoints=tmp_path))
    assert watch.epochs == whole.epochs[3:]
    assert again.config == expected.config
    assert weights_hash(again.weights()) == weights_hash(expected.weights())
    with pytest.raises(ValueError, match="of another fit"):
        Blend(MIXED, DATA).fit(DATA, FitSession(**SESSION, checkpoints=tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {"data": TrainingData(20, Ragged(DATA.histories.offsets_U1, DATA.histories.items_R ^ 1))},
        {"sampling": SamplingConfig(negatives=2)},
        {"dim": 5},
    ],
)
def test_a_member_fitted_on_other_rows_or_otherwise_is_not_taken_up(changed: dict[str, Any], tmp_path: Path) -> None:
    def run(data: TrainingData = DATA, sampling: SamplingConfig = NO_WISH, dim: int = 4) -> None:
        config = BlendConfig(members=({"name": "bpr_mf", "dim": dim}, "item_knn"))
        Blend(config, data).fit(data, FitSession(**SESSION, checkpoints=tmp_path, sampling=sampling))

    run()
    with pytest.raises(ValueError, match="of another fit"):
        run(**changed)


def test_each_members_files_are_in_a_folder_of_its_own(tmp_path: Path) -> None:
    members = ({"name": "bpr_mf", "dim": 4}, {"name": "bpr_mf", "dim": 3})
    trainer = TrainerConfig(epochs=1, device="cpu", checkpoint=CheckpointConfig(path="last.safetensors"))
    Blend(BlendConfig(members=members), DATA).fit(DATA, FitSession(trainer, keep=tmp_path))
    kept = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors"))
    assert kept == ["0-bpr_mf/last.safetensors", "1-bpr_mf/last.safetensors"]


def test_a_usual_member_that_does_not_fit_is_left_out_and_a_chosen_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ease, "SHARE", 0)
    with caplog.at_level(logging.WARNING, "encore.training"):
        made = Blend(BlendConfig(), DATA).fit(DATA, FitSession())
    assert [part.config.name for part in made.config.parts] == ["ials", "item_knn", "graph_filter"]
    assert "the blend goes without ease: EASE over 20 items" in caplog.text
    assert torch.isfinite(made.score(query_of(DATA))).all()
    Blend(made.config, DATA).load_weights(made.weights())
    with pytest.raises(DoesNotFit, match="ease, a member of the blend: EASE over 20 items"):
        Blend(BlendConfig(members=("ease", "ials")), DATA).fit(DATA, FitSession())


def test_every_member_is_told_what_the_user_set_and_its_own() -> None:
    own = {"name": "bpr_mf", "dim": 4, "trainer": {"seed": 5, "epochs": 1}}
    config = BlendConfig(members=({"name": "bpr_mf", "dim": 4}, own))
    watch = Watch()
    session = FitSession(TrainerConfig(epochs=2, seed=3, device="cpu"), callbacks=[watch])
    made = Blend(config, DATA).fit(DATA, session)
    assert watch.epochs == [("bpr_mf", 1), ("bpr_mf", 2), ("bpr_mf", 3)]
    for number, trainer in enumerate((TrainerConfig(epochs=2, seed=3), TrainerConfig(epochs=1, seed=5))):
        alone = build("bpr_mf", make_config("bpr_mf", dim=4), DATA).fit(DATA, FitSession(trainer)).weights()
        assert torch.equal(made.weights()[f"{number}.user_UD"], alone["user_UD"])
    assert [part.best_epoch for part in made.config.parts] == [2, 1]


def test_a_refit_of_a_member_is_cut_short_but_else_the_same() -> None:
    member = {"name": "bpr_mf", "dim": 4, "trainer": {"schedule": {"warmup": 2}, "stopping": {"min_delta": 0.01}}}
    scripted = iter([0.5, 0.1, 0.2, 0.3])

    def validate(model: Recommender) -> Mapping[str, float]:
        return {"ndcg_at_10": next(scripted) if model.config.name == "bpr_mf" else 0.1, "recall_at_20": 0.0}

    common = TrainerConfig.model_validate(
        {"epochs": 4, "patience": 0, "device": "cpu", "schedule": {"kind": "cosine"}, "optimizer": "adam"}
    )
    config = BlendConfig(members=(member, "popularity"))
    first = Blend(config, DATA).fit(DATA, FitSession(common, validate))
    learnt = Member.of(json.loads(json.dumps(first.config.parts[0].spec)))
    assert learnt.best_epoch == 1
    again = learnt.told(common)
    assert (again.epochs, again.schedule.kind, again.schedule.warmup, again.schedule.epochs) == (1, "cosine", 2, 4)
    assert (again.stopping.min_delta, again.patience, again.optimizer) == (0.01, 0, "adam")
    assert Blend(first.config, DATA).fit(DATA, FitSession(common)).config == first.config


def test_members_that_became_equal_by_being_fitted_stay_two() -> None:
    chosen = Blend(BlendConfig(members=("ease", "popularity")), DATA).fit(DATA, FitSession()).config.parts[0].config
    config = BlendConfig(members=("ease", {"name": "ease", **chosen.model_dump(exclude={"name"})}))
    made = Blend(config, DATA).fit(DATA, FitSession())
    assert make_config(**json.loads(made.config.model_dump_json())) == made.config


def test_negatives_are_for_members_that_learn_in_epochs() -> None:
    wish = SamplingConfig(negatives=2)
    assert MIXED.complete_sampling(wish) == wish
    made = Blend(MIXED, DATA).fit(DATA, FitSession(**SESSION, sampling=wish))
    alone = build("bpr_mf", make_config("bpr_mf", dim=4), DATA).fit(DATA, FitSession(**SESSION, sampling=wish))
    assert torch.equal(made.weights()["1.user_UD"], alone.weights()["user_UD"])
    with pytest.raises(ValueError, match=r"leave sample\.negatives unset"):
        BlendConfig().complete_sampling(wish)
    with pytest.raises(ValueError, match="in the `trainer` of that member"):
        BlendConfig().complete(TrainerConfig(initial_weights="x"))
    late = TrainerConfig(initial_epoch=90)
    BlendConfig().complete(late)  # none of its members has epochs to begin with
    with pytest.raises(ValueError, match="leaves nothing of 80 epochs"):
        MIXED.complete(late)


# configuration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"members": ["ials", "no_such"]}, "unknown model 'no_such' among the members; known: bpr_mf"),
        ({"members": ["ials", {"dim": 3}]}, "unknown model None"),
        ({"members": ["ials", "blend"]}, "cannot be a member of a blend"),
        ({"members": [{"name": "ials", "dims": 3}, "ease"]}, "the member ials has no field dims"),
        ({"members": [{"name": "ials", "dim": -3}, "ease"]}, "the member ials: dim: Input should be greater than 0"),
        ({"members": [{"name": "bpr_mf", "trainer": {"epoch": 3}}, "ease"]}, "the member bpr_mf has no field epoch"),
        ({"members": ["ials", {"name": "ials", "dim": 64}]}, "ials is there twice, in the same configuration"),
        ({"members": ["ials"]}, "needs two members or more"),
        ({"members": []}, "needs two members or more"),
        ({"weights": [1, 2]}, "weights say nothing without members"),
        ({"members": ["ials", "ease"], "weights": [1]}, "1 weights for 2 members"),
        ({"members": ["ials", "ease"], "weights": [0, 0]}, "must differ from 0"),
        ({"members": ["ials", "ease"], "weights": [1, float("nan")]}, "finite number"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_config("blend", **fields)
    text = caught.value.errors()[0]["msg"]
    assert message in text
    assert "\n" not in text


def test_flags_and_yaml_name_members(tmp_path: Path) -> None:
    def read(*words: str, file: Path | None = None) -> Any:
        return read_options(parse(["--model.name=blend", *words]), str(file) if file else None).config.model

    assert read().members is None
    assert read("--model.members=ials, ease").members == ("ials", "ease")
    assert read("--model.members=ials,ease", "--model.weights=.25,.75").weights == (0.25, 0.75)
    assert read("--model.members=[{name: ials, dim: 8}, ease]").parts[0].config == make_config("ials", dim=8)
    file = tmp_path / "night.yaml"
    file.write_text("model:\n  members:\n  - ease\n  - name: ials\n    dim: 8\n")
    assert read(file=file).members == ("ease", {"name": "ials", "dim": 8})
    with pytest.raises(ConfigError) as caught:
        read("--model.members=ials,eas")
    assert "model.members: unknown model 'eas'" in str(caught.value)


def test_a_member_without_fields_is_its_name() -> None:
    spelt = BlendConfig(members=({"name": "ials"}, {"name": "ease", "l2": 3}))
    assert spelt.members == ("ials", {"name": "ease", "l2": 3.0})
    config = PipelineConfig.model_validate({"model": {"name": "blend", "members": "ials,ease"}}).resolved()
    assert PipelineConfig.model_validate(json.loads(config.model_dump_json())) == config


def test_the_code_of_every_member_counts() -> None:
    used = modules_used(make_config("blend", members=["ease", {"name": "ials", "dim": 8}]))
    assert used == ["models.blend.model", "models.ease", "models.ials.model"]
    assert modules_used(make_config("ease")) == ["models.ease"]
    assert "models.graph_filter" in modules_used(make_config("blend"))
    found: dict[str, Path] = {}
    for module in used:
        keys._collect(module, found)
    assert {"models.ials.kernel", "models.ease", "models.sparse", "models.blend.model"} <= set(found)
    assert "models.graph_filter" not in found


def test_a_change_in_a_members_code_makes_another_night_and_one_beside_it_does_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PipelineConfig.model_validate({"model": {"name": "blend", "members": "ials,ease"}}).resolved()
    before = unchanged.night_key(config, [], store)
    for changed, counts in (("models.ease", True), ("models.item_knn", False)):
        codes = {changed: "another"}
        monkeypatch.setattr(unchanged, "code_hash", lambda name, codes=codes: codes.get(name) or keys.code_hash(name))
        assert (unchanged.night_key(config, [], store) != before) == counts


def test_a_members_code_is_part_of_the_trainings_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(user, 2 * ((user + n) % 10) + user % 2, n) for user in range(20) for n in range(5)]
    snapshot = make_snapshot(store, tiny_log(*rows))
    samples = sample.fn(store, split.fn(store, snapshot, SplitConfig(protocol="leave_last_out")))
    config = make_config("blend", members=["popularity", "item_knn"])

    def trained(changed: str) -> TrainedRef:
        codes = {changed: "another"}
        monkeypatch.setattr(train_task, "code_hash", lambda name: codes.get(name) or keys.code_hash(name))
        return train_task.train.fn(store, samples, config, TrainerConfig())

    first = trained("none")
    assert trained("models.ease").key == first.key
    assert trained("models.item_knn").key != first.key


def test_the_defaults_are_canonical_and_known() -> None:
    assert BlendConfig(members=DEFAULT_MEMBERS).members == DEFAULT_MEMBERS
    assert {part.config.name for part in BlendConfig().parts} <= set(MODELS)


def test_a_bundle_of_a_blend_comes_back(tmp_path: Path) -> None:
    bundle = make_bundle("blend")
    bundle.save(tmp_path)
    again = type(bundle).load(tmp_path)
    assert again.model.config == bundle.model.config
    for one, other in zip(again.recommend([10, 11, -1], 3), bundle.recommend([10, 11, -1], 3), strict=True):
        assert (one == other).all()


def test_a_shipped_blend_takes_its_members_from_the_code_that_it_carries(tmp_path: Path) -> None:
    """In the model artefact our package has a private name, and there may be no other."""
    ours = Path(next(iter(models.__path__)))
    shutil.copytree(ours, tmp_path / "carried", ignore=shutil.ignore_patterns("__pycache__"))
    make_bundle("blend").save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from carried.bundle import Bundle\n"
        "model = Bundle.load(Path('.')).model\n"
        "print(len(model.members), {type(member).__module__.split('.')[0] for member in model.members})\n"
        "assert 'models' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "4 {'carried'}\n", done.stderr


# members that read histories


def test_members_are_shown_as_many_items_as_the_blend() -> None:
    blend = make_config("blend", members=({"name": "sasrec", "dim": 8, "heads": 1}, "item_knn"))
    shown = blend.showing(5)
    assert isinstance(shown, BlendConfig)
    assert [member.config.shown for member in shown.parts] == [5, None]
    assert shown.parts[0].config == make_config("sasrec", dim=8, heads=1, history_length=5)
    assert blend.showing(None) == blend
    assert make_config("blend", members="ease,item_knn").showing(5) == make_config("blend", members="ease,item_knn")


def test_a_member_with_another_length_is_refused() -> None:
    blend = make_config("blend", members=({"name": "sasrec", "history_length": 50}, "item_knn"))
    with pytest.raises(ValueError, match=r"history_length is 50 and sample\.history_length is 5"):
        blend.showing(5)


def test_stored_negatives_are_not_for_blends() -> None:
    blend = make_config("blend", members="mind,item_knn")
    with pytest.raises(ValueError, match=r"sample\.stored and blend"):
        blend.complete_sampling(SamplingConfig(stored=True))
