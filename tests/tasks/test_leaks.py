"""Leaks planted one by one in what was written, each found by the expectation that is there for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.leaks import LeakFound, audited
from tasks.sample import audit as of_samples
from tasks.sample.histories import write_histories
from tasks.sample.task import sample
from tasks.split.audit import check as of_split
from tasks.split.config import Positives, SplitConfig
from tasks.split.parts import Part
from tasks.split.task import split
from tasks.store.histories import HistoryFile
from tasks.store.refs import DatasetRef, SplitRefs
from tasks.store.store import Store, Writer
from tests.factories import make_snapshot, tiny_log
from tests.tasks.splitting import Written, write

Tables = dict[str, pa.Table]
LIKED = Positives(min_rating=3, events={"buy": 2, "cart": 0.5})


def log() -> pa.Table:
    """Twelve users with eight good and two bad ratings each, over twenty instants; every pair once."""
    rows = []
    for user in range(12):
        items = np.random.default_rng(user).permutation(14)[:10].tolist()
        rows += [
            (user, item, 2 * n + user % 2, 1 if n in (2, 9) else 4, ("buy", "cart")[n % 2])
            for n, item in enumerate(items)
        ]
    return tiny_log(*rows)


def clean(store: Store, protocol: str, **config: Any) -> Written:
    if protocol == "given":
        store.root.mkdir(parents=True, exist_ok=True)
        file = store.root / "test.csv"
        pairs = zip(log()["user_id"].to_pylist()[::13], log()["item_id"].to_pylist()[::13], strict=True)
        file.write_text("\n".join(["user_id,item_id", *(f"{user},{item}" for user, item in pairs), "new,9"]))
        config["test"] = str(file)
    return write(store, log(), positives=LIKED, protocol=protocol, **config)


def planted(made: Written, change: Callable[[Tables], Tables]) -> dict[str, int]:
    """What the audit finds once some tables are others."""
    parts = dict(made.parts)
    for name, table in change(dict(made.tables)).items():
        writer = Writer(made.store.path("prepared/planted"), "prepared/planted")
        writer.folder.mkdir(exist_ok=True)
        parts[name] = writer.table(name, table, made.tables[name].schema)
    found = of_split.violations(made.store, parts, made.claim, made.pairs.judged)
    return {fact: n for fact, n in found.items() if n}


def changed(table: pa.Table, row: int, **values: object) -> pa.Table:
    """With other values in one row."""
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, schema=table.schema)


def moved(tables: Tables, source: str, row: int, target: str, **values: object) -> Tables:
    """One row taken from a part and put at its place in another, with what that has and it has not."""
    rows = {name: tables[name].to_pylist() for name in (source, target)}
    taken = rows[source].pop(row) | values
    names = tables[target].column_names
    rows[target] = sorted([*rows[target], {name: taken[name] for name in names}], key=lambda one: one["place"])
    return {name: pa.Table.from_pylist(rows[name], schema=tables[name].schema) for name in (source, target)}


@pytest.mark.parametrize("repeats", ["keep", "drop_from_test"])
@pytest.mark.parametrize("protocol", ["temporal", "leave_last_out", "random", "given"])
def test_what_is_written_passes(protocol: str, repeats: str, store: Store) -> None:
    made = clean(store, protocol, repeats=repeats, k_core=2)
    assert not any(made.violations().values())
    refs = made.refs()
    writer = Writer(store.path("prepared/samples"), "prepared/samples")
    writer.folder.mkdir()
    files = write_histories(store, writer, refs)
    assert not any(of_samples.violations(store, {n: store.path(f.path) for n, f in files.items()}, refs).values())


# the tables of a split


def test_a_test_row_before_the_cut(store: Store) -> None:
    made = clean(store, "temporal")
    early = made.tables["train"]["timestamp"][0].as_py()
    found = planted(made, lambda t: {"test": changed(t["test"], 0, timestamp=early)})
    assert found["rows_before_the_cut"] == 1


def test_one_instant_on_both_sides_of_a_cut(store: Store) -> None:
    made = clean(store, "temporal")
    newest = max(made.tables["train"]["timestamp"].to_pylist())
    found = planted(made, lambda t: {"valid": changed(t["valid"], 0, timestamp=newest)})
    assert found["rows_before_the_cut"] == 1


def test_a_pair_in_two_parts(store: Store) -> None:
    made = clean(store, "random")
    pair = {name: made.tables["train"][name][0].as_py() for name in ("user_idx", "item_idx")}
    found = planted(made, lambda t: {"valid": changed(t["valid"], 0, **pair)})
    assert found["pairs_in_two_parts"] == 1
    user, item = (made.tables[f"{n}s"][f"{n}_id"][pair[f"{n}_idx"]].as_py() for n in ("user", "item"))
    ids = {"user_id": str(user), "item_id": str(item)}
    assert planted(made, lambda t: {"test": changed(t["test"], 0, **pair, **ids)})["pairs_in_two_parts"] == 1


def test_a_repeat_that_is_kept_is_no_leak(store: Store) -> None:
    made = clean(store, "random", repeats="keep")
    pair = {name: made.tables["train"][name][0].as_py() for name in ("user_idx", "item_idx")}
    assert "pairs_in_two_parts" not in planted(made, lambda t: {"valid": changed(t["valid"], 0, **pair)})


@pytest.mark.parametrize("name", ["user", "item"])
def test_an_id_of_the_test_alone_in_the_id_map(name: str, store: Store) -> None:
    made = clean(store, "leave_last_out")
    ids = made.tables[f"{name}s"]
    late = pa.table({f"{name}_id": [*ids[f"{name}_id"].to_pylist(), 999]}, schema=ids.schema)
    assert planted(made, lambda t: {f"{name}s": late}) == {"ids_without_rows": 1}


@pytest.mark.parametrize(("name", "order"), [("users", [0, 1, 1]), ("items", [1, 0, 2]), ("users", [0, 2, 1])])
def test_an_id_twice_or_out_of_order(name: str, order: list[int], store: Store) -> None:
    made = clean(store, "leave_last_out")
    ids = made.tables[name]
    mixed = ids.take([*order, *range(3, ids.num_rows)])
    assert planted(made, lambda t: {name: mixed})["ids_disordered"] == 1


def test_swapped_ids_name_other_rows(store: Store) -> None:
    made = clean(store, "random")
    swapped = made.tables["items"].take([1, 0, *range(2, made.tables["items"].num_rows)])
    assert planted(made, lambda t: {"items": swapped})["rows_foreign"] > 0


def test_a_rated_row_among_the_training_rows(store: Store) -> None:
    made = clean(store, "leave_last_out")
    row = {"timestamp": made.tables["train"]["timestamp"][0].as_py(), "rating": 1.0, "weight": 2.0}
    found = planted(made, lambda t: moved(t, "rated", 0, "train", **row))
    assert found["no_positives"] == 1
    assert found["rows_lost"] == 1


def test_a_weight_that_no_event_has(store: Store) -> None:
    made = clean(store, "random")
    assert planted(made, lambda t: {"train": changed(t["train"], 3, weight=1.0)})["no_positives"] == 1


def test_the_weight_of_another_event(store: Store) -> None:
    made = clean(store, "random")
    other = 2.5 - made.tables["train"]["weight"][3].as_py()
    assert planted(made, lambda t: {"train": changed(t["train"], 3, weight=other)}) == {"rows_foreign": 1}


def test_a_test_row_that_nobody_wrote(store: Store) -> None:
    """The user never took the item: neither order nor ids tell, the log does."""
    made = clean(store, "leave_last_out")
    first = made.tables["test"].to_pylist()[0]
    took = {
        item
        for user, item in zip(*log().select(["user_id", "item_id"]).to_pydict().values(), strict=True)
        if user == "0"
    }
    item = next(n for n, one in enumerate(made.tables["items"]["item_id"].to_pylist()) if str(one) not in took)
    ids = {"item_idx": item, "item_id": str(made.tables["items"]["item_id"][item].as_py())}
    assert first["user_id"] == "0"
    assert planted(made, lambda t: {"test": changed(t["test"], 0, **ids)}) == {"rows_foreign": 1}


def test_masked_rows_that_are_wrong_about_the_test(store: Store) -> None:
    made = clean(store, "leave_last_out")
    early = made.tables["rated"]["before_test"].to_pylist().index(True)
    late = made.tables["rated"]["before_test"].to_pylist().index(False)
    for row, value in ((early, False), (late, True)):
        found = planted(made, lambda t, row=row, value=value: {"rated": changed(t["rated"], row, before_test=value)})  # type: ignore[misc]
        assert found == {"rated_wrong": 1}


def test_masked_rows_that_are_missing_or_made_up(store: Store) -> None:
    made = clean(store, "leave_last_out")
    assert planted(made, lambda t: {"rated": t["rated"].slice(2)}) == {"rated_wrong": 2}
    assert planted(made, lambda t: {"rated": changed(t["rated"], 0, item_idx=99)})["indices_wrong"] == 1
    pairs = {
        (row["user_idx"], row["item_idx"])
        for name in ("train", "valid", "test", "rated")
        for row in made.tables[name].to_pylist()
    }
    item = next(n for n in range(14) if (0, n) not in pairs)
    assert made.tables["rated"]["user_idx"][0].as_py() == 0
    assert planted(made, lambda t: {"rated": changed(t["rated"], 0, item_idx=item)}) == {"rows_foreign": 1}
    known = made.tables["train"].to_pylist()[0]  # masked beside what is learned from: one row too many
    more = changed(
        pa.concat_tables([made.tables["rated"], made.tables["rated"].slice(0, 1)]), -1, item_idx=known["item_idx"]
    )
    assert planted(made, lambda t: {"rated": more})["rated_wrong"] == 1


def test_a_pair_that_judges_among_the_masked_rows(store: Store) -> None:
    made = clean(store, "given")
    judging = next(row for row in made.tables["test"].to_pylist() if row["user_idx"] >= 0 and row["item_idx"] >= 0)
    at = made.tables["rated"]["user_idx"].to_pylist().index(judging["user_idx"])
    found = planted(made, lambda t: {"rated": changed(t["rated"], at, item_idx=judging["item_idx"])})
    assert found["judging_pairs_known"] == 1


def test_test_rows_without_a_place(store: Store) -> None:
    made = clean(store, "leave_last_out")
    found = planted(made, lambda t: {"test": changed(t["test"], 0, place=None)})
    assert found["rows_twice"] == found["rows_disordered"] == 1


def test_a_validation_row_older_than_training_rows(store: Store) -> None:
    made = clean(store, "leave_last_out")
    first = made.tables["train"]["timestamp"][0].as_py()
    assert planted(made, lambda t: {"valid": changed(t["valid"], 0, timestamp=first)})["rows_after_the_last"] == 1


def test_features_may_be_named_as_what_is_audited(store: Store) -> None:
    names = ("rating", "weight", "timestamp", "place", "user_idx", "item_idx")
    users = pa.table({"user_id": ["1"], "item_id": ["x"], **{name: ["x"] for name in names}})
    items = pa.table({"item_id": ["3"], "user_id": ["x"], **{name: ["x"] for name in names}})
    made = write(store, log(), positives=LIKED, protocol="leave_last_out", features={"users": users, "items": items})
    assert not any(made.violations().values())


def test_times_that_only_the_events_that_count_have(store: Store) -> None:
    rows: list[tuple[object, ...]] = [(1, item, n, 5, "buy") for n, item in enumerate("dcba")]
    made = write(store, tiny_log(*rows, (1, "a", None, 5, "view")), positives=LIKED, protocol="leave_last_out")
    assert made.raw("test") == [("1", "a")]
    assert made.tables["test"]["timestamp"].null_count == 0
    assert not any(made.violations().values())


def test_a_pair_that_judges_left_in_training(store: Store) -> None:
    made = clean(store, "given")
    judging = next(row for row in made.tables["test"].to_pylist() if row["user_idx"] >= 0 and row["item_idx"] >= 0)
    rows = made.tables["train"].to_pylist()
    at = next(n for n, row in enumerate(rows) if row["user_idx"] == judging["user_idx"])
    found = planted(made, lambda t: {"train": changed(t["train"], at, item_idx=judging["item_idx"])})
    assert found["judging_pairs_known"] == 1


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_held_out_row_that_is_not_the_last(part: str, store: Store) -> None:
    made = clean(store, "leave_last_out")
    held, train = made.tables[part].to_pylist()[0], made.tables["train"].to_pylist()[0]
    assert (held["user_idx"], train["user_idx"]) == (0, 0)
    others = ("item_idx", "timestamp", "place")  # the user's first row and the one that is held out change places

    def swap(tables: Tables) -> Tables:
        later = changed(tables["train"], 0, **{name: held[name] for name in others})
        earlier = changed(tables[part], 0, **{name: train[name] for name in others})
        return {"train": later.sort_by("place"), part: earlier}

    assert planted(made, swap)["rows_after_the_last"] > 0


def test_two_test_rows_of_a_user(store: Store) -> None:
    made = clean(store, "leave_last_out")
    valid = made.tables["valid"].to_pylist()[0]
    ids = {"user_id": "0", "item_id": str(made.tables["items"]["item_id"][valid["item_idx"]].as_py())}
    found = planted(made, lambda t: moved(t, "valid", 0, "test", **ids))
    assert found == {"rows_after_the_last": 1}


def test_a_share_that_is_not_exact(store: Store) -> None:
    made = clean(store, "random")
    assert planted(made, lambda t: moved(t, "valid", 0, "train")) == {"shares_missed": 1}


@pytest.mark.parametrize(("part", "column"), [("train", "item_idx"), ("valid", "user_idx"), ("test", "item_idx")])
def test_an_index_beyond_the_id_map(part: str, column: str, store: Store) -> None:
    made = clean(store, "random")
    assert planted(made, lambda t: {part: changed(t[part], 0, **{column: 99})})["indices_wrong"] == 1


def test_a_known_id_that_the_test_does_not_know(store: Store) -> None:
    made = clean(store, "random")
    assert planted(made, lambda t: {"test": changed(t["test"], 0, item_idx=-1)}) == {"test_ids_wrong": 1}
    assert planted(made, lambda t: {"test": changed(t["test"], 0, item_id="nothing")})["test_ids_wrong"] == 1


def test_a_lost_row_and_one_that_is_there_twice(store: Store) -> None:
    made = clean(store, "random")
    assert planted(made, lambda t: {"train": t["train"].slice(1)}) == {"rows_lost": 1}
    twice = pa.concat_tables([made.tables["train"].slice(0, 1), made.tables["train"]])
    assert planted(made, lambda t: {"train": twice})["rows_twice"] == 1
    place = made.tables["train"]["place"][0].as_py()
    assert planted(made, lambda t: {"rated": changed(t["rated"], 0, place=place)})["rows_twice"] == 1


def test_a_later_row_before_an_earlier_one(store: Store) -> None:
    made = clean(store, "random")
    mixed = made.tables["train"].take([1, 0, *range(2, made.tables["train"].num_rows)])
    assert planted(made, lambda t: {"train": mixed}) == {"rows_disordered": 1}
    late = made.tables["train"]["timestamp"][1].as_py()
    first = made.tables["train"].to_pylist()[0]
    assert first["timestamp"] < late
    later = changed(changed(made.tables["train"], 0, timestamp=late), 1, timestamp=first["timestamp"])
    assert planted(made, lambda t: {"train": later})["rows_disordered"] == 1


def test_a_user_with_too_little_activity(store: Store) -> None:
    made = clean(store, "leave_last_out", min_user_rows=3)
    claim = replace(made.claim, config=made.claim.config.model_copy(update={"min_user_rows": 7}))
    assert replace(made, claim=claim).violations()["too_little_activity"] == 12


# the histories


def of_histories(store: Store, name: str, change: Callable[[list[list[Any]]], None], **config: Any) -> dict[str, int]:
    """What the audit finds once one file of lists is another."""
    refs = clean(store, config.pop("protocol", "leave_last_out"), **config).refs()
    writer = Writer(store.path("prepared/samples"), "prepared/samples")
    writer.folder.mkdir()
    files = write_histories(store, writer, refs)
    lists = [list(row["items"]) for row in store.read(files[name]).to_pylist()]
    change(lists)
    with HistoryFile(Writer(writer.folder, "prepared/samples"), "planted") as file:
        offsets = np.cumsum([0, *map(len, lists)])
        file.add(offsets, np.array([item for one in lists for item in one], dtype=np.int32))
    paths = {one: store.path(ref.path) for one, ref in files.items()} | {name: writer.path("planted.parquet")}
    return {fact: n for fact, n in of_samples.violations(store, paths, refs).items() if n}


def test_a_history_in_the_wrong_order(store: Store) -> None:
    def change(lists: list[list[int]]) -> None:
        lists[4][:2] = lists[4][1::-1]

    assert of_histories(store, "fitted", change) == {"fitted_wrong": 1}


def test_a_history_that_holds_its_target(store: Store) -> None:
    refs = clean(store, "leave_last_out").refs()
    test = store.read(refs.test).to_pylist()[2]

    def change(lists: list[list[int]]) -> None:
        lists[test["user_idx"]].append(test["item_idx"])

    assert of_histories(store, "known", change) == {"known_wrong": 1}


def test_a_validation_row_known_at_validation_time(store: Store) -> None:
    refs = clean(store, "leave_last_out").refs()
    valid = store.read(refs.valid).to_pylist()[0]

    def change(lists: list[list[int]]) -> None:
        lists[valid["user_idx"]].append(valid["item_idx"])

    assert of_histories(store, "fitted", change) == {"fitted_wrong": 1}


def test_a_test_row_that_is_served_to_nobody_and_users_without_a_list(store: Store) -> None:
    assert of_histories(store, "served", lambda lists: lists[3].pop() and None) == {"served_wrong": 1}


def test_a_mask_that_forgets_or_adds(store: Store) -> None:
    assert of_histories(store, "seen_known", lambda lists: lists[1].pop(0) and None) == {"seen_known_wrong": 1}


def test_a_mask_that_lets_a_low_rating_through(store: Store) -> None:
    def change(lists: list[list[int]]) -> None:
        lists[:] = [one[:-1] if n == 5 else one for n, one in enumerate(lists)]

    assert of_histories(store, "seen_served", change) == {"seen_served_wrong": 1}


def test_statistics_of_test_rows(store: Store) -> None:
    """Popularity and all else is counted in what is fitted: all that is served there would tell of the test."""
    refs = clean(store, "leave_last_out").refs()
    writer = Writer(store.path("prepared/samples"), "prepared/samples")
    writer.folder.mkdir()
    paths = {name: store.path(ref.path) for name, ref in write_histories(store, writer, refs).items()}
    found = of_samples.violations(store, paths | {"fitted": paths["served"]}, refs)
    assert found["fitted_wrong"] == 12


def test_a_user_too_many(store: Store) -> None:
    assert of_histories(store, "fitted", lambda lists: lists.append([0])) == {"fitted_wrong": 1}


def test_weights_of_other_rows(store: Store) -> None:
    refs = clean(store, "leave_last_out").refs()
    writer = Writer(store.path("prepared/samples"), "prepared/samples")
    writer.folder.mkdir()
    paths = {name: store.path(ref.path) for name, ref in write_histories(store, writer, refs).items()}
    found = of_samples.violations(store, paths | {"fitted_weights": paths["known_weights"]}, refs)
    assert found["weights_wrong"] == 12


def test_histories_that_know_what_comes_after_their_target(store: Store) -> None:
    """The parts themselves are wrong: a training row is later than the user's test row."""
    made = clean(store, "leave_last_out")
    test, train = made.tables["test"].to_pylist()[0], made.tables["train"].to_pylist()[0]
    writer = Writer(store.path("prepared/planted"), "prepared/planted")
    writer.folder.mkdir()
    swapped = changed(made.tables["test"], 0, place=train["place"])
    late = changed(made.tables["train"], 0, place=test["place"]).sort_by("place")
    refs = replace(made.refs(), test=writer.table("test", swapped), train=writer.table("train", late))
    files = write_histories(store, writer, refs)
    found = of_samples.violations(store, {name: store.path(ref.path) for name, ref in files.items()}, refs)
    assert found == {**dict.fromkeys(found, 0), "known_after_target": 1}


# what happens then


def test_a_leak_fails_the_step_and_nothing_keeps_a_final_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder that trains on the last row of each user, too."""
    snapshot = make_snapshot(store, log())

    def leaking(block: Any) -> Any:
        part_R = np.full(len(block), Part.TRAIN, dtype=np.int8)
        part_R[block.from_end() == 3] = Part.TEST
        return part_R

    monkeypatch.setattr("tasks.split.assign.leave_last_out", leaking)
    with pytest.raises(LeakFound, match="held-out rows are the user's last") as caught:
        split.fn(store, snapshot, SplitConfig(protocol="leave_last_out"), LIKED)
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)
    assert list((store.root / "prepared").iterdir()) == []


def test_histories_with_a_leak_fail_the_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = split.fn(store, make_snapshot(store, log()), SplitConfig(protocol="leave_last_out"), LIKED)
    honest = write_histories

    def leaking(store: Store, writer: Writer, split: SplitRefs) -> dict[str, DatasetRef]:
        return honest(store, writer, replace(split, train=split.valid))

    monkeypatch.setattr("tasks.sample.task.write_histories", leaking)
    before = set((store.root / "prepared").iterdir())
    with pytest.raises(LeakFound, match="what is fitted"):
        sample.fn(store, refs)
    assert set((store.root / "prepared").iterdir()) == before


@pytest.mark.parametrize("sentences", [of_split.SENTENCES, of_samples.SENTENCES])
def test_every_expectation_is_judged_by_itself(sentences: dict[str, str]) -> None:
    assert [found["passed"] for found in audited("tables", dict.fromkeys(sentences, 0), sentences)] == [True] * len(
        sentences
    )
    for fact, sentence in sentences.items():
        with pytest.raises(LeakFound) as caught:
            audited("tables", dict.fromkeys(sentences, 0) | {fact: 3}, sentences)
        assert [one for one in sentences.values() if one in str(caught.value)] == [sentence]


def test_what_was_audited_is_kept(store: Store) -> None:
    refs = split.fn(store, make_snapshot(store, log()), SplitConfig(protocol="temporal"), LIKED)
    samples = sample.fn(store, refs)
    for key, sentences in ((refs.key, of_split.SENTENCES), (samples.key, of_samples.SENTENCES)):
        findings = store.manifest(f"prepared/{key}")["audit"]
        assert all(found["passed"] and found["sentence"] in sentences.values() for found in findings)
    assert of_split.SENTENCES["rows_before_the_cut"] in [
        found["sentence"] for found in store.manifest(f"prepared/{refs.key}")["audit"]
    ]
