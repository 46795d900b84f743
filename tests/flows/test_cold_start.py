"""A night with users of whom little is known: each is shown the best that can be told, and the table says which."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.flows.test_retrain import Place, Ran

TOWNS = ("Bonn", "Ulm")
N_USERS, N_ITEMS, LATE, SILENT, UNDESCRIBED = 80, 40, "late", "silent", "undescribed"


def write_world(root: Path) -> None:
    """Users of Bonn take the first half of the items, those of Ulm the second. Then `late` comes in the last days and
    is in no users table; `silent`, of Ulm, and `undescribed`, of nowhere, are in that table alone."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        items = rng.permutation(N_ITEMS // 2)[:12] + user % 2 * N_ITEMS // 2
        days = np.sort(rng.integers(0, 100, 12))
        rows += [(f"u{user}", f"i{item}", day) for item, day in zip(items, days, strict=True)]
    rows += [(LATE, f"i{item}", 99) for item in range(4)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "day"])
    log["timestamp"] = 1_700_000_000 + 86_400 * log.pop("day")
    log.to_csv(root / "log.csv", index=False)
    users = {f"u{user}": TOWNS[user % 2] for user in range(N_USERS)} | {SILENT: "Ulm", UNDESCRIBED: None}
    pd.DataFrame({"user_id": users.keys(), "town": users.values()}).to_csv(root / "users.csv", index=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory, prefect_database) -> Place:
    place = Place(tmp_path_factory.mktemp("cold"))
    write_world(place.root)
    return place


@pytest.fixture(scope="module")
def night(place: Place) -> Ran:
    options = ("--ingest.interactions=log.csv", "--ingest.users=users.csv", "--ingest.name=cold")
    as_judged = "--gate.refit_all=false"  # else it learns from the test rows, too, and nobody who came is a stranger
    ran = place.encore("retrain", *options, "--model.name=item_knn", as_judged)
    assert ran.status == 0, ran.err
    return ran


def test_everyone_gets_a_list_and_each_list_its_reason(night: Ran, place: Place) -> None:
    lists = place.table(night.result["recommendations"])
    reasons = lists.groupby("user_id")["reason"].unique().map(list)
    assert reasons[LATE] == ["fold-in"]
    assert reasons[SILENT] == ["segment"]
    assert reasons[UNDESCRIBED] == ["fallback"]
    assert set(lists.loc[lists["user_id"].str.match(r"u\d"), "reason"]) <= {"model", "fold-in"}
    assert reasons.size == N_USERS + 3
    shown = {user: [int(item[1:]) for item in rows] for user, rows in lists.groupby("user_id")["item_id"]}
    # late took items of Bonn, and is shown new ones of the kind
    assert set(shown[LATE]) <= set(range(4, N_ITEMS // 2))
    assert min(shown[SILENT]) >= N_ITEMS // 2
    assert min(shown[UNDESCRIBED]) < N_ITEMS // 2 <= max(shown[UNDESCRIBED])


def test_the_result_tells_segments_and_mlflow_and_the_card_show_them(night: Ran, place: Place) -> None:
    from mlflow import MlflowClient

    segments = night.result["segments"]
    assert set(segments) == {"history_length", "item_popularity", "item_age", "reason"}
    assert sum(row["users"] for row in segments["history_length"]) == night.result["test_users"]
    assert {"bucket": "0", "users": 1}.items() <= segments["history_length"][0].items()
    strangers = [row for row in segments["reason"] if row["bucket"] != "model"]
    assert [(row["bucket"], row["users"]) for row in strangers] == [("fallback", 1)]  # late, before the test rows
    weights = [row["users"] for row in segments["history_length"]]
    means = [row["ndcg_at_10"] for row in segments["history_length"]]
    assert np.average(means, weights=weights) == pytest.approx(night.result["metrics"]["test/ndcg_at_10"])
    client = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    logged = client.get_run(night.result["run_id"]).data.metrics
    assert logged["test_by_history_length/000/ndcg_at_10"] == pytest.approx(segments["history_length"][0]["ndcg_at_10"])
    ages = [name for name in logged if name.startswith("test_by_item_age/") and name.endswith("/rows")]
    assert len(ages) == len(segments["item_age"])
    card = Path(client.download_artifacts(night.result["run_id"], "card.html", str(place.root)))
    assert "history, items" in card.read_text(encoding="utf-8")


def test_the_registered_model_takes_features_and_histories_of_strangers(night: Ran, place: Place) -> None:
    code = (
        "import mlflow, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model('models:/encore-cold/{night.result['model']['version']}')\n"
        "frame = pd.DataFrame({'user_id': ['u0', 'x', 'y', 'z'], 'town': ['Ulm', 'Ulm', None, 'Ulm']})\n"
        "frame['history'] = [['i0', 'i1'], [], [], ['i0', 'i1']]\n"
        "mixed = pd.DataFrame({'user_id': ['u0', 'late', 'silent', 'late'], 'history': [None, None, None, ['i30']]})\n"
        "print(model.predict(mixed).to_json(orient='records'))\n"
        "print(model.predict(frame).to_json(orient='records'))\n"
        "print(model.predict(frame[['user_id']].head(2)).to_json(orient='records'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.root,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place.root}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    mixed, told, untold = (pd.DataFrame(json.loads(line)) for line in done.stdout.splitlines()[-3:])
    night_lists = place.table(night.result["recommendations"])
    for user in ("u0", LATE, SILENT):
        expected = night_lists[night_lists["user_id"] == user]
        rows = mixed[mixed["user_id"] == user].head(len(expected))
        assert rows["item_id"].tolist() == expected["item_id"].tolist()
        assert rows["reason"].tolist() == expected["reason"].tolist()
    # late's last row is told a history of Ulm
    assert mixed.tail(10)["item_id"].str[1:].astype(int).min() >= N_ITEMS // 2
    reasons = told.groupby("user_id")["reason"].unique().map(list).to_dict()
    assert reasons == {"u0": ["model"], "x": ["segment"], "y": ["fallback"], "z": ["fold-in"]}
    assert told.loc[told["user_id"] == "x", "item_id"].str[1:].astype(int).min() >= N_ITEMS // 2
    assert told.loc[told["user_id"] == "z", "item_id"].str[1:].astype(int).max() < N_ITEMS // 2
    assert untold.groupby("user_id")["reason"].unique().map(list).to_dict() == {"u0": ["model"], "x": ["fallback"]}


def test_the_champions_lists_again_are_the_nights(night: Ran, place: Place) -> None:
    assert night.result["decision"]["promote"]
    again = place.encore("recommend", "--ingest.name=cold")
    assert again.status == 0, again.err
    first, second = (place.table(ran.result["recommendations"]) for ran in (night, again))
    pd.testing.assert_frame_equal(first, second)
    assert place.table(again.result["published"]).equals(second)
    some = place.encore("recommend", "--ingest.name=cold", f"--recommend.users={SILENT},nobody,{LATE}")
    assert some.status == 0, some.err
    reasons = place.table(some.result["recommendations"]).groupby("user_id")["reason"].unique().map(list).to_dict()
    assert reasons == {SILENT: ["segment"], "nobody": ["fallback"], LATE: ["fold-in"]}
