"""What the gate reads from the folders of an evaluation, and the tags that it leaves on a version."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.promote.candidacy import Candidacy, Check
from tasks.promote.config import GateConfig
from tasks.promote.decide import Decision
from tasks.promote.task import Contestants, judge, register
from tasks.store.refs import ChampionRef, DatasetRef, EvaluatedRef, SampleRefs, SnapshotRef, SplitRefs, TrainedRef
from tasks.store.store import Store, Writer
from tasks.tracking.runs import Run
from tests.factories import make_bundle
from tests.tasks.promoting import BASE, LISTS, NOISE, N

GATE = GateConfig(resamples=200)


def evaluated(store: Store, name: str, by: dict[str, float], **manifest: Any) -> EvaluatedRef:
    """A folder of metrics: for each part a table in which everybody is better by so much."""

    def write(writer: Writer) -> dict[str, Any]:
        for part, more in by.items():
            columns = {"ndcg_at_10": BASE + NOISE + more, "history_length": np.arange(N, dtype=np.int32)}
            writer.table(part, pa.table(columns))
        return {"made_from": [], "test_fingerprint": "t", **manifest}

    return EvaluatedRef(name, store.build(f"metrics/{name}", write).path)


def rivals(store: Store, name: str, by: float, **changes: Any) -> EvaluatedRef:
    beyond = {"champion": LISTS, "challenger": LISTS | {"coverage_at_10": 0.4}}
    manifest: dict[str, Any] = {"beyond": beyond, "overlap_at_10": 0.6, **changes}
    return evaluated(store, name, {"champion": 0, "challenger": by}, **manifest)


def contestants(store: Store, **changes: Any) -> Contestants:
    whole: dict[str, Any] = {
        "new": evaluated(store, "new", {"test": 0.02}, fitted_test_rows=0),
        "floors": {"popularity": evaluated(store, "floor", {"test": -0.1}, fitted_test_rows=0)},
        "champion": rivals(store, "beside", 0.02),
    }
    return Contestants(**whole | changes)


def test_everything_that_was_measured_reaches_the_gate(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Candidacy] = []
    monkeypatch.setattr("tasks.promote.task.decide", lambda candidacy, gate: seen.append(candidacy))
    anchor, seeds = rivals(store, "anchor", 0.01), (rivals(store, "s1", 0.03), rivals(store, "s2", 0.04))
    everyone = contestants(store, anchor=anchor, seeds=seeds)
    judge.fn(store, everyone, GATE, same_configuration=True, by_chance=True, frozen="a fair", tries=3)
    (found,) = seen
    assert found.champion is not None
    assert found.anchor is not None
    means = [found.new.mean, found.floors[0].mean, found.champion.new.mean, found.champion.other.mean]
    means += [found.anchor.new.mean, *(pair.new.mean for pair in found.seeds)]
    assert means == pytest.approx([0.42, 0.3, 0.42, 0.4, 0.41, 0.43, 0.44])
    assert (found.same_configuration, found.by_chance, found.frozen, found.tries) == (True, True, "a fair", 3)
    assert found.fitted_test_rows == 0
    assert found.champion.overlap == 0.6
    assert (found.champion.new.beyond["coverage_at_10"], found.champion.other.beyond["coverage_at_10"]) == (0.4, 0.5)
    assert found.champion.new.lengths_U is not None
    assert found.champion.new.lengths_U.tolist() == list(range(N))
    names = [found.floors[0].name, found.champion.other.name, found.anchor.other.name]
    assert names == ["popularity", "the champion", "the anchor"]


def test_what_an_evaluation_does_not_say_refuses(store: Store) -> None:
    def failed(same: bool = True, **changes: Any) -> list[str]:
        decision = judge.fn(store, contestants(store, **changes), GATE, same)
        return [check.name for check in decision.failed]

    assert failed() == []
    assert failed(new=evaluated(store, "old", {"test": 0.02})) == ["no test row was fitted"]
    assert failed(new=evaluated(store, "leak", {"test": 0.02}, fitted_test_rows=4)) == ["no test row was fitted"]
    assert failed(champion=rivals(store, "blind", 0.02, beyond={})) == ["coverage", "popularity bias"]
    lone = evaluated(
        store, "lone", {"champion": 0, "challenger": 0.02}, beyond={"champion": LISTS, "challenger": LISTS}
    )
    assert failed(champion=lone) == ["overlap with the champion"]
    assert failed(same=False, champion=lone) == []
    elsewhere = evaluated(store, "elsewhere", {"test": -0.1}, test_fingerprint="u")
    assert failed(floors={"popularity": elsewhere}) == ["same test", "beats popularity"]


TABLE = DatasetRef("table", 1, "f")
SNAPSHOT = SnapshotRef("shop", "snap", "lake", ())
SPLIT = SplitRefs("shop", "split", "temporal", False, SNAPSHOT, TABLE, TABLE, TABLE, TABLE, TABLE, TABLE)
SAMPLES = SampleRefs("sample", SPLIT, TABLE, TABLE, TABLE, TABLE, TABLE)
YES, NO = Check("has a score", True, "0.4"), Check("beats the champion", False, "not better " * 500)
WAITS = Check("approved by a person", False, "waits")


@pytest.mark.parametrize(
    ("checks", "outcome"), [((YES,), "promoted"), ((YES, NO, WAITS), "refused"), ((YES, WAITS), "waiting")]
)
@pytest.mark.parametrize("champion", [None, ChampionRef("encore-shop", "7", "", "", "")])
def test_a_version_says_what_was_decided_and_beside_whom(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    checks: tuple[Check, ...],
    outcome: str,
    champion: ChampionRef | None,
) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr("tasks.promote.task.Bundle.load", lambda path: make_bundle())
    monkeypatch.setattr("tasks.tracking.registry.log_model", lambda *args, **kwargs: "model-id")
    monkeypatch.setattr(
        "tasks.tracking.registry.register", lambda run, name, model, tags, *more: written.update(tags) or "8"
    )
    store.prepare()
    gain = None if champion is None else 0.0125
    decision = Decision(outcome == "promoted", checks, gain)
    run, trained = Run("", "", "", "r"), TrainedRef("key", "bundle", "w")
    made = register.fn(store, run, "encore-shop", decision, SAMPLES, trained, champion, {"configuration": "c"})
    expected = {"decision": outcome, "champion": "7" if champion else "", "gain": "0.0125" if champion else ""}
    expected |= {"check: has a score": "passed: 0.4", "configuration": "c", "snapshot": "snap", "key": "key"}
    assert written.items() >= expected.items()
    assert written.get("check: beats the champion", "").startswith("FAILED: not better " if NO in checks else "")
    assert max(map(len, written.values())) <= 5000
    assert made.champion == ("8" if outcome == "promoted" else champion and "7")
    kept = json.loads(store.path("decisions/r.json").read_text())
    assert [check["name"] for check in kept["checks"]] == [check.name for check in checks]
