"""YouTubeDNN by hand: the mean of the latest items, the tower over it and the features, and what it is compared with.

B rows, L history length, D vector length, I items
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.base import Feature, FitSession, NoSuchFeature, Query, Ragged, TrainingData
from models.fitting.config import SamplingConfig, TrainerConfig
from models.fitting.window_pairs import WindowBatch
from models.nn.features import Tower
from models.youtube_dnn import YouTubeDNN, YouTubeDNNConfig
from tests.factories import KillAfter, Killed, batch_of, query_of, random_log, two_communities

NO_USERS = TrainingData(20, Ragged.empty(0))
NOTHING_BF = torch.zeros(1, 0)
PAPER: dict[str, object] = {"recency": False, "tied": False, "residual": False, "tower": (12, 6)}


def made(data: TrainingData = NO_USERS, **fields: object) -> YouTubeDNN:
    model = YouTubeDNN.build(YouTubeDNNConfig(**{"dim": 6, "init_std": 1.0, **fields}), data)
    model.initialise(0)
    return model.eval()


def query(*histories: list[int], user: int = -1, **features: list[int]) -> Query:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    items = np.concatenate([np.array(history, dtype=np.int64) for history in histories])
    codes = {name: np.array(code) for name, code in features.items()}
    return Query(np.full(len(histories), user), Ragged.from_pairs(users, items, len(histories)), codes)


def test_forward_pass_is_that_of_the_paper() -> None:
    """[features, plain mean] -> 12 relu -> 6, against vectors of the items' own."""
    data = TrainingData(20, Ragged.empty(2), user_features={"age": Feature(np.array([1, 2]), 3)})
    model = made(data, **{"features": ("age",)} | PAPER)
    assert isinstance(model.tower, Tower)
    first, second = model.tower.layers
    mean_D = (model.item_RD[1] + model.item_RD[2] + model.item_RD[2]) / 3
    user_D = second(first(torch.cat([model.features.tables[0][2], mean_D])).relu())
    assert model.output_ID is not None
    score_UI = model.score(query([1, 2, 2], age=[2]))
    torch.testing.assert_close(score_UI[0], (model.output_ID @ user_D).detach())
    # 21 · 6 items in, 20 · 6 out, 3 · 6 of the feature, 12 · 12 + 12 and 12 · 6 + 6
    assert model.n_parameters == 126 + 120 + 18 + 156 + 78


def test_recency_weighs_by_the_distance_from_the_newest() -> None:
    model = made(history_length=4)
    bare = made(history_length=4, recency=False)
    assert model.log_weight_L is not None
    with torch.no_grad():
        model.log_weight_L.copy_(torch.tensor([5.0, 9.0, 0.0, 3.0]).log())
    # Weights 0 and 3 of the newest two: 1/4 and 3/4, as if the newest stood there three times.
    with torch.no_grad():
        model.log_weight_L[2] = 0.0
    expected = bare.vectors(torch.tensor([[1, 2, 2, 2]]), NOTHING_BF)
    torch.testing.assert_close(model.vectors(torch.tensor([[20, 20, 1, 2]]), NOTHING_BF), expected)
    torch.testing.assert_close(model.vectors(torch.tensor([[1, 2]]), NOTHING_BF), expected)


def test_residual_adds_the_mean() -> None:
    history_BL = torch.tensor([[3, 5]])
    mean_D = (made().item_RD[3] + made().item_RD[5]) / 2
    with_BD, without_BD = (
        made(recency=False, residual=residual).vectors(history_BL, NOTHING_BF) for residual in (True, False)
    )
    # The tower starts at a tenth where it is added.
    torch.testing.assert_close(with_BD[0], mean_D + 0.1 * without_BD[0])


def test_a_history_of_nothing_is_a_mean_of_zero_with_finite_gradients() -> None:
    model = made(NO_USERS, loss="softmax")
    batch = WindowBatch(batch_of([0], [4], []), torch.tensor([[20, 20]]), {})
    model.loss(batch).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    layer = model.tower.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6.0))
    assert torch.equal(model.vectors(torch.tensor([[20]]), NOTHING_BF)[0], torch.arange(6.0))


@pytest.mark.parametrize("tied", [True, False])
def test_loss_is_a_softmax_over_all_items(tied: bool) -> None:
    model = made(loss="softmax", tied=tied)
    history_BL = torch.tensor([[1, 2, 3], [20, 5, 6]])
    item_ID = model.item_RD[:20] if tied else model.output_ID
    assert item_ID is not None
    logit_BI = model.vectors(history_BL, torch.zeros(2, 0)) @ item_ID.T
    expected = torch.nn.functional.cross_entropy(logit_BI, torch.tensor([4, 9]))
    torch.testing.assert_close(model.loss(WindowBatch(batch_of([0, 0], [4, 9], []), history_BL, {})), expected)


def test_padding_gets_no_gradient_and_stays_zero() -> None:
    data = random_log(20, 15, 120, seed=0)
    for tied in (True, False):
        session = FitSession(TrainerConfig(epochs=2, batch_size=40, seed=0, device="cpu"))
        model = YouTubeDNN.build(YouTubeDNNConfig(dim=8, tied=tied), data).fit(data, session)
        assert not model.item_RD[15].any()
        assert len(model.compared_ID) == 15
        assert model.score(query_of(data)).shape == (20, 15)


def test_neighbours_in_the_batch_do_not_matter_and_only_the_latest_items_are_shown() -> None:
    model = made(history_length=5, dropout=0.5)
    together_UI = model.score(query([4, 5], list(range(18)), []))
    for row, history in enumerate(([4, 5], [13, 14, 15, 16, 17], [])):
        torch.testing.assert_close(together_UI[row : row + 1], model.score(query(history)))


@pytest.mark.parametrize(("n_rows", "batch_size"), [(10**6, 1024), (6400, 100), (63, 1)])
def test_few_rows_go_into_small_batches(n_rows: int, batch_size: int) -> None:
    assert YouTubeDNNConfig().with_batches(TrainerConfig(), n_rows).batch_size == batch_size
    assert YouTubeDNNConfig().with_batches(TrainerConfig(batch_size=7), n_rows).batch_size == 7


def test_features_are_named_and_what_is_left_out_is_unknown() -> None:
    data = TrainingData(20, Ragged.empty(2), user_features={"age": Feature(np.array([1, 2]), 3)})
    with pytest.raises(NoSuchFeature, match="there is no hat; the data has user_id, age"):
        YouTubeDNN.build(YouTubeDNNConfig(features=("hat",)), data)
    model = made(data, features=("user_id", "age"))
    assert model.features_used == ("age",)
    assert torch.equal(model.score(query([1])), model.score(query([1], age=[0])))
    assert not torch.equal(model.score(query([1])), model.score(query([1], age=[1])))


@pytest.mark.parametrize("tower", [(), (8, 4)])
def test_a_tower_that_does_not_fit_is_refused(tower: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="tower must end with 8"):
        YouTubeDNNConfig(dim=8, tower=tower)


def test_a_user_without_a_history_is_scored_by_features_and_an_unknown_one_by_the_history() -> None:
    data, _ = two_communities()
    data = replace(data, user_features={"kind": Feature(np.arange(data.n_users) % 2 + 1, 3)})
    session = FitSession(TrainerConfig(epochs=4, seed=0, device="cpu"))
    model = YouTubeDNN.build(YouTubeDNNConfig(dim=16, features=("kind",)), data).fit(data, session)
    for asked in (query([], [], kind=[1, 2]), query([0, 2, 4, 6], [1, 3, 5, 7])):
        score_UI = model.score(asked)
        assert (score_UI[:, 0::2].mean(dim=1) - score_UI[:, 1::2].mean(dim=1)).sign().tolist() == [1, -1]
    assert model.folds_in


@pytest.mark.parametrize("fields", [{}, PAPER])
@pytest.mark.parametrize("distribution", ["uniform", "log_uniform", "popularity", "in_batch"])
def test_learns_by_any_sampled_softmax(distribution: str, fields: dict[str, object]) -> None:
    data, _ = two_communities(40, 20)
    sampling = SamplingConfig.model_validate({"distribution": distribution})
    session = FitSession(TrainerConfig(epochs=6, seed=0, device="cpu"), sampling=sampling)
    config = YouTubeDNNConfig.model_validate({"dim": 6, **fields})
    score_UI = YouTubeDNN.build(config, data).fit(data, session).score(query_of(data))
    liked_UI = torch.arange(40)[:, None] % 2 == torch.arange(20) % 2
    assert score_UI[liked_UI].mean() > score_UI[~liked_UI].mean() + 1


def test_goes_on_after_a_kill_to_the_same_bits(tmp_path: Path) -> None:
    data, trainer = random_log(30, 15, 200, seed=0), TrainerConfig(epochs=4, seed=0, device="cpu")
    config = YouTubeDNNConfig(dim=8, dropout=0.2, features=("user_id",))
    whole = YouTubeDNN.build(config, data).fit(data, FitSession(trainer)).weights()
    with pytest.raises(Killed):
        YouTubeDNN.build(config, data).fit(data, FitSession(trainer, callbacks=(KillAfter(2),), checkpoints=tmp_path))
    resumed = YouTubeDNN.build(config, data).fit(data, FitSession(trainer, checkpoints=tmp_path)).weights()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
