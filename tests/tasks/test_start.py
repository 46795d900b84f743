"""A night begins with what the champion had learned, unless that has seen a row that judges tonight."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.base import FitSession, Ragged, TrainingData, WarmStart
from models.bundle import Bundle, weights_hash
from models.fitting.config import NO_WISH, TrainerConfig
from models.registry import build, make_config
from tasks.judging import Judges
from tasks.sample.task import sample
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.histories import read_histories
from tasks.store.refs import ChampionRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.logic import Validation, validation_judges
from tasks.train.start import Cold, Warm, find_start, n_leaked, start_tags
from tasks.train.task import train
from tests.factories import make_snapshot, tiny_log

MODEL = make_config("bpr_mf", dim=4)
TRAINER = TrainerConfig(epochs=4, patience=0, device="cpu", warm_start=True)
TEMPORAL = SplitConfig(protocol="temporal", test_share=0.2, valid_share=0.2)
ROWS, USERS, ITEMS = 400, 30, 24


def rows(n: int) -> list[tuple[int, int, int]]:
    """The first so many of a log in which each user has an item once, and new users and items keep coming."""
    rng = np.random.default_rng(0)
    had: set[tuple[int, int]] = set()
    made: list[tuple[int, int, int]] = []
    while len(made) < n:
        known = 1 + len(made) / ROWS
        pair = int(rng.integers(int(USERS * known))), int(rng.integers(int(ITEMS * known)))
        if pair not in had:
            had.add(pair)
            made.append((*pair, len(made)))
    return made


def samples_of(store: Store, n: int, config: SplitConfig = TEMPORAL) -> SampleRefs:
    refs: SampleRefs = sample.fn(store, split.fn(store, make_snapshot(store, tiny_log(*rows(n))), config))
    return refs


def trained(store: Store, samples: SampleRefs, begin: Warm | Cold | None, **trainer: Any) -> TrainedRef:
    config = TRAINER.model_copy(update=trainer)
    ref: TrainedRef = train.fn(store, samples, MODEL, config, NO_WISH, None, begin=begin)
    return ref


def champion(store: Store, ref: TrainedRef, version: str = "1") -> ChampionRef:
    tags = {"dataset": "tiny", "judged_key": ref.key}
    return ChampionRef("encore-tiny", version, "run", ref.weights_sha256, "same", tags)


def found(store: Store, ref: ChampionRef | None, **trainer: Any) -> Warm | Cold | None:
    return find_start(store, MODEL, TRAINER.model_copy(update=trainer), ref, "same", "tiny")


def warm_of(store: Store, ref: TrainedRef) -> Any:
    return store.manifest(ref.path)["warm"]


# which night begins where


def test_only_a_fit_of_the_same_is_begun_with(store: Store) -> None:
    ref = trained(store, samples_of(store, ROWS), None)
    theirs = champion(store, ref)
    assert found(store, theirs) == Warm("1", ref.key, store.manifest(ref.path)["weights_sha256"], 1)
    assert found(store, theirs, warm_start=False) is None
    assert found(store, None) == Cold("there is no champion yet")
    other = replace(theirs, tags={**theirs.tags, "dataset": "other"})
    assert found(store, other) == Cold("the champion is of dataset other")
    assert found(store, replace(theirs, configuration="x")) == Cold("the champion is of another configuration")
    gone = replace(theirs, tags={"dataset": "tiny", "judged_key": "gone"})
    assert found(store, gone) == found(store, replace(theirs, tags={"dataset": "tiny"}))
    assert found(store, gone) == Cold("the files of version 1's training are gone")
    ease = find_start(store, make_config("ease"), TRAINER, theirs, "same", "tiny")
    assert ease == Cold("ease always begins from nothing")


def test_every_so_many_nights_begin_from_nothing(store: Store) -> None:
    """cold_every=3: cold, warm, warm, cold."""
    told, ref, nights = [], None, []
    for night in range(5):
        begin = found(store, champion(store, ref, str(night)) if ref else None, cold_every=3)
        ref = trained(store, samples_of(store, ROWS + 100 * night), begin, cold_every=3)
        told.append(warm_of(store, ref))
        nights.append(start_tags(told[-1])["warm_nights"])
    assert nights == ["0", "1", "2", "0", "1"]
    assert told[0] == {"cold_because": "there is no champion yet"}
    assert told[3] == {"cold_because": "it is time: trainer.cold_every is 3"}
    assert told[2]["from_version"] == "2"
    assert start_tags(told[2]) == {"warm_nights": "2", "warm_from": "2", "warm_key": told[2]["from_key"]}
    assert start_tags(told[3])["cold_because"] == told[3]["cold_because"]
    assert start_tags(None) == {}


def test_without_the_wish_nothing_is_kept_or_told(store: Store) -> None:
    ref = trained(store, samples_of(store, ROWS), None, warm_start=False)
    assert warm_of(store, ref) is None
    assert not store.path(f"checkpoints/{ref.key}/start").exists()


# what it begins with


def test_each_fit_begins_with_its_counterpart(store: Store) -> None:
    """The validation fit with that of the training rows alone, the refit with the refit: told anew, by hand."""
    first, tonight = samples_of(store, ROWS), samples_of(store, ROWS + 100)
    before = trained(store, first, None)
    begin = found(store, champion(store, before))
    ref = trained(store, tonight, begin)
    old, new = (Bundle.load(store.path(one.path)) for one in (before, ref))
    places = {"users": old.users.index(new.users.ids_N), "items": old.items.index(new.items.ids_N)}

    def data(samples: SampleRefs, name: str) -> TrainingData:
        return TrainingData(samples.split.items.rows, read_histories(store.path(getattr(samples, name).path)))

    judged = _fit(data(first, "fitted"), None, _judges(store, first))
    assert weights_hash(old.model.weights()) != weights_hash(judged[0])
    valid = _fit(data(tonight, "fitted"), WarmStart(judged[0], places), _judges(store, tonight))
    record = store.manifest(ref.path)
    assert record["best_epoch"] == valid[1]
    assert record["valid"] == pytest.approx(valid[2])
    known = _fit(data(tonight, "known"), WarmStart(old.model.weights(), places), None, epochs=valid[1])
    assert weights_hash(new.model.weights()) == weights_hash(known[0])
    assert record["warm"] == {
        "from_version": "1",
        "from_key": before.key,
        "nights": 1,
        "new_users": int((places["users"] < 0).sum()),
        "new_items": int((places["items"] < 0).sum()),
    }
    assert record["warm"]["new_users"] > 0


def test_where_there_was_no_refit_both_begin_with_the_one_model(store: Store) -> None:
    ref = trained(store, samples_of(store, ROWS), None, refit=False)
    assert not store.path(f"checkpoints/{ref.key}/start").exists()
    again = trained(store, samples_of(store, ROWS + 100), found(store, champion(store, ref)), refit=False)
    assert warm_of(store, again)["from_version"] == "1"


def test_the_start_is_part_of_the_key(store: Store) -> None:
    ref, tonight = trained(store, samples_of(store, ROWS), None), samples_of(store, ROWS + 100)
    begin = found(store, champion(store, ref))
    assert isinstance(begin, Warm)
    starts = [None, Cold("why"), begin, replace(begin, weights_sha256="other"), replace(begin, nights=2)]
    keys = [trained(store, tonight, one).key for one in starts]
    assert len(set(keys)) == len(keys)
    assert trained(store, tonight, begin).cached


def test_what_is_damaged_or_does_not_fit_is_not_begun_with(store: Store) -> None:
    ref, tonight = trained(store, samples_of(store, ROWS), None), samples_of(store, ROWS + 100)
    begin = found(store, champion(store, ref))
    file = store.path(f"checkpoints/{ref.key}/start/valid.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = trained(store, tonight, begin)
    told = "version 1 cannot be begun with: start/valid.safetensors is not the file that was saved"
    assert warm_of(store, damaged) == {"cold_because": told}
    cold = trained(store, tonight, None)
    assert damaged.weights_sha256 == cold.weights_sha256
    file.write_bytes(whole)
    wider = train.fn(store, tonight, make_config("bpr_mf", dim=5), TRAINER, NO_WISH, None, begin=begin)
    told = "version 1 cannot be begun with: user_UD is 4 there and 5 here"
    assert warm_of(store, wider) == {"cold_because": told}


# what has learned from rows that judge


@pytest.mark.parametrize(
    ("learned", "again", "leaked"),
    [
        ([(0, 0), (1, 1)], [(0, 0)], 1),  # (1, 1) judges
        ([(0, 0), (1, 1)], [(0, 0), (1, 1)], 0),  # a repeat: tonight's fit has an earlier row of the pair, too
        ([(1, 1), (1, 1)], [(1, 1)], 1),  # two rows were learned from, one is fitted again: the other judges
        ([(0, 0)], [], 0),
        ([(2, 2)], [], 0),  # judges, but not of these ids
        ([(1, 1), (0, 2)], [], 2),
    ],
)
def test_leaks_by_hand(learned: list[tuple[int, int]], again: list[tuple[int, int]], leaked: int) -> None:
    """Users and items are where they were. Pairs (1, 1) and (0, 2) judge, and one of an unknown item."""
    assert _leaked(learned, again, [(1, 1), (0, 2), (0, 2), (1, -1)], [0, 1, 2], [0, 1, 2]) == leaked


def test_leaks_against_a_slow_count() -> None:
    rng = np.random.default_rng(5)
    n_found = 0
    for _ in range(50):
        users, items = rng.permutation(5)[:4] - 1, rng.permutation(6)[:5] - 1  # earlier indices, one of them unknown
        learned, judging = ([(int(u), int(i)) for u, i in rng.integers(4, size=(n, 2))] for n in (6, 3))
        again = [(int(u), int(i)) for u, i in zip(rng.integers(4, size=4), rng.integers(5, size=4), strict=True)]
        earlier = Counter((int(users[u]), int(items[i])) for u, i in again)
        expected = sum(Counter(learned)[pair] > earlier[pair] for pair in set(judging))
        assert _leaked(learned, again, judging, users.tolist(), items.tolist()) == expected
        n_found += expected
    assert n_found > 10


@pytest.mark.parametrize(
    ("test_share", "valid_share", "leaked"),
    [
        (0.1, 0.4, "40 of tonight's validation rows"),  # rows 200 to 359, of which up to 239 were training rows
        (0.25, 0.1, "20 of tonight's test rows"),  # rows 300 to 399, of which up to 319 were refitted on
        (0.2, 0.2, None),
    ],
)
def test_a_start_that_knows_what_judges_is_left(
    store: Store, test_share: float, valid_share: float, leaked: str | None
) -> None:
    """The cuts have moved back, as rows that arrive late may move them."""
    ref = trained(store, samples_of(store, ROWS), None)
    moved = TEMPORAL.model_copy(update={"test_share": test_share, "valid_share": valid_share})
    tonight = samples_of(store, ROWS, moved)
    again = trained(store, tonight, found(store, champion(store, ref)))
    told = {"cold_because": f"version 1 has learned from {leaked}"}
    assert (warm_of(store, again) == told) is (leaked is not None)
    assert (again.weights_sha256 == trained(store, tonight, None).weights_sha256) is (leaked is not None)


def test_a_user_who_was_only_fitted_and_now_judges_is_found(store: Store) -> None:
    """leave_last_out holds out nothing of two rows; with a third row the second chooses the epoch."""
    log = [(user, item, item) for user in range(8) for item in range(4 + user % 3)]
    two = [(9, 0, 0), (9, 1, 1)]
    config = SplitConfig(protocol="leave_last_out")
    first, more, tonight = (
        sample.fn(store, split.fn(store, make_snapshot(store, tiny_log(*log, *rest)), config))
        for rest in (two, [*two, (8, 2, 2)], [*two, (9, 2, 2)])
    )
    begin = found(store, champion(store, trained(store, first, None)))
    assert warm_of(store, trained(store, more, begin))["from_version"] == "1"
    told = "version 1 has learned from 1 of tonight's validation rows"
    assert warm_of(store, trained(store, tonight, begin)) == {"cold_because": told}


def _leaked(learned: Any, again: Any, judging: Any, users: list[int], items: list[int]) -> int:
    pairs = [np.array(one, dtype=np.int64).reshape(-1, 2) for one in (learned, again, judging)]
    lists = [Ragged.from_pairs(one[:, 0], one[:, 1], 6) for one in pairs[:2]]
    places = {"users": np.array([*users, -1, -1, -1]), "items": np.array(items)}
    return n_leaked(lists[0], lists[1], places, (pairs[2][:, 0], pairs[2][:, 1]))


def _judges(store: Store, samples: SampleRefs) -> Judges:
    fitted = read_histories(store.path(samples.fitted.path))
    judges = validation_judges(store.read(samples.split.valid), fitted, False)
    assert judges is not None
    return judges


def _fit(data: TrainingData, start: WarmStart | None, judges: Judges | None, epochs: int = 4) -> tuple[Any, int, Any]:
    """Weights, best epoch and its metrics."""
    trainer = TRAINER.model_copy(update={"epochs": epochs})
    session = FitSession(trainer, Validation(judges, data, None) if judges else None, start=start)
    model = build("bpr_mf", MODEL, data).fit(data, session)
    metrics = {epoch.number: epoch.metrics for epoch in session.history}
    return model.weights(), session.best_epoch, metrics[session.best_epoch]
