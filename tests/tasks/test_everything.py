"""The split of which nothing is held out: what it holds, what stays out, and that its audit finds what is amiss."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.bundle import Bundle
from models.fitting.config import TrainerConfig
from models.registry import make_config
from tasks.errors import DataRefused
from tasks.sample.task import sample
from tasks.split.audit.check import violations
from tasks.split.audit.claim import Claim
from tasks.split.config import Positives, SplitConfig
from tasks.split.task import keep_everything, split
from tasks.store.histories import read_histories
from tasks.store.refs import SampleRefs, SplitRefs
from tasks.store.store import Store
from tasks.train.task import train
from tests.factories import make_snapshot, tiny_log

LOG = tiny_log(
    (1, "a", 1, 5), (1, "b", 2, 5), (2, "a", 3, 5), (2, "c", 4, 1), (1, "c", 5, 5), (2, "b", 6, 5), (3, "d", 7, 5),
    (1, "d", 8, 5),
)  # fmt: skip
TEMPORAL = SplitConfig(protocol="temporal", test_share=0.3, valid_share=0.2)
LIKED = Positives(min_rating=3)


def everything(store: Store, config: SplitConfig = TEMPORAL, log: pa.Table = LOG, **options: Any) -> SplitRefs:
    refs: SplitRefs = keep_everything.fn(store, make_snapshot(store, log), config, **options)
    return refs


def shown(store: Store, samples: SampleRefs, name: str) -> dict[str, list[str]]:
    """Each user's items in a file of histories, all as text."""
    users, items = (store.read(getattr(samples.split, f"{n}s"))[f"{n}_id"].to_pylist() for n in ("user", "item"))
    lists = read_histories(store.path(getattr(samples, name).path))
    ends = zip(lists.offsets_U1[:-1], lists.offsets_U1[1:], strict=True)
    return {
        str(user): [items[item] for item in lists.items_R[start:end]]
        for user, (start, end) in zip(users, ends, strict=True)
    }


def test_every_row_trains_and_every_id_is_known(store: Store) -> None:
    parts = everything(store)
    assert (parts.protocol, parts.train.rows, parts.valid.rows, parts.test.rows) == ("everything", 8, 0, 0)
    assert store.read(parts.users)["user_id"].to_pylist() == [1, 2, 3]
    assert store.read(parts.items)["item_id"].to_pylist() == ["a", "b", "c", "d"]
    judged = split.fn(store, make_snapshot(store, LOG), TEMPORAL)
    assert judged.test.rows == 2
    assert store.read(judged.users)["user_id"].to_pylist() == [1, 2]  # user 3 comes in the test alone
    assert judged.key != parts.key


def test_histories_hold_all_and_lists_leave_out_what_was_rated_low_too(store: Store) -> None:
    samples = sample.fn(store, everything(store, positives=LIKED))
    liked = {"1": ["a", "b", "c", "d"], "2": ["a", "b"], "3": ["d"]}
    assert shown(store, samples, "known") == shown(store, samples, "served") == liked
    assert shown(store, samples, "seen_served") == {**liked, "2": ["a", "b", "c"]}


def test_the_bundle_was_fitted_on_the_test_rows_and_knows_no_stranger(store: Store) -> None:
    samples = sample.fn(store, everything(store))
    trained = train.fn(store, samples, make_config("bpr_mf", dim=2), TrainerConfig(epochs=2, device="cpu"))
    bundle = Bundle.load(store.path(trained.path))
    pairs = np.array([3, 1, 3]), np.array(["d", "d", "a"])
    assert bundle.was_fitted_on(*pairs).tolist() == [True, True, False]
    assert len(bundle.strangers) == 0
    assert bundle.served.items_R.tolist() == bundle.fitted.items_R.tolist()
    assert store.manifest(trained.path)["best_epoch"] == 2


@pytest.mark.parametrize("source", ["test", "candidates"])
def test_rows_of_files_that_only_judge_stay_out(store: Store, tmp_path: Path, source: str) -> None:
    file = tmp_path / "judging.csv"
    file.write_text("user_id,item_id,relevant\n1,d,1\n2,zz,1\n", encoding="utf-8")
    if source == "test":
        file.write_text("user_id,item_id\n1,d\n2,zz\n", encoding="utf-8")
        parts = everything(store, SplitConfig(protocol="given", test=str(file)))
    else:
        parts = everything(store, SplitConfig(protocol="given"), candidates=str(file))
    assert (parts.protocol, parts.train.rows, parts.test.rows) == ("everything", 7, 0)
    samples = sample.fn(store, parts)
    assert shown(store, samples, "known")["1"] == shown(store, samples, "seen_served")["1"] == ["a", "b", "c"]


def test_given_validation_rows_train_too(store: Store, tmp_path: Path) -> None:
    test, valid = tmp_path / "test.csv", tmp_path / "valid.csv"
    test.write_text("user_id,item_id\n1,zz\n", encoding="utf-8")
    valid.write_text("user_id,item_id\n1,c\n", encoding="utf-8")
    parts = everything(store, SplitConfig(protocol="given", test=str(test), valid=str(valid)))
    assert (parts.train.rows, parts.valid.rows) == (8, 0)


def test_too_little_activity_is_left_out_as_ever(store: Store) -> None:
    parts = everything(store, TEMPORAL.model_copy(update={"min_user_rows": 2}))
    assert parts.train.rows == 7
    assert store.read(parts.users)["user_id"].to_pylist() == [1, 2]
    with pytest.raises(DataRefused, match="min_user_rows leaves no row"):
        everything(store, TEMPORAL.model_copy(update={"min_user_rows": 9}))


def test_the_audit_finds_rows_that_are_held_out(store: Store) -> None:
    """The tables of the split that judges, said to be those of everything."""
    snapshot = make_snapshot(store, LOG)
    parts = split.fn(store, snapshot, TEMPORAL)
    tables = {name: getattr(parts, name) for name in ("train", "valid", "test", "rated", "users", "items")}
    claim = Claim("everything", snapshot, TEMPORAL, Positives(), {}, 0)
    found = violations(store, tables, claim)
    assert found["rows_held_out"] == parts.valid.rows + parts.test.rows > 0
