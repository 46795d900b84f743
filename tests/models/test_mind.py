"""MIND: its size and forward pass against the reference, its options by hand, and users with several tastes.

U users, B rows, L history length, K interests, D vector length, I items, C clusters
"""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.base import Feature, FitSession, NoSuchFeature, Query, Ragged, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.fitting.opponents import PairBatch
from models.fitting.window_pairs import WindowBatch
from models.mind import MIND, MINDConfig
from models.nn.attention import label_aware
from models.nn.features import Tower
from models.nn.routing import route
from tests.factories import KillAfter, Killed, batch_of, query_of, random_log, two_communities

REFERENCE = MINDConfig(
    dim=16, interests=2, history_length=50, tower=(64, 16), residual=False, recency=False,
    features=("user_id", "gender", "age", "occupation", "zip"),
)  # fmt: skip
SIZES = {"gender": 3, "age": 4, "occupation": 4, "zip": 4}


def reference_data(n_items: int = 208) -> TrainingData:
    features = {name: Feature(np.array([1, 2, 1]), size) for name, size in SIZES.items()}
    return TrainingData(n_items, Ragged.empty(3), user_features=features)


def made(data: TrainingData, seed: int = 0, std: float = 1.0, **fields: object) -> MIND:
    """Untrained, with vectors large enough to tell the interests apart."""
    model = MIND.build(MINDConfig(**{"dim": 6, "init_std": std, "routing_std": 1.0, **fields}), data)
    model.initialise(seed)
    return model.eval()


def query(*histories: list[int], user: int = -1, **features: list[int]) -> Query:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    items = np.concatenate([np.array(history, dtype=np.int64) for history in histories])
    codes = {name: np.array(code) for name, code in features.items()}
    return Query(np.full(len(histories), user), Ragged.from_pairs(users, items, len(histories)), codes)


def rows_of(pairs: PairBatch, *histories: list[int]) -> WindowBatch:
    return WindowBatch(pairs, torch.tensor(histories), {})


NO_USERS = TrainingData(20, Ragged.empty(0))


def test_size_is_that_of_the_reference() -> None:
    model = MIND.build(REFERENCE, reference_data())
    assert [table.numel() for table in model.features.tables] == [64, 48, 64, 64, 64]
    assert model.item_RD.numel() == 3344
    assert model.map_DD.numel() == 256
    assert model.tower is not None
    assert sum(weight.numel() for weight in model.tower.parameters()) == 7248
    assert model.n_parameters == 11_152


def test_forward_pass_is_that_of_the_reference() -> None:
    """Profile [B, 80] before each capsule, 64 relu, 16 linear; items are shared with the history."""
    data = replace(reference_data(), histories=Ragged.from_pairs(np.arange(3), np.arange(3), 3))
    model = MIND.build(REFERENCE, data)
    model.initialise(0)
    model.eval()
    history_BL = torch.tensor([[208, 5, 7, 7], [208, 208, 208, 3]])
    codes = {"gender": [1, 2], "age": [3, 0], "occupation": [2, 2], "zip": [1, 3]}
    number_BF = torch.tensor([[3, 1], *([0, 0] for _ in SIZES)])
    number_BF[1:] = torch.tensor(list(codes.values()))
    profile_BF = torch.cat([table[code] for table, code in zip(model.features.tables, number_BF, strict=True)], dim=1)
    assert profile_BF.shape == (2, 80)
    behaviour_BLD = model.item_RD[history_BL] @ model.map_DD.T
    capsule_BKD = route(behaviour_BLD, model.logit_KL[:, -4:], (history_BL != 208).float())
    assert isinstance(model.tower, Tower)
    first, second = model.tower.layers
    both_BKE = torch.cat([profile_BF[:, None].expand(-1, 2, -1), capsule_BKD], dim=2)
    expected_BKD = second(first(both_BKE).relu())

    feature_BF = model.features(torch.tensor([2, 0]), {name: torch.tensor(code) for name, code in codes.items()})
    torch.testing.assert_close(model.interests(history_BL, feature_BF), expected_BKD)
    asked = Query(np.array([2, 0]), query([5, 7, 7], [3]).histories, {k: np.array(v) for k, v in codes.items()})
    expected_UI = (expected_BKD @ model.item_RD[:208].T).amax(dim=1)
    torch.testing.assert_close(model.score(asked), expected_UI)


def test_residual_adds_the_capsule() -> None:
    history_BL, nothing_BF = torch.tensor([[1, 2, 3]]), torch.zeros(1, 0)
    with_BKD, without_BKD, bare_BKD = (
        made(NO_USERS, **fields).interests(history_BL, nothing_BF)
        for fields in ({"residual": True}, {"residual": False}, {"tower": ()})
    )
    # The tower starts at a tenth where it is added.
    torch.testing.assert_close(with_BKD, bare_BKD + 0.1 * without_BKD)


@pytest.mark.parametrize(("power", "as_number"), [("hard", inf), (2.0, 2.0), (0.0, 0.0)])
def test_loss_is_a_softmax_over_all_items_of_what_attention_makes(power: object, as_number: float) -> None:
    model = made(NO_USERS, power=power, loss="softmax")
    pairs = batch_of([0, 0], [4, 9], [])
    interest_BKD = model.interests(torch.tensor([[1, 2, 3], [20, 5, 6]]), torch.zeros(2, 0))
    item_ID = model.item_RD[:20]
    row_BD = label_aware(interest_BKD, item_ID[[4, 9]], as_number)
    expected = torch.nn.functional.cross_entropy(row_BD @ item_ID.T, torch.tensor([4, 9]))
    torch.testing.assert_close(model.loss(rows_of(pairs, [1, 2, 3], [20, 5, 6])), expected)


def test_padding_gets_no_gradient_and_stays_zero() -> None:
    data = random_log(20, 15, 120, seed=0)
    session = FitSession(TrainerConfig(epochs=2, batch_size=40, seed=0, device="cpu"))
    model = MIND.build(MINDConfig(dim=8), data).fit(data, session)
    assert not model.item_RD[15].any()
    assert model.item_RD[:15].any(dim=1).all()


def test_neighbours_in_the_batch_do_not_matter() -> None:
    model = made(NO_USERS, interests=3)
    together_UI = model.score(query([4, 5], list(range(18)), []))
    for row, history in enumerate(([4, 5], list(range(18)), [])):
        torch.testing.assert_close(together_UI[row : row + 1], model.score(query(history)))


def test_only_the_latest_items_are_shown() -> None:
    model = made(NO_USERS, history_length=3)
    assert torch.equal(model.score(query([9, 8, 1, 2, 3])), model.score(query([1, 2, 3])))
    assert not torch.equal(model.score(query([1, 2, 3])), model.score(query([2, 3])))


def test_two_predictions_are_equal_also_after_saving() -> None:
    model, other = (made(NO_USERS, seed=seed, interests=3, dropout=0.5) for seed in (0, 1))
    first_UI = model.score(query([1, 2, 3], [7]))
    assert torch.equal(first_UI, model.score(query([1, 2, 3], [7])))
    assert not torch.equal(first_UI, other.score(query([1, 2, 3], [7])))
    assert torch.equal(first_UI, other.load_weights(model.weights()).score(query([1, 2, 3], [7])))


@pytest.mark.parametrize(("n_rows", "batch_size"), [(10**6, 1024), (6400, 100), (63, 1)])
def test_few_rows_go_into_small_batches(n_rows: int, batch_size: int) -> None:
    assert MINDConfig().with_batches(TrainerConfig(), n_rows).batch_size == batch_size
    assert MINDConfig().with_batches(TrainerConfig(batch_size=7), n_rows).batch_size == 7


def test_first_logits_are_no_parameter_and_stay() -> None:
    data = random_log(20, 15, 120, seed=0)
    model = MIND.build(MINDConfig(dim=8, routing_std=1.0), data)
    model.initialise(0)
    before_KL = model.logit_KL.clone()
    model.fit(data, FitSession(TrainerConfig(epochs=2, seed=0, device="cpu")))
    assert torch.equal(model.logit_KL, before_KL)
    assert "logit_KL" not in dict(model.named_parameters())


def test_order_matters_only_with_recency() -> None:
    for recency in (False, True):
        model = made(NO_USERS, routing_std=0.0, recency=recency)
        same = torch.allclose(model.score(query([1, 2, 3])), model.score(query([3, 1, 2])), atol=1e-6)
        assert same != recency


def test_a_place_weighs_by_its_distance_from_the_newest() -> None:
    """A weight of zero for all places but the newest leaves the newest item alone."""
    model = made(NO_USERS, interests=1, history_length=4)
    assert model.log_weight_L is not None
    with torch.no_grad():
        model.log_weight_L.copy_(torch.tensor([-99.0, -99.0, -99.0, 0.0]))
    torch.testing.assert_close(model.score(query([1, 2, 3])), model.score(query([3])))


@pytest.mark.parametrize(("n_items", "n_interests"), [(1, 1), (3, 2), (7, 3), (8, 3)])
def test_adaptive_users_are_scored_by_as_many_interests_as_their_history_speaks_for(
    n_items: int, n_interests: int
) -> None:
    model = made(NO_USERS, interests=4, adaptive=True)
    fewer = made(NO_USERS, interests=n_interests)
    fewer.load_weights(model.weights() | {"logit_KL": model.logit_KL[:n_interests].clone()})
    long = list(range(19))
    alone_UI = fewer.score(query(list(range(n_items))))
    torch.testing.assert_close(model.score(query(list(range(n_items)), long))[:1], alone_UI)
    assert not torch.allclose(made(NO_USERS, interests=4).score(query(list(range(n_items)))), alone_UI)


def test_adaptive_loss_leaves_unused_interests_out() -> None:
    model, fewer = made(NO_USERS, interests=4, adaptive=True), made(NO_USERS, interests=1)
    fewer.load_weights(model.weights() | {"logit_KL": model.logit_KL[:1].clone()})
    for name in ("hard", 1.0):
        one, other = (
            MIND.build(each.config.model_copy(update={"power": name}), NO_USERS).load_weights(each.weights())
            for each in (model, fewer)
        )
        batch = rows_of(batch_of([0], [4], [[1, 2]]), [20, 5, 6])
        batch = replace(batch, pairs=replace(batch.pairs, log_q=torch.zeros(1, 3)))
        torch.testing.assert_close(one.eval().loss(batch), other.eval().loss(batch))


def test_an_unknown_feature_is_refused_with_those_there_are() -> None:
    with pytest.raises(NoSuchFeature, match=r"no hat; the data has user_id, gender, age, occupation, zip"):
        MIND.build(MINDConfig(features=("age", "hat")), reference_data())


@pytest.mark.parametrize("fields", [{"tower": (8, 4)}, {"tower": (), "features": "user_id"}])
def test_a_tower_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="tower"):
        MINDConfig(dim=8, **fields)


def test_what_a_query_leaves_out_is_unknown() -> None:
    model = made(reference_data(20), features=("user_id", "age", "zip"))
    assert model.features_used == ("age", "zip")
    bare_UI = model.score(query([1, 2]))
    assert torch.equal(bare_UI, model.score(query([1, 2], age=[0], zip=[0], shoe=[3])))
    assert not torch.equal(bare_UI, model.score(query([1, 2], age=[3])))
    # Nothing was fitted for any user, so nobody's number says anything.
    assert torch.equal(bare_UI, model.score(query([1, 2], user=2)))


def test_fitted_users_have_numbers_and_others_none() -> None:
    histories = Ragged.from_pairs(np.array([0, 2]), np.array([1, 2]), 3)
    column = {"user_id": Feature(np.array([1, 1, 1]), 9)}  # of that name is not what is meant
    model = made(TrainingData(20, histories, user_features=column), features=("user_id",))
    table_ND = model.features.tables[0]
    numbers = model.features(torch.tensor([-1, 0, 1, 2]), {})
    assert torch.equal(numbers, table_ND[[0, 1, 0, 3]])
    assert len(table_ND) == 4


def test_feature_dropout_makes_known_codes_unknown_in_training_alone() -> None:
    model = made(reference_data(20), features=("age",), feature_dropout=0.5)
    codes = {"age": torch.full((2000,), 3)}
    users_B = torch.zeros(2000, dtype=torch.int64)
    table_ND = model.features.tables[0]
    assert torch.equal(model.features(users_B, codes), table_ND[codes["age"]])
    torch.manual_seed(0)
    trained_BF = model.train().features(users_B, codes)
    unknown_B = (trained_BF == table_ND[0]).all(dim=1)
    assert 900 < unknown_B.sum() < 1100
    assert torch.equal(trained_BF[~unknown_B], table_ND[3].expand(int((~unknown_B).sum()), -1))


def test_a_user_without_a_history_is_scored_by_features_and_an_unknown_one_by_the_history() -> None:
    data, _ = two_communities()
    kind = Feature(np.arange(data.n_users) % 2 + 1, 3)
    data = replace(data, user_features={"kind": kind})
    session = FitSession(TrainerConfig(epochs=4, seed=0, device="cpu"))
    model = MIND.build(MINDConfig(dim=16, features=("kind",)), data).fit(data, session)
    by_feature_UI = model.score(query([], [], kind=[1, 2]))
    by_history_UI = model.score(query([0, 2, 4, 6], [1, 3, 5, 7]))
    for score_UI in (by_feature_UI, by_history_UI):
        even_UI, odd_UI = score_UI[:, 0::2].mean(dim=1), score_UI[:, 1::2].mean(dim=1)
        assert (even_UI - odd_UI).sign().tolist() == [1, -1]
    assert model.folds_in
    known = Query(np.array([0]), query([0, 2, 4]).histories)
    assert torch.equal(model.score(known), model.score(query([0, 2, 4])))


@pytest.mark.parametrize(
    "sampling",
    [{"distribution": "uniform"}, {"distribution": "log_uniform"}, {"distribution": "in_batch"},
     {"distribution": "popularity", "exponent": 0.5, "negatives": 8}],
)  # fmt: skip
def test_learns_by_any_sampled_softmax(sampling: dict[str, object]) -> None:
    data, _ = two_communities(40, 20)
    session = FitSession(TrainerConfig(epochs=6, seed=0, device="cpu"), sampling=SamplingConfig(**sampling))
    model = MIND.build(MINDConfig(dim=8), data).fit(data, session)
    score_UI = model.score(query_of(data))
    liked_UI = torch.arange(40)[:, None] % 2 == torch.arange(20) % 2
    assert score_UI[liked_UI].mean() > score_UI[~liked_UI].mean() + 1


def test_goes_on_after_a_kill_to_the_same_bits(tmp_path: Path) -> None:
    data, trainer = random_log(30, 15, 200, seed=0), TrainerConfig(epochs=4, seed=0, device="cpu")
    config = MINDConfig(dim=8, dropout=0.2, features=("user_id",))
    whole = MIND.build(config, data).fit(data, FitSession(trainer)).weights()
    with pytest.raises(Killed):
        MIND.build(config, data).fit(data, FitSession(trainer, callbacks=(KillAfter(2),), checkpoints=tmp_path))
    resumed = MIND.build(config, data).fit(data, FitSession(trainer, checkpoints=tmp_path)).weights()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def several_tastes(n_users: int = 600, n_clusters: int = 40, size: int = 12) -> tuple[TrainingData, Tensor]:
    """Users who each like four clusters of items, and take half of each at random moments; who wants the rest [U, I].

    There are more clusters than numbers in a vector: one vector that is near four of them is near others too."""
    rng = np.random.default_rng(0)
    wanted_UI = torch.zeros(n_users, n_clusters * size, dtype=torch.bool)
    taken = []
    for user in range(n_users):
        items_CN = rng.choice(n_clusters, 4, replace=False)[:, None] * size + rng.permuted(
            np.tile(np.arange(size), (4, 1)), axis=1
        )
        wanted_UI[user, items_CN[:, size // 2 :].ravel()] = True
        taken.append(rng.permutation(items_CN[:, : size // 2].ravel()))
    users_R = np.repeat(np.arange(n_users), 2 * size)
    return TrainingData(n_clusters * size, Ragged.from_pairs(users_R, np.concatenate(taken), n_users)), wanted_UI


@pytest.mark.slow
def test_four_interests_find_four_tastes_where_one_does_not() -> None:
    data, wanted_UI = several_tastes()

    def recall(interests: int) -> np.ndarray:
        # Moments are random, so nothing is recent; and the interests are the capsules themselves.
        config = MINDConfig(dim=16, interests=interests, history_length=24, recency=False, tower=())
        trainer = TrainerConfig(epochs=15, batch_size=128, seed=0, device="cpu")
        model = MIND.build(config, data).fit(data, FitSession(trainer))
        score_UI = model.score(query_of(data))
        score_UI[torch.from_numpy(data.histories.users_R), torch.from_numpy(data.histories.items_R)] = -inf
        top_UN = score_UI.topk(int(wanted_UI[0].sum()), dim=1).indices
        return wanted_UI.gather(1, top_UN).double().mean(dim=1).numpy()

    gain_U = recall(4) - recall(1)
    lowest = gain_U.mean() - 1.96 * gain_U.std() / len(gain_U) ** 0.5
    assert lowest > 0.3
