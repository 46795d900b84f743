"""What goes out after it was judged: the same fit on every row, and the night after it, which its test rows must not
judge."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from flows.config import PipelineConfig
from flows.refit import Outgoing, going_out, refit, refits_all
from models.base import FitSession, TrainingData
from models.bundle import Bundle
from models.fitting.config import TrainerConfig
from models.registry import build, make_config
from tasks.promote.candidacy import Check
from tasks.promote.config import GateConfig
from tasks.promote.decide import APPROVED, Decision
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.task import split
from tasks.store.histories import read_histories
from tasks.store.refs import SampleRefs, SnapshotRef, SplitRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.start import Cold, Warm
from tasks.train.task import train
from tests.factories import make_snapshot, tiny_log
from tests.flows.shop import DAYS, FEW, ROWS, SMALL, START, Shop, day, plain_steps

# one refit, by its steps


@dataclass(frozen=True)
class Judged:
    """A model as a night has judged it."""

    store: Store
    config: PipelineConfig
    snapshot: SnapshotRef
    samples: SampleRefs
    trained: TrainedRef

    @property
    def record(self) -> dict[str, Any]:
        return self.store.manifest(self.trained.path)

    def refitted(self) -> tuple[Outgoing, Bundle]:
        out = refit(call, self.store, self.config, self.snapshot, self.trained)
        return out, Bundle.load(self.store.path(out.trained.path))


def call(name: str, work: Any, *args: Any) -> Any:
    """A step without what Prefect adds, and without a clock."""
    return work.fn(*args)


def judged(store: Store, model: dict[str, Any], **sections: Any) -> Judged:
    rows = pd.concat([day(number) for number in range(6)])
    seconds = (rows["timestamp"] - START).dt.total_seconds().astype(int)
    snapshot = make_snapshot(store, tiny_log(*zip(rows["user_id"], rows["item_id"], seconds, strict=True)))
    given = {"ingest": {"source": "files", "interactions": ("log.csv",), "name": "tiny"}, "model": model}
    config = PipelineConfig.model_validate({**given, "split": {"protocol": "temporal"}, **sections}).resolved()
    parts = call("split", split, store, snapshot, config.split)
    samples = call("sample", sample, store, parts)
    whole = call("sample", sample_windows, store, samples, config.model, config.sample.sampling, config.trainer.seed)
    asked = (config.model, config.trainer, config.sample.sampling, config.sample.history_length)
    return Judged(store, config, snapshot, samples, call("train", train, store, whole, *asked))


def test_it_is_the_chosen_number_of_epochs_on_every_row(store: Store) -> None:
    before = judged(store, SMALL, trainer={**FEW, "epochs": 15, "learning_rate": 0.5})
    assert before.record["best_epoch"] < 15
    out, bundle = before.refitted()
    known = read_histories(store.path(out.samples.known.path))
    assert len(known.items_R) == 6 * ROWS > before.samples.split.train.rows + before.samples.split.valid.rows
    trainer = TrainerConfig.model_validate(before.record["trainer"])
    session = FitSession(trainer.model_copy(update={"epochs": before.record["best_epoch"]}))
    data = TrainingData(len(bundle.items), known)
    again = build("bpr_mf", make_config(**SMALL), data).fit(data, session).weights()
    assert {name: tensor.tolist() for name, tensor in again.items()} == {
        name: tensor.tolist() for name, tensor in bundle.model.weights().items()
    }
    assert out.on_everything


def test_what_the_validation_rows_chose_is_kept(store: Store) -> None:
    members = [{"name": "item_knn"}, {"name": "ease"}]
    before = judged(store, {"name": "blend", "members": members})
    _, bundle = before.refitted()
    chosen = before.record["config"]
    assert bundle.model.config.model_dump(mode="json") == chosen
    assert chosen["weights"] is not None
    assert chosen["weights"][0] != chosen["weights"][1]  # what a blend without validation rows would take


def test_a_model_of_windows_reads_those_of_every_row(store: Store) -> None:
    before = judged(store, {"name": "caser", "dim": 4}, trainer={**FEW, "epochs": 2})
    out, bundle = before.refitted()
    assert out.samples.windows is not None
    assert out.samples.windows.known.rows == 6 * ROWS == len(bundle.fitted.items_R)


@pytest.mark.parametrize("told", [None, {"cold_because": "it has learned from 3 of tonight's test rows"}])
def test_what_tonights_rows_forbade_to_begin_warm_goes_out_cold(store: Store, told: dict[str, str] | None) -> None:
    """With every row to learn from there is none left that could forbid it."""
    one, begun, begin = judged(store, {"name": "bpr_mf"}), [], Warm("1", "key", "sha256", 1)

    def step(name: str, work: Any, *args: Any) -> None:
        begun.append(args[-1])

    records: Any = SimpleNamespace(manifest=lambda path: {**one.record, "warm": told})
    refit(step, records, one.config, one.snapshot, one.trained, begin=begin)
    assert begun[-1] == (Cold(told["cold_because"]) if told else begin)


def test_files_of_epochs_are_asked_for_only_where_there_can_be_some(store: Store) -> None:
    """The best by a metric of validation rows, of which there are none."""
    wanted = {"path": "best.safetensors", "save_best_only": True}
    before = judged(store, SMALL, trainer={**FEW, "checkpoint": wanted})
    assert before.record["kept"] is not None
    out, _ = before.refitted()
    assert store.manifest(out.trained.path)["kept"] is None


@pytest.mark.parametrize(
    ("protocol", "wish", "expected"),
    [
        ("temporal", None, True),
        ("leave_last_out", None, False),
        ("random", None, False),
        ("given", None, False),
        ("temporal", False, False),
        ("leave_last_out", True, True),
        ("given", True, True),
    ],
)
def test_time_decides_unless_told_otherwise(store: Store, protocol: str, wish: bool | None, expected: bool) -> None:
    ref: Any = None
    parts = SplitRefs("tiny", "key", protocol, False, *[ref] * 7)
    assert refits_all(GateConfig(refit_all=wish), parts) is expected


def test_what_is_refused_or_not_wished_goes_out_as_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what waits for approval is ready to go."""
    before: Any = SimpleNamespace(trained="judged", champion_ref=None)
    samples: Any = SimpleNamespace(split=SimpleNamespace(protocol="temporal"))
    passed = Check("beats popularity", True, "")
    waiting = Decision(False, (passed, Check(APPROVED, False, "")))
    monkeypatch.setattr("flows.refit.refit", lambda *args: "refitted")
    monkeypatch.setattr("flows.refit.find_start", lambda *args: None)

    def out(decision: Decision, wish: bool | None = None) -> Any:
        config = SimpleNamespace(gate=GateConfig(refit_all=wish), model=None, trainer=None, dataset="tiny")
        night: Any = SimpleNamespace(config=config, step=None, store=None, configuration="same")
        snapshot: Any = None
        return going_out(night, snapshot, samples, before, decision)

    assert out(Decision(True, (passed,))) == "refitted"
    assert waiting.awaits_approval
    assert out(waiting) == "refitted"
    assert out(Decision(False, (passed,))) == Outgoing(samples, before.trained, on_everything=False)
    assert out(Decision(True, (passed,)), wish=False) == Outgoing(samples, before.trained, on_everything=False)


# whole nights


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, dict[str, Any], dict[str, Any]]]:
    """A first night and the one after it, which begins with what the first has learned."""
    with pytest.MonkeyPatch.context() as patch:
        plain_steps(patch)
        shop = Shop(tmp_path_factory.mktemp("shop"))
        yield shop, shop.night(trainer={"warm_start": True}), shop.night(trainer={"warm_start": True})


Nights = tuple[Shop, dict[str, Any], dict[str, Any]]


def champion_of(shop: Shop, version: str) -> Bundle:
    return Bundle.load(shop.store.path(f"checkpoints/{shop.tags(version)['key']}/bundle"))


@pytest.mark.slow
def test_what_goes_out_is_not_what_was_judged_and_says_so(nights: Nights) -> None:
    shop, first, _ = nights
    tags, champion = shop.tags("1"), champion_of(shop, "1")
    assert first["decision"]["promote"]
    assert first["on_everything"]
    assert tags["refit_all"] == "true"
    assert tags["judged_key"] == first["key"] != tags["key"]
    assert tags["weights_sha256"] == first["weights_sha256"]
    assert first["seconds"]["refit"] > 0
    assert len(champion.fitted.items_R) == DAYS * ROWS
    lists = pq.read_table(first["recommendations"])
    assert set(lists["user_id"].to_pylist()) == set(champion.users.ids_N.tolist())  # strangers of the test among them


@pytest.mark.slow
def test_the_champion_of_everything_is_scored_as_it_was_judged(nights: Nights) -> None:
    """As it went out it has learned rows that the new model has not, and knows part of the test."""
    shop, first, second = nights
    test, served = shop.test_rows(), champion_of(shop, "1")
    pairs = test["user_id"].to_numpy(), test["item_id"].to_numpy()
    judged = Bundle.load(shop.store.path(f"checkpoints/{first['key']}/bundle"))
    assert served.was_fitted_on(*pairs).any()
    assert not judged.was_fitted_on(*pairs).any()
    assert second["metrics"]["champion/ndcg_at_10"] > 0
    beside = pq.read_metadata(_newest(shop.store, "metrics/*/champion.parquet")).num_rows
    assert beside == test["user_id"].nunique() == second["beside"]["champion"]["users"]


@pytest.mark.slow
def test_a_warm_night_begins_with_the_champion_as_it_was_judged(nights: Nights) -> None:
    """Not as it went out, with all rows of its night: some of these judge tonight."""
    shop, first, second = nights
    test, tags = shop.test_rows(), shop.tags("2")
    pairs = test["user_id"].to_numpy(), test["item_id"].to_numpy()
    assert first["warm"] == {"cold_because": "there is no champion yet"}
    assert (second["warm"]["from_version"], second["warm"]["nights"]) == ("1", 1)
    assert (tags["warm_from"], tags["warm_nights"]) == ("1", "1")
    assert champion_of(shop, "1").was_fitted_on(*pairs).any()
    judged = Bundle.load(shop.store.path(f"checkpoints/{first['key']}/bundle"))
    assert not judged.was_fitted_on(*pairs).any()
    # what went out of the second night, fitted on everything, began there too
    assert shop.store.manifest(f"checkpoints/{tags['key']}/bundle")["warm"]["from_version"] == "1"


def _newest(store: Store, pattern: str) -> Path:
    return max(store.root.glob(pattern), key=lambda path: path.stat().st_mtime)
