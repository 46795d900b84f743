"""What is shipped comes back as it was, or is refused."""

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import models
from models.base import Ragged, Recommender, TrainingData
from models.bundle import Bundle, BundleDamaged, Strangers, weights_hash
from models.features import UserFeatures
from models.ids import IdMap
from models.registry import build
from tests.factories import FixedScores, make_bundle

NAMES = ["popularity", "bpr_mf"]


def lists(bundle: Bundle, **more: object) -> list[object]:
    stranger = [-5] if bundle.users.are_integers else ["nobody"]
    found = bundle.recommend([*bundle.users.ids_N.tolist(), *stranger], 7, **more)  # type: ignore[arg-type]
    return [one.tolist() for one in found]


def test_weights_without_a_number_have_a_hash_too() -> None:
    empty, other = (weights_hash({"kept": torch.empty(0, dtype=kind)}) for kind in (torch.int32, torch.float32))
    assert empty != other
    assert empty == weights_hash({"kept": torch.empty(0, dtype=torch.int32)})


@pytest.mark.parametrize("kind", ["int", "id-", "é"])
@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_bundle_gives_equal_lists(name: str, kind: str, tmp_path: Path) -> None:
    bundle = make_bundle(name, kind, history_length=4)
    bundle.save(tmp_path)
    again = Bundle.load(tmp_path)
    assert lists(again) == lists(bundle)
    assert lists(again, exclude_seen=False) == lists(bundle, exclude_seen=False)
    assert weights_hash(again.model.weights()) == weights_hash(bundle.model.weights())
    assert json.loads((tmp_path / "bundle.json").read_text())["weights_sha256"] == weights_hash(bundle.model.weights())
    assert (again.dataset, again.history_length) == ("tiny", 4)
    assert again.users.are_integers == again.items.are_integers == (kind == "int")
    assert again.model.config == bundle.model.config


def test_one_list_may_be_fitted_and_served(tmp_path: Path) -> None:
    bundle = make_bundle()
    replace(bundle, served=bundle.fitted).save(tmp_path)
    assert Bundle.load(tmp_path).served.items_R.tolist() == bundle.fitted.items_R.tolist()


@pytest.mark.parametrize("file", ["bundle.json", "weights.safetensors", "catalogue.safetensors"])
def test_a_flipped_bit_anywhere_is_refused(file: str, tmp_path: Path) -> None:
    make_bundle("bpr_mf").save(tmp_path)
    good = (tmp_path / file).read_bytes()
    for at in np.linspace(0, len(good) - 1, 60).astype(int):
        bad = bytearray(good)
        bad[at] ^= 1
        (tmp_path / file).write_bytes(bad)
        with pytest.raises(BundleDamaged):
            Bundle.load(tmp_path)
    (tmp_path / file).write_bytes(good)
    Bundle.load(tmp_path)


@pytest.mark.parametrize("file", ["bundle.json", "weights.safetensors", "catalogue.safetensors"])
def test_a_missing_file_is_named(file: str, tmp_path: Path) -> None:
    make_bundle().save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(BundleDamaged, match=f"{file} is missing"):
        Bundle.load(tmp_path)


def test_pairs_of_the_fit_are_told_from_others() -> None:
    bundle = make_bundle()  # users 10.., items 100..; served holds one hidden item more than was fitted
    fitted = set(zip(bundle.fitted.users_R.tolist(), bundle.fitted.items_R.tolist(), strict=True))
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(24), np.arange(20), indexing="ij"))
    expected = [pair in fitted for pair in zip(users.tolist(), items.tolist(), strict=True)]
    assert bundle.was_fitted_on(users + 10, items + 100).tolist() == expected
    assert bundle.was_fitted_on((users + 10).astype(str), (items + 100).astype(str)).tolist() == expected
    assert not bundle.was_fitted_on(np.array([9, 10, 99]), np.array([100, 99, 999])).any()
    assert not bundle.was_fitted_on(np.arange(34), np.full(34, 999)).any()
    assert not bundle.was_fitted_on(np.full(20, 9), np.arange(20) + 100).any()


class Shown(FixedScores):
    """Remembers what it was shown."""

    def score(self, query: object) -> torch.Tensor:
        self.query = query
        return super().score(query)  # type: ignore[arg-type]


def shown(history_length: int | None) -> tuple[Shown, Bundle]:
    model = Shown(np.array([[4, 3, 2, 1]]))
    served = Ragged(np.array([0, 3]), np.array([2, 0, 3], dtype=np.int32))
    ids = IdMap(np.array(["u"])), IdMap(np.array(["a", "b", "c", "d"]))
    return model, Bundle("tiny", model, *ids, fitted=served, served=served, history_length=history_length)


@pytest.mark.parametrize(("length", "history"), [(None, [2, 0, 3]), (2, [0, 3]), (9, [2, 0, 3])])
def test_the_model_is_shown_the_latest_items_and_all_are_masked(length: int | None, history: list[int]) -> None:
    model, bundle = shown(length)
    items_UK, score_UK, reason_U = bundle.recommend(["u"], 4)
    assert model.query.histories.row(0).tolist() == history  # type: ignore[attr-defined]
    assert items_UK[0][np.isfinite(score_UK[0])].tolist() == ["b"]
    assert reason_U.tolist() == ["model"]


def test_given_histories_replace_what_the_bundle_knows() -> None:
    model, bundle = shown(None)
    raw = np.array([0, 3, 3]), np.array(["d", "unknown", "a"])
    items_UK, score_UK, reason_U = bundle.recommend(["u", "stranger"], 4, raw)
    assert model.query.histories.row(0).tolist() == [3, 0]  # type: ignore[attr-defined]
    assert items_UK[0][np.isfinite(score_UK[0])].tolist() == ["b", "c"]
    # popularity: a, c and d have one row each, b none
    assert items_UK[1].tolist() == ["a", "c", "d", "b"]
    assert score_UK[1].tolist() == [1, 1, 1, 0]
    assert reason_U.tolist() == ["model", "fallback"]
    everything = bundle.recommend(["u"], 4, (np.array([0, 1]), np.array(["a"])), exclude_seen=False)
    assert everything[0].tolist() == [["a", "b", "c", "d"]]


class Described(Shown):
    """Scores by the history, or by the town."""

    folds_in = True
    features_used = ("town",)


FEATURES = UserFeatures(
    {"age": IdMap(np.array(["30", "40"])), "town": IdMap(np.array(["Bonn", "Ulm"]))},
    {"age": np.array([1, 2], dtype=np.int32), "town": np.array([2, 1], dtype=np.int32)},
)


def test_strangers_are_told_by_what_is_given_and_known_users_by_what_the_bundle_has() -> None:
    model = Described(np.array([[4, 3, 2, 1], [4, 3, 2, 1]]))
    served = Ragged(np.array([0, 1, 3]), np.array([0, 2, 3], dtype=np.int32))
    ids = IdMap(np.array(["u", "v"])), IdMap(np.array(["a", "b", "c", "d"]))
    bundle = Bundle("tiny", model, *ids, fitted=served, served=served, features=FEATURES)
    users = ["u", "x", "x", "x", "x"]
    given: dict[str, list[object]] = {
        "town": ["Bonn", "Ulm", None, "Köln", "Bonn"],
        "age": [40, None, 40.0, None, "41"],
        "shoe": ["9"] * 5,
    }
    none = np.zeros(6, dtype=np.int64), np.empty(0, dtype=np.str_)
    items_UK, _, reason_U = bundle.recommend(users, 4, none, features=given)
    assert reason_U.tolist() == ["model", "features", "segment", "fallback", "features"]
    # 40 is the age of v, who took c and d: p is 0 for b, 1/3 for the rest
    assert items_UK.tolist() == [list("abcd"), list("dcba"), list("cdab"), list("acdb"), list("dcba")]
    assert model.query.features["town"].tolist() == [2, 1]  # type: ignore[attr-defined]
    # what is given of a known user changes nothing
    bundle.recommend(["u"], 4, features={"town": ["Bonn"]})
    assert model.query.features["town"].tolist() == [2]  # type: ignore[attr-defined]
    history = np.array([0, 1, 2]), np.array(["b", "unknown"])
    _, _, reason_U = bundle.recommend(["x", "y"], 4, history)
    assert reason_U.tolist() == ["fold-in", "fallback"]  # of y's history nothing is known


# Users u (Ulm) took a, v (Bonn) took c and d. Of strangers: s of Ulm took b, a, b, t is of age 40, w took c.
def with_strangers() -> Bundle:
    model = Described(np.array([[4, 3, 2, 1], [4, 3, 2, 1]]))
    served = Ragged(np.array([0, 1, 3]), np.array([0, 2, 3], dtype=np.int32))
    ids = IdMap(np.array(["u", "v"])), IdMap(np.array(["a", "b", "c", "d"]))
    strangers = Strangers(
        IdMap(np.array(["s", "t", "w"])),
        Ragged(np.array([0, 3, 3, 4]), np.array([1, 0, 1, 2], dtype=np.int32)),
        {"age": np.array([0, 2, 0], dtype=np.int32), "town": np.array([2, 0, 0], dtype=np.int32)},
    )
    return Bundle("tiny", model, *ids, fitted=served, served=served, features=FEATURES, strangers=strangers)


def asked(bundle: Bundle, user: str, **more: object) -> tuple[list[int], dict[str, int]]:
    """What the model is shown of this user."""
    bundle.recommend([user], 4, **more)  # type: ignore[arg-type]
    query = bundle.model.query  # type: ignore[attr-defined]
    return query.histories.row(0).tolist(), {name: int(code) for name, (code,) in query.features.items()}


def test_strangers_are_told_by_what_the_bundle_has_of_them() -> None:
    bundle = with_strangers()
    items_UK, score_UK, reason_U = bundle.recommend(["w", "v", "x", "s", "t", "u"], 4)
    assert reason_U.tolist() == ["fold-in", "model", "fallback", "fold-in", "segment", "model"]
    shown = [row[np.isfinite(score)].tolist() for row, score in zip(items_UK, score_UK, strict=True)]
    # a stranger's scores are d c b a; t is of the age of v, who took c and d, and so has their popularity first
    assert shown == [list("dba"), list("ab"), list("acdb"), list("dc"), list("cdab"), list("bcd")]
    for user, history, town, age in (("w", [2], 0, 0), ("v", [2, 3], 1, 2), ("s", [1, 0, 1], 2, 0), ("u", [0], 2, 1)):
        assert asked(bundle, user) == (history, {"town": town, "age": age})
    assert bundle.recommend(["s"], 4, exclude_seen=False)[0].tolist() == [list("dcba")]


def test_given_histories_and_features_of_strangers_come_first() -> None:
    bundle = with_strangers()
    raw = np.array([0, 0, 1, 1]), np.array(["d"])
    items_UK, score_UK, reason_U = bundle.recommend(["s", "w", "t"], 4, raw)
    assert reason_U.tolist() == ["features", "fold-in", "segment"]  # of s the town is left
    assert items_UK[0].tolist() == list("dcba")  # nothing of what s took is left out
    assert items_UK[1][np.isfinite(score_UK[1])].tolist() == list("cba")
    none = np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.str_)
    assert asked(bundle, "s", histories=none) == ([], {"town": 2, "age": 0})
    assert asked(bundle, "s", features={"town": ["Bonn"]}) == ([1, 0, 1], {"town": 1, "age": 0})
    assert asked(bundle, "s", features={"town": [None], "age": ["30"]}) == ([1, 0, 1], {"town": 2, "age": 1})
    assert asked(bundle, "s", features={"town": ["Rome"]}) == ([1, 0, 1], {"town": 2, "age": 0})
    assert asked(bundle, "u", features={"town": ["Bonn"], "age": [40]}) == ([0], {"town": 2, "age": 1})


def test_what_is_masked_of_known_users_leaves_strangers_their_own() -> None:
    bundle = with_strangers()
    wider = replace(bundle, masked=Ragged(np.array([0, 2, 4]), np.array([0, 1, 2, 3], dtype=np.int32)))
    items_UK, score_UK, _ = wider.recommend(["s", "u"], 4)
    shown = [row[np.isfinite(score)].tolist() for row, score in zip(items_UK, score_UK, strict=True)]
    assert shown == [list("dc"), list("cd")]


@pytest.mark.parametrize("ids", [[7, 8], ["x7", "é"]])
def test_strangers_are_shipped_and_a_bundle_without_them_has_no_trace_of_them(
    ids: list[object], tmp_path: Path
) -> None:
    bundle = make_bundle("popularity", "int" if isinstance(ids[0], int) else "u")
    bundle.save(tmp_path)
    assert not [name for name in load_file(tmp_path / "catalogue.safetensors") if name.startswith("strangers")]
    assert len(Bundle.load(tmp_path).strangers) == 0
    town = UserFeatures({"town": IdMap(np.array(["Bonn", "Rome"]))}, {"town": np.ones(24, dtype=np.int32)})
    codes = {"town": np.array([2, 0], dtype=np.int32)}
    strangers = Strangers(IdMap(np.array(ids)), Ragged(np.array([0, 0, 2]), np.array([3, 1], dtype=np.int32)), codes)
    told = replace(bundle, features=town, strangers=strangers)
    told.save(tmp_path)
    again = Bundle.load(tmp_path)
    assert again.strangers.ids.ids_N.tolist() == ids
    assert [again.strangers.histories.row(one).tolist() for one in range(2)] == [[], [3, 1]]
    assert again.strangers.codes["town"].tolist() == [2, 0]
    assert again.features.names == ("town",)
    users = [*ids, *bundle.users.ids_N[:2].tolist()]
    for one, other in zip(again.recommend(users, 5), told.recommend(users, 5), strict=True):
        assert one.tolist() == other.tolist()
    assert not again.was_fitted_on(np.array([ids[1]] * 2), bundle.items.ids_N[[3, 1]]).any()


def test_histories_of_whole_floats_are_those_of_integers() -> None:
    bundle, offsets = make_bundle(), np.array([0, 2])
    with_floats = bundle.recommend([10], 20, (offsets, np.array([100.0, 103.0])))
    assert np.isfinite(with_floats[1]).sum() == 18
    assert with_floats[0].tolist() == bundle.recommend([10], 20, (offsets, np.array([100, 103])))[0].tolist()


def test_the_hash_of_weights_tells_names_types_shapes_and_values_apart() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    same = {"b": torch.tensor(1), "a": torch.arange(6.0).reshape(3, 2).reshape(2, 3).clone()}
    others = [
        {**base, "a": base["a"].reshape(3, 2)},
        {**base, "a": base["a"].double()},
        {**base, "a": base["a"].int()},
        {**base, "b": torch.tensor(2)},
        {"a": base["a"], "c": base["b"]},
        {**base, "a": base["a"].T.contiguous().T.flip(0)},
    ]
    assert weights_hash(same) == weights_hash(base)
    assert weights_hash({**base, "a": base["a"].T.contiguous().T}) == weights_hash(base)
    assert len({weights_hash(one) for one in [base, *others]}) == 7


def test_the_code_works_under_another_name(tmp_path: Path) -> None:
    """A model artefact carries our code under a private name, beside a stranger's package called `models`."""
    bundle = make_bundle("bpr_mf", "id-")
    (tmp_path / "bundle").mkdir()
    bundle.save(tmp_path / "bundle")
    source = Path(next(iter(models.__path__)))
    shutil.copytree(source, tmp_path / "private_models", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise ImportError('a stranger')\n")
    code = (
        "import importlib, json, sys\nfrom pathlib import Path\n"
        "bundle = importlib.import_module('private_models.bundle').Bundle.load(Path('bundle'))\n"
        "items, score, _ = bundle.recommend(bundle.users.ids_N, 5)\n"
        "assert not {'models', 'tasks', 'flows'} & set(sys.modules), 'ours was imported'\n"
        "print(json.dumps([items.tolist(), score.tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    items_UK, score_UK, _ = bundle.recommend(bundle.users.ids_N, 5)
    found = json.loads(done.stdout)
    assert found[0] == items_UK.tolist()
    assert np.array(found[1]) == pytest.approx(score_UK, abs=1e-6)


def test_the_public_name_is_still_ours() -> None:
    assert importlib.import_module("models.bundle").Bundle is Bundle


def test_what_is_masked_is_left_out_but_not_shown_to_the_model() -> None:
    model, bundle = shown(None)
    wider = replace(bundle, masked=Ragged(np.array([0, 4]), np.array([0, 1, 2, 3], dtype=np.int32)))
    assert bundle.recommend(["u"], 2)[0][0, 0] == "b"
    assert not np.isfinite(wider.recommend(["u"], 2)[1]).any()
    assert model.query.histories.row(0).tolist() == [2, 0, 3]  # type: ignore[attr-defined]
    raw = (np.array([0, 1]), np.array(["c"]))
    assert bundle.recommend(["u"], 1, raw, True, (np.array([0, 2]), np.array(["a", "b"])))[0].tolist() == [["c"]]


def test_user_features_are_shipped_and_say_how_large_a_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.arange(24, dtype=np.int32) % 3
    features = UserFeatures({"town": IdMap(np.array(["Bonn", "Rome"]))}, {"town": codes})
    replace(make_bundle(), features=features).save(tmp_path)
    built: list[TrainingData] = []

    def spy(name: str, config: object, data: TrainingData) -> Recommender:
        built.append(data)
        return build(name, config, data)  # type: ignore[arg-type]

    monkeypatch.setattr("models.bundle.build", spy)
    again = Bundle.load(tmp_path)
    assert built[0].user_features["town"].size == 3
    assert built[0].user_features["town"].codes_N.tolist() == codes.tolist()
    query = again.query(np.array([5, -1, 1]), Ragged.empty(3))
    assert query.features["town"].tolist() == [2, 0, 1]
    given = again.query(np.array([5, -1]), Ragged.empty(2), again.features.encode({"town": ["Rome", "Bonn"]}))
    assert given.features["town"].tolist() == [2, 1]
    assert again.features.encode({"town": ["Bonn", "Oslo"]})["town"].tolist() == [1, 0]
