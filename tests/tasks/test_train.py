"""The validation rows choose the epoch; the refit repeats it on all rows; a kill changes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.base import (
    Callback,
    Epoch,
    FitSession,
    NoSuchFeature,
    NothingToLearn,
    Query,
    Ragged,
    Recommender,
    TrainingData,
)
from models.bpr_mf.model import BPRMF
from models.bundle import Bundle, weights_hash
from models.fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from models.registry import make_config, model_class
from models.serving import popularity
from tasks.errors import ConfigError, RunFailed
from tasks.judging import Judges
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives, SplitConfig
from tasks.split.task import split
from tasks.store.histories import read_histories
from tasks.store.refs import SampleRefs
from tasks.store.store import Store
from tasks.train.logic import Fitted, Validation, fit, validation_judges
from tasks.train.task import explained, train
from tests.factories import FixedScores, make_snapshot, tiny_log, two_communities

CONFIG = make_config("bpr_mf", dim=4)
TRAINER = TrainerConfig(epochs=5, patience=0, device="cpu", batch_size=64)
ITEMS = 20


def communities() -> tuple[TrainingData, TrainingData, pa.Table]:
    """Rows to fit, the same and the hidden likes, and the hidden likes as validation rows."""
    data, hidden = two_communities(40, ITEMS)
    users_R = np.concatenate([data.histories.users_R, hidden.users_R])
    items_R = np.concatenate([data.histories.items_R, hidden.items_R])
    known = TrainingData(ITEMS, Ragged.from_pairs(users_R, items_R, 40))
    return data, known, pa.table({"user_idx": hidden.users_R, "item_idx": hidden.items_R})


FITTED, KNOWN, VALID = communities()
JUDGES = validation_judges(VALID, FITTED.histories, False)


class Watch(Callback):
    """Remembers each phase's epochs, and dies where it is told to."""

    def __init__(self, die: tuple[str, int] | None = None) -> None:
        self.epochs: dict[str, list[int]] = {}
        self.planned: dict[str, int] = {}
        self.die = die

    def __call__(self, phase: str) -> Sequence[Callback]:
        watch = self

        class Phase(Callback):
            def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
                watch.planned[phase] = epochs

            def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
                watch.epochs.setdefault(phase, []).append(epoch.number)
                if watch.die == (phase, epoch.number):
                    raise KeyboardInterrupt

        return [Phase()]


def fitted(watch: Watch | None = None, judges: Judges | None = JUDGES, **trainer: object) -> Fitted:
    config = TRAINER.model_copy(update=trainer)
    return fit(CONFIG, config, NO_WISH, FITTED, KNOWN, judges, callbacks=watch or Watch())


def test_the_refit_runs_the_best_epochs_number_on_all_known_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([0.1, 0.4, 0.2, 0.4, 0.3])
    monkeypatch.setattr(Validation, "__call__", lambda self, model: {"ndcg_at_10": next(scripted)})
    watch = Watch()
    made = fitted(watch)
    assert watch.epochs == {"train": [1, 2, 3, 4, 5], "refit": [1, 2]}
    assert (made.best_epoch, made.refitted, len(made.history)) == (2, True, 5)
    assert made.valid == {"ndcg_at_10": 0.4}
    assert made.data is KNOWN
    alone = fit(CONFIG, TRAINER.model_copy(update={"epochs": 2}), NO_WISH, KNOWN, KNOWN, None).model.weights()
    assert weights_hash(made.model.weights()) == weights_hash(alone)


def test_without_refit_the_model_of_the_best_epoch_stays() -> None:
    watch = Watch()
    made = fitted(watch, refit=False)
    assert watch.epochs.keys() == {"train"}
    assert made.data is FITTED
    assert not made.refitted
    assert JUDGES is not None
    assert made.valid == Validation(JUDGES, FITTED, None)(made.model)
    assert made.valid["ndcg_at_10"] == max(epoch.metrics["ndcg_at_10"] for epoch in made.history)


def test_without_validation_rows_every_epoch_runs_once_on_all_rows() -> None:
    assert validation_judges(VALID.slice(0, 0), FITTED.histories, False) is None
    watch = Watch()
    made = fitted(watch, judges=None)
    assert watch.epochs == {"train": [1, 2, 3, 4, 5]}
    assert (made.data, made.best_epoch, made.refitted, dict(made.valid)) == (KNOWN, 5, False, {})


@pytest.mark.parametrize(("refit", "rows"), [(True, KNOWN), (False, FITTED)])
def test_a_closed_form_model_is_fitted_on_the_right_rows_and_validated(refit: bool, rows: TrainingData) -> None:
    made = fit(make_config("popularity"), TrainerConfig(refit=refit), NO_WISH, FITTED, KNOWN, JUDGES)
    assert made.model.weights()["count_I"].tolist() == popularity(rows.histories, ITEMS).astype(int).tolist()
    assert made.best_epoch == 0
    assert made.valid["hit_at_20"] == 1  # 20 items in all, so everyone's hidden one is among them
    assert made.samples_per_second == 0


def test_validation_masks_the_fitted_rows_and_cuts_the_history() -> None:
    # user 0 had items 0 1 2 and is asked for 3; the model ranks 0 first, then 1, 2, 3
    histories = Ragged(np.array([0, 3]), np.array([2, 0, 1], dtype=np.int32))
    judges = validation_judges(pa.table({"user_idx": [0], "item_idx": [3]}), histories, False)
    assert judges is not None
    validate = Validation(judges, TrainingData(4, histories), 2)
    assert validate(FixedScores(np.array([[4, 3, 2, 1]])))["ndcg_at_10"] == 1
    assert validate.query.histories.row(0).tolist() == [0, 1]
    repeats = validation_judges(pa.table({"user_idx": [0], "item_idx": [3]}), histories, True)
    assert repeats is not None
    shown = Validation(repeats, TrainingData(4, histories), None)(FixedScores(np.array([[4, 3, 2, 1]])))
    assert shown["mrr_at_10"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(("judges", "refit", "fits"), [(None, True, 1), (JUDGES, False, 1), (JUDGES, True, 2)])
def test_every_fit_is_told_what_rows_are_compared_with(
    judges: Judges | None, refit: bool, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SamplingConfig] = []
    real = BPRMF.fit

    def told(model: BPRMF, data: TrainingData, session: FitSession) -> BPRMF:
        asked.append(session.sampling)
        return real(model, data, session)

    monkeypatch.setattr(BPRMF, "fit", told)
    wish = SamplingConfig(negatives=2, distribution="popularity")
    fit(CONFIG, TRAINER.model_copy(update={"epochs": 1, "refit": refit}), wish, FITTED, KNOWN, judges)
    assert asked == [wish] * fits


def test_the_epoch_is_chosen_with_histories_as_long_as_those_that_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    longest: list[int] = []

    def longest_shown(validate: Validation, model: Recommender) -> dict[str, float]:
        longest.append(int(validate.query.histories.lengths_U.max()))
        return {"ndcg_at_10": 0.5}

    monkeypatch.setattr(Validation, "__call__", longest_shown)
    fit(CONFIG, TRAINER, NO_WISH, FITTED, KNOWN, JUDGES, history_length=2)
    assert longest == [2] * 5


def test_the_refit_has_what_the_validation_rows_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    better = count()  # whatever is tried next
    monkeypatch.setattr(Validation, "__call__", lambda self, model: {"ndcg_at_10": float(next(better))})
    made = fit(make_config("item_knn"), TrainerConfig(), NO_WISH, FITTED, KNOWN, JUDGES)
    unchosen = fit(make_config("item_knn"), TrainerConfig(), NO_WISH, FITTED, KNOWN, None)
    assert made.refitted
    assert made.model.config != unchosen.model.config


# the step


def night(store: Store, users: pa.Table | None = None) -> SampleRefs:
    rows = [(user, 2 * ((user + n) % 10) + user % 2, n) for user in range(40) for n in range(8)]
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows), users=users), SplitConfig(protocol="leave_last_out"))
    return sample.fn(store, parts)


def ran(store: Store, samples: SampleRefs, watch: Callable[[str], Sequence[Callback]] | None = None) -> Bundle:
    ref = train.fn(store, samples, CONFIG, TRAINER, NO_WISH, 5, watch or Watch())
    assert not (store.path(ref.path).parent / "epochs").exists()
    bundle = Bundle.load(store.path(ref.path))
    assert ref.weights_sha256 == weights_hash(bundle.model.weights())
    return bundle


def test_the_bundle_holds_what_was_fitted_and_what_is_served(store: Store) -> None:
    samples = night(store)
    bundle = ran(store, samples)
    known, served = (read_histories(store.path(ref.path)) for ref in (samples.known, samples.served))
    assert bundle.fitted.items_R.tolist() == known.items_R.tolist()
    assert bundle.served.items_R.tolist() == served.items_R.tolist()
    assert (known.lengths_U == 7).all()
    assert (served.lengths_U == 8).all()
    assert bundle.users.ids_N.tolist() == list(range(40))
    assert bundle.items.ids_N.tolist() == list(range(20))
    assert bundle.history_length == 5


def test_rows_are_fitted_with_the_weights_of_their_events(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation's fit and the refit, each with those of its own rows."""
    fits: list[TrainingData] = []
    real = BPRMF.fit

    def told(model: BPRMF, data: TrainingData, session: FitSession) -> BPRMF:
        fits.append(data)
        return real(model, data, session)

    monkeypatch.setattr(BPRMF, "fit", told)
    kinds = ("view", "cart", "buy")
    rows = [(user, (user + n) % 20, n, None, kinds[(user * n) % 3]) for user in range(40) for n in range(8)]
    positives = Positives(events={"view": 0.25, "cart": 1, "buy": 5})
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows)), SplitConfig(protocol="leave_last_out"), positives)
    ran(store, sample.fn(store, parts))
    assert [data.n_rows for data in fits] == [40 * 6, 40 * 7]
    for data in fits:
        users_R, items_R = data.histories.users_R, data.histories.items_R
        weight_K = np.array([positives.events[kind] for kind in kinds])
        assert data.weights_R is not None
        assert data.weights_R.tolist() == weight_K[users_R * ((items_R - users_R) % 20) % 3].tolist()


def test_the_bundle_masks_what_was_rated_low_before_and_after_the_test(store: Store) -> None:
    rows = [(user, (user + n) % 20, n, 1 if n in (2, 8) else 5) for user in range(40) for n in range(9)]
    config = SplitConfig(protocol="leave_last_out")
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows)), config, Positives(min_rating=3))
    bundle = ran(store, sample.fn(store, parts))
    assert bundle.masked is not None
    assert bundle.masked.row(0).tolist() == list(range(9))
    assert bundle.served.row(0).tolist() == [0, 1, 3, 4, 5, 6, 7]


def test_who_is_only_in_a_given_test_is_no_stranger_with_a_history(store: Store, tmp_path: Path) -> None:
    """Else what judges would be what the bundle serves by."""
    (tmp_path / "test.csv").write_text("user_id,item_id\n77,3\n0,19\n")
    rows = [(user, (user + n) % 20, n) for user in range(40) for n in range(8)]
    config = SplitConfig(protocol="given", test=str(tmp_path / "test.csv"))
    bundle = ran(store, sample.fn(store, split.fn(store, make_snapshot(store, tiny_log(*rows)), config)))
    assert len(bundle.strangers) == 0
    assert 19 not in bundle.served.row(0)


def test_the_record_tells_what_happened(store: Store) -> None:
    ref = train.fn(store, night(store), CONFIG, TRAINER, NO_WISH, None, Watch())
    record = store.manifest(ref.path)
    assert [epoch["number"] for epoch in record["history"]] == [1, 2, 3, 4, 5]
    best = record["history"][record["best_epoch"] - 1]["metrics"]
    assert record["valid"] == best
    assert best["ndcg_at_10"] == max(epoch["metrics"]["ndcg_at_10"] for epoch in record["history"])
    assert record["refitted"]
    assert record["n_parameters"] == 40 * 4 + 20 * 4 + 20  # vectors of users and items, and biases


@pytest.mark.parametrize("die", [("train", 1), ("train", 4), ("refit", 1)])
def test_a_killed_training_goes_on_to_equal_weights(die: tuple[str, int], store: Store) -> None:
    expected = ran(Store(store.root / "uninterrupted"), night(Store(store.root / "uninterrupted"))).model.weights()
    samples, again = night(store), Watch()
    with pytest.raises(KeyboardInterrupt):
        ran(store, samples, Watch(die))
    assert list(store.root.glob("checkpoints/*/bundle")) == []
    weights = ran(store, samples, again).model.weights()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    before = range(1, die[1] + 1) if die[0] == "train" else range(1, 6)
    assert again.epochs.get("train", []) == [n for n in range(1, 6) if n not in before]  # none was run twice


def test_what_was_trained_is_found_and_other_settings_are_trained_anew(store: Store) -> None:
    samples = night(store)
    first = train.fn(store, samples, CONFIG, TRAINER, NO_WISH, None, Watch())
    watch = Watch()
    second = train.fn(store, samples, CONFIG, TRAINER, NO_WISH, None, watch)
    assert (first.cached, second.cached, watch.epochs) == (False, True, {})
    assert first == second
    others = [
        train.fn(store, samples, make_config("popularity"), TRAINER),
        train.fn(store, samples, CONFIG, TRAINER.model_copy(update={"seed": 1}), NO_WISH, None, Watch()),
        train.fn(store, samples, CONFIG, TRAINER, NO_WISH, 3, Watch()),
        train.fn(store, samples, CONFIG, TRAINER, SamplingConfig(negatives=2)),
        train.fn(store, replace(samples, split=replace(samples.split, key="0")), CONFIG, TRAINER),
    ]
    for name in ("fitted", "known", "served", "seen_served"):
        changed = replace(getattr(samples, name), fingerprint="0")
        others.append(train.fn(store, replace(samples, **{name: changed}), CONFIG, TRAINER))
    assert len({first.key, *(other.key for other in others)}) == 1 + len(others)
    assert others[3].weights_sha256 != first.weights_sha256


USERS = pa.table({"user_id": [str(user) for user in range(39)], "town": ["Bonn", "Rome", None] * 13})


def test_models_are_told_the_users_features_and_ship_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TrainingData] = []
    asked: list[int] = []
    real, score = BPRMF.fit, BPRMF.score

    def spy(model: BPRMF, data: TrainingData, session: FitSession) -> BPRMF:
        told.append(data)
        return real(model, data, session)

    def scored(model: BPRMF, query: Query) -> torch.Tensor:
        asked.extend(query.features["town"].tolist())
        return score(model, query)

    monkeypatch.setattr(BPRMF, "fit", spy)
    monkeypatch.setattr(BPRMF, "score", scored)
    bundle = ran(store, night(store, USERS))
    expected = [1, 2, 0] * 13 + [0]
    assert [data.user_features["town"].codes_N.tolist() for data in told] == [expected] * 2
    assert {data.user_features["town"].size for data in told} == {3}
    order = sorted(range(40), key=str)  # validation rows are grouped by index as text
    assert asked[:40] == [expected[user] for user in order]
    assert bundle.features.codes["town"].tolist() == expected
    assert bundle.features.values["town"].ids_N.tolist() == ["Bonn", "Rome"]


def test_a_feature_that_is_not_there_is_a_mistake_in_the_options(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(model: BPRMF, data: TrainingData, session: FitSession) -> BPRMF:
        raise NoSuchFeature(f"model.features: no agee; the data has {', '.join(data.user_features)}")

    monkeypatch.setattr(BPRMF, "fit", refused)
    with pytest.raises(ConfigError, match="no agee; the data has town") as failed:
        train.fn(store, night(store, USERS), CONFIG, TRAINER)
    assert failed.value.exit_status == 2


def test_stored_windows_train_to_the_weights_of_those_that_are_made(store: Store) -> None:
    samples, config = night(store, USERS), make_config("caser", dim=4)
    trainer = config.complete(TRAINER.model_copy(update={"epochs": 2}))
    sampling = config.complete_sampling(NO_WISH)
    stored = sample_windows.fn(store, samples, config, sampling, 0)
    made = [train.fn(store, one, config, trainer, sampling, config.shown) for one in (samples, stored)]
    assert made[0].key != made[1].key
    assert made[0].weights_sha256 == made[1].weights_sha256


def test_windows_are_read_by_the_models_that_want_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, config = night(store, USERS), make_config("caser", dim=4, loss="bpr")
    sampling = config.complete_sampling(SamplingConfig(stored=True, negatives=2))
    trainer = config.complete(TRAINER.model_copy(update={"epochs": 1}))
    stored = sample_windows.fn(store, samples, config, sampling, 0)
    told: list[TrainingData] = []
    cls = model_class("caser")
    real = cls.fit

    def spy(model: Recommender, data: TrainingData, session: FitSession) -> Recommender:
        told.append(data)
        return real(model, data, session)

    monkeypatch.setattr(cls, "fit", spy)
    train.fn(store, stored, config, trainer, sampling, config.shown)
    assert [len(data.windows or ()) for data in told] == [40 * 6, 40 * 7] == [data.n_rows for data in told]
    for data in told:
        assert data.windows is not None
        assert data.windows.targets_W.tolist() == data.histories.items_R.tolist()
        assert data.windows.negatives_WN is not None
        assert data.windows.negatives_WN.shape == (data.n_rows, 2)
        assert data.windows.features.keys() == {"town"}
    # a model that reads none is the same with them as without
    assert train.fn(store, stored, CONFIG, TRAINER) == train.fn(store, samples, CONFIG, TRAINER)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: 64 bytes\nmore"), "mind does not fit: "),
        (MemoryError(), "mind does not fit: there is not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "mind does not fit: CUDA out of memory"),
        (NothingToLearn("mind finds no row"), "mind finds no row"),
    ],
)
def test_what_cannot_be_fitted_is_no_fault_of_encore(error: Exception, said: str) -> None:
    with pytest.raises(RunFailed) as failed, explained(make_config("mind")):
        raise error
    assert failed.value.message.startswith(said)
    assert "\n" not in failed.value.message
    assert failed.value.hint


def test_a_fault_of_encore_stays_one() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(make_config("mind")):
        raise RuntimeError("shapes do not match")
