"""What a night's result says of the model beside everybody else."""

from pathlib import Path

import pytest

from flows.contest import Contest, Floor, Rival
from flows.result import differences_of, rivals_of
from tasks.evaluate.config import EvaluateConfig
from tasks.store.refs import ChampionRef, EvaluatedRef, TrainedRef
from tasks.store.store import Store, Writer
from tests.tasks.test_differences import table

TRAINED = TrainedRef("t", "checkpoints/t/bundle", "")


def judged(store: Store, key: str, **tables: float) -> EvaluatedRef:
    """An evaluation's folder: in each table NDCG@10 and recall of four users, all the same; nobody without tables."""

    def write(writer: Writer) -> dict[str, object]:
        for name, value in tables.items():
            table(writer.path(f"{name}.parquet"), ndcg_at_10=[value] * 4, recall_at_10=[value / 2] * 4)
        return {"users": {"champion": 4 if tables else 0}}

    return EvaluatedRef(key, store.build(f"metrics/{key}", write).path)


def test_everybody_is_compared_on_the_rows_that_may_judge_both(tmp_path: Path) -> None:
    """Champion and anchor each with the challenger of their own rows; floors by the metric that decides; the model not
    with itself, and nobody where no row may judge both."""
    store = Store(tmp_path)
    ours = judged(store, "ours", test=0.5)
    floors = (
        Floor("popularity", TRAINED, judged(store, "popularity", test=0.1), 0.1),
        Floor("item_knn", TRAINED, ours, 0.5),
    )
    champion = Rival(ChampionRef("m", "3", "", "", ""), judged(store, "c", champion=0.2, challenger=0.6))
    contest = Contest(TRAINED, ours, floors, champion, Rival(champion.ref, judged(store, "nobody")))
    assert list(rivals_of(contest)) == ["champion", "anchor"]
    found = differences_of(store, contest, EvaluateConfig(resamples=100))
    means = {whom: {name: by["mean"] for name, by in one.items()} for whom, one in found.items()}
    assert means == {
        "champion": pytest.approx({"ndcg_at_10": 0.4, "recall_at_10": 0.2}),
        "popularity": pytest.approx({"ndcg_at_10": 0.4}),
    }
    assert rivals_of(Contest(TRAINED, ours, floors)) == {}
