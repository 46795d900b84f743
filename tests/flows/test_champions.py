"""The champion in daily life: changed by nights, by hand, by hand in MLflow, and by whoever is killed at it."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows import republish
from flows.champions import freeze, history, promote, rollback, show_freeze, show_history, show_promote
from flows.cli import main
from flows.commands import POSITIONAL, FreezeConfig, HistoryConfig, PromoteConfig, RollbackConfig
from flows.config import PipelineConfig, Settings
from flows.crown import alarms, needs_a_floor, settle
from flows.keeper import Keeper, put_right
from flows.options import parse, read_options
from flows.recommend import recommend
from flows.republish import as_its_night
from tasks.errors import Busy, ConfigError, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.publish.config import RecommendConfig
from tasks.publish.pointer import are_whole, switch
from tasks.publish.task import publish
from tasks.store.lease import lease
from tasks.tracking import history as past
from tasks.tracking.history import announce, pending, read_history
from tests.factories import Killed
from tests.flows.championship import NAME, OTHER, K, Site, found, keep, killed_at, put_back

D: Any = {"ingest": IngestConfig(name="d")}
TRIAL: Any = {**D, "registered_model": OTHER}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Kept as it is with nobody as champion yet, and after versions 1, 2 and 3 were champions, one after the other."""
    made, kept = found(tmp_path_factory.mktemp("site")), tmp_path_factory.mktemp("kept")
    keep(made, kept / "0")
    for version in "123":
        made.night(version)
    keep(made, kept / "3")
    return replace(made, kept=kept)


@pytest.fixture
def site(made: Site) -> Site:
    """Nobody is the champion yet."""
    put_back(made, made.kept / "0")
    return made


@pytest.fixture
def third(made: Site) -> Site:
    """Versions 1, 2 and 3 were champions, one after the other."""
    put_back(made, made.kept / "3")
    return made


def settled(site: Site, name: str = NAME) -> list[str]:
    return settle(Keeper("d", name, site.settings), name)


def let_out(site: Site, version: str, **more: Any) -> dict[str, Any]:
    return promote(PromoteConfig(**{**D, "version": version, "reason": "the gate was wrong", **more}), site.settings)


def back(site: Site, **more: Any) -> dict[str, Any]:
    return rollback(RollbackConfig(**{**D, **more}), site.settings)


# rollback


def test_rollback_goes_to_the_champion_before_and_never_to_one_that_it_left(third: Site) -> None:
    assert back(third)["champion"] == third.champion() == "2"
    assert back(third)["champion"] == third.champion() == "1"
    third.night("4")
    result = back(third, reason="4 shows the same to all")
    assert third.champion() == "1"
    last = read_history(third.uri, NAME)[-1]
    assert (last.kind, last.before, last.reason, last.gain) == ("rollback", "4", "4 shows the same to all", None)
    assert result["changed"]["version"] == "1"
    with pytest.raises(ConfigError, match="no earlier champion"):
        back(third)
    assert third.champion() == "1"


def test_rollback_to_a_named_champion(third: Site) -> None:
    assert back(third, to="1")["champion"] == third.champion() == "1"
    assert back(third, to="1")["changed"] is None
    assert len(read_history(third.uri, NAME)) == 4
    with pytest.raises(ConfigError, match=r"4 of encore-d never was the champion; these were: 1, 3, 2"):
        back(third, to="4")
    with pytest.raises(ConfigError, match="no version '9'"):
        back(third, to="9")


def test_a_champion_that_is_deleted_is_no_way_back(third: Site) -> None:
    third.client.delete_model_version(NAME, "2")
    assert back(third)["champion"] == third.champion() == "1"


def test_a_version_that_cannot_be_loaded_is_no_way_back(third: Site) -> None:
    model_id = str(third.client.get_model_version(NAME, "2").source).rpartition("/")[2]
    folder = third.settings.data_dir.parent / f"mlartifacts/d/models/{model_id}/artifacts/artifacts/bundle"
    weights = folder / "weights.safetensors"
    weights.rename(folder / "gone")
    with pytest.raises(RunFailed, match="cannot be loaded"):
        back(third)
    (folder / "gone").rename(weights)
    assert third.champion() == "3"
    assert pending(third.uri, NAME) is None
    assert back(third, to="1")["champion"] == third.champion() == "1"


# promote


def test_a_refused_version_is_let_out_with_its_reason(third: Site) -> None:
    assert third.tags("4")["decision"] == "refused"
    result = let_out(third, "4")
    assert result["champion"] == third.champion() == "4"
    assert Path(result["published"]).resolve() == third.store.path(third.lists("4")) / "recommendations.parquet"
    last = read_history(third.uri, NAME)[-1]
    assert (last.kind, last.version, last.before, last.reason) == ("promote", "4", "3", "the gate was wrong")
    assert abs(datetime.fromisoformat(last.at) - datetime.now(UTC)) < timedelta(minutes=5)
    assert last.by
    assert third.tags("4")["decision"] == "promoted"
    assert third.tags("4")["promotion_reason"] == "promote: the gate was wrong"
    assert third.tags("3")["replaced_by"] == "4"


@pytest.mark.parametrize(
    ("tags", "gain"),
    [
        ({"decision": "waiting", "champion": "3", "gain": "0.02"}, 0.02),
        ({"decision": "waiting", "champion": "1", "gain": "0.02"}, None),  # beside another one
        ({"decision": "waiting", "champion": "3", "gain": ""}, None),
        ({"decision": "refused", "champion": "3", "gain": "-0.02"}, None),  # the gate is overruled: a new beginning
    ],
)
def test_what_the_gate_measured_stays_known_where_a_person_approves(
    third: Site, tags: dict[str, str], gain: float | None
) -> None:
    for key, value in tags.items():
        third.client.set_model_version_tag(NAME, "4", key, value)
    let_out(third, "4")
    assert read_history(third.uri, NAME)[-1].gain == gain


def test_the_champion_needs_no_promotion(third: Site, capsys: pytest.CaptureFixture[str]) -> None:
    before = third.client.get_registered_model(NAME).tags
    result = let_out(third, "3")
    assert result["changed"] is None
    assert third.client.get_registered_model(NAME).tags == before
    show_promote(result)
    assert "encore-d version 3 is the champion already: nothing was changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "more", "told"),
    [
        ("9", {}, r"encore-d has no version '9' \(the latest are 5, 4, 3, 2, 1\)"),
        ("latest", {}, "no version 'latest'"),
        ("5", {}, "version 5 of encore-d was trained on 'elsewhere', not on 'd'"),
        ("4", {"reason": "  "}, "needs a reason"),
        (
            "4",
            {"ingest": IngestConfig(name="e")},
            r"no model 'encore-e' is registered \(registered are encore-d, trial",
        ),
        ("1", {**TRIAL, "ingest": IngestConfig(name="e")}, "no dataset 'e'"),
    ],
)
def test_what_cannot_be_promoted_is_told_in_a_line(third: Site, version: str, more: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        let_out(third, version, **more)
    assert caught.value.exit_status == 2
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert third.champion() == "3"
    assert len(read_history(third.uri, NAME)) == 3


def test_a_reason_must_be_given() -> None:
    with pytest.raises(ConfigError, match="reason"):
        read_options(parse(["3"], ("version",)), None, "promote")


def test_the_commands_of_the_operators_page_are_taken() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks, spans = re.findall(r"^encore [^#\n]+", text, re.M), re.findall(r"`(encore [^`]*--[^`]*)`", text)
    for line in (*blocks, *spans):
        command, *words = shlex.split(line)[1:]
        read_options(parse(words, POSITIONAL.get(command, ())), None, command)
    assert {line.split()[1] for line in (*blocks, *spans)} == {"history", "promote", "rollback", "freeze"}
    assert len(blocks) == 6
    assert len(spans) >= 5


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    nowhere = Settings(data_dir=tmp_path / "data", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(ConfigError, match="no tracking database"):
        history(HistoryConfig(**D), nowhere)
    with pytest.raises(ConfigError, match="no tracking database"):
        rollback(RollbackConfig(**D), nowhere)
    assert list(tmp_path.iterdir()) == []


def test_a_running_night_is_named(third: Site) -> None:
    with lease(third.store, "d"), pytest.raises(Busy, match=r"process \d+.*stop it"):
        back(third)
    assert third.champion() == "3"


# lists that are gone


def test_lists_that_are_gone_are_made_again_as_the_night_made_them(third: Site) -> None:
    folder = third.store.path(third.lists("2"))
    before = pq.read_table(folder / "recommendations.parquet", partitioning=None)
    (folder / "recommendations.parquet").write_bytes(b"half")
    assert back(third)["champion"] == third.champion() == "2"
    again = pq.read_table(third.store.path("published/d/recommendations.parquet"), partitioning=None)
    assert again.equals(before)
    assert max(again["rank"].to_pylist()) == K


def test_what_is_asked_for_goes_before_what_the_night_did(third: Site) -> None:
    for path in third.store.path(third.lists("2")).iterdir():
        path.unlink()
    back(third, recommend={"k": 2})
    again = pq.read_table(third.store.path("published/d/recommendations.parquet"), partitioning=None)
    assert third.champion() == "2"
    assert max(again["rank"].to_pylist()) == 2


def test_made_anew_they_are_as_the_night_was_told() -> None:
    asked, night = RecommendConfig(), {"recommend.k": "7", "recommend.seen": "exclude", "split.repeats": "keep"}
    assert as_its_night(night, asked) == RecommendConfig(k=7, seen="include")
    assert as_its_night({**night, "split.repeats": "drop_from_test"}, asked) == RecommendConfig(k=7)
    assert as_its_night(night, RecommendConfig(seen="exclude", users=("1",))) == RecommendConfig(k=7, seen="exclude")
    assert as_its_night({}, asked) == asked


def test_only_the_versions_own_lists_are_taken_for_them(third: Site) -> None:
    store, folder = third.store, third.lists("1")
    assert are_whole(store, folder, "d", "1")
    assert not are_whole(store, folder, "d", "2")
    assert not are_whole(store, folder, "e", "1")
    assert not are_whole(store, "recommendations/run=none", "d", "1")
    (store.path(folder) / "recommendations.parquet").unlink()
    assert not are_whole(store, folder, "d", "1")


def test_production_that_lost_its_lists_gets_the_champions_again(third: Site) -> None:
    third.store.path("published/d").unlink()
    assert settled(third) == ["published/d showed nothing: it shows the champion, version 3, again"]
    assert third.champion() == "3"
    switch(third.store, "d", third.lists("1"))
    assert settled(third) == ["published/d showed version 1: it shows the champion, version 3, again"]
    assert third.champion() == "3"
    assert settled(third) == []
    assert len(read_history(third.uri, NAME)) == 3


# killed


@pytest.mark.parametrize(
    ("step", "after", "ends_as"),
    [
        (1, False, "3"),  # nothing was said yet: the night runs again
        (1, True, "4"),
        (2, False, "4"),
        (2, True, "4"),
        (3, False, "4"),
        (3, True, "4"),
        (4, False, "4"),
        (4, True, "4"),
    ],
)
def test_killed_anywhere_the_next_one_finishes_it_once(third: Site, step: int, after: bool, ends_as: str) -> None:
    with pytest.raises(Killed):
        third.night("4", keeper=killed_at(step, after))
    told = settled(third)
    assert third.champion() == ends_as
    assert len(read_history(third.uri, NAME)) == int(ends_as)
    assert pending(third.uri, NAME) is None
    assert len(told) == (ends_as == "4" and (step, after) != (4, True))
    assert settled(third) == []
    assert third.tags("4")["decision"] == ("promoted" if ends_as == "4" else "refused")


@pytest.mark.parametrize("cut", ["_tell_versions", "_describe", "withdraw"])
def test_killed_while_it_is_written_down(third: Site, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(past, cut, kill)
    with pytest.raises(Killed):
        third.night("4")
    monkeypatch.undo()
    settled(third)
    assert third.champion() == "4"
    assert len(read_history(third.uri, NAME)) == 4
    assert pending(third.uri, NAME) is None
    assert third.tags("4")["decision"] == "promoted"
    assert str(third.client.get_registered_model(NAME).description).startswith("Champion: version 4")


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_killed_settlement_is_settled(third: Site, step: int) -> None:
    announce(third.uri, third.event("4"))
    with pytest.raises(Killed):
        settle(killed_at(step - 1, True)("d", NAME, third.settings), NAME)
    settled(third)
    assert third.champion() == "4"
    assert len(read_history(third.uri, NAME)) == 4


def test_lists_that_vanished_meanwhile_are_made_again(third: Site) -> None:
    with pytest.raises(Killed):
        third.night("4", keeper=killed_at(2, True))
    for path in third.store.path(third.lists("4")).iterdir():
        path.unlink()
    settled(third)
    assert third.champion() == "4"


def test_a_command_finishes_what_a_night_began(third: Site) -> None:
    with pytest.raises(Killed):
        third.night("4", keeper=killed_at(1, True))
    result = back(third)
    assert len(result["settled"]) == 1
    assert third.champion() == "3"
    assert [one.version for one in read_history(third.uri, NAME)] == ["1", "2", "3", "4", "3"]


def test_a_version_that_vanished_meanwhile_is_given_up(third: Site) -> None:
    announce(third.uri, third.event("4"))
    third.client.delete_model_version(NAME, "4")
    assert "stays undone: it is gone" in settled(third)[0]
    assert third.champion() == "3"
    assert settled(third) == []


def test_whose_lists_can_no_longer_be_made_is_not_crowned(third: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RunFailed("the champion cannot be loaded")

    event = third.event("4")
    announce(third.uri, event)
    for path in third.store.path(event.lists).iterdir():
        path.unlink()
    monkeypatch.setattr(republish, "load_champion", broken)
    [told] = settled(third)
    assert "cannot be made again" in told
    assert third.champion() == "3"


# by hand in MLflow


def test_an_alias_that_was_moved_by_hand_is_followed(third: Site) -> None:
    third.alias("1")
    assert settled(third) == ["the alias `champion` was moved in MLflow: version 1 is the champion"]
    assert third.champion() == "1"
    last = read_history(third.uri, NAME)[-1]
    assert (last.kind, last.version, last.before, last.number) == ("by hand", "1", "3", 4)
    assert settled(third) == []


def test_an_alias_that_was_taken_away_leaves_nobody_and_lets_a_floor_out(third: Site) -> None:
    around = Keeper("d", NAME, third.settings)
    assert not needs_a_floor(around, NAME)
    third.alias(None)
    assert settled(third) == ["the alias `champion` was taken away in MLflow: nobody is the champion"]
    assert third.champion() is None
    assert third.shows() == ("3", NAME)  # readers find lists until the night has better ones
    assert needs_a_floor(around, NAME)
    assert settled(third) == []
    assert back(third)["champion"] == third.champion() == "2"
    assert not needs_a_floor(around, NAME)


def test_a_champion_from_before_the_history_gets_into_it(site: Site) -> None:
    site.alias("2")
    switch(site.store, "d", site.lists("2"))
    assert settled(site) == []
    assert site.champion() == "2"
    [event] = read_history(site.uri, NAME)
    assert (event.kind, event.before, event.reason) == ("by hand", None, "champion since before the history began")


def test_the_hand_counts_for_more_than_the_night_that_was_killed(third: Site) -> None:
    announce(third.uri, third.event("4"))
    third.alias("1")
    told = settled(third)
    assert "stays undone: the champion was changed by hand to version 1" in told[0]
    assert third.champion() == "1"
    assert third.tags("4")["decision"] == "waiting"


def test_the_hand_counts_for_more_than_the_night_that_runs(third: Site) -> None:
    event = third.event("4")
    for move in ("1", None):
        third.alias(move)
        with pytest.raises(RunFailed, match=r"changed by hand to (version 1|nobody).*encore promote 4 --ingest.name=d"):
            _crown(third, event)
    assert pending(third.uri, NAME) is None
    assert third.shows() == ("3", NAME)
    [waits] = history(HistoryConfig(**D), third.settings)["waiting"]
    assert waits["version"] == "4"
    assert waits["why"] == ["undisturbed: FAILED: the champion was changed by hand to nobody"]


def test_a_rollback_that_somebody_got_ahead_of_leaves_its_version_as_it_is(third: Site) -> None:
    announce(third.uri, replace(third.event("2"), kind="rollback"))
    third.alias("1")
    assert "stays undone" in settled(third)[0]
    assert third.champion() == "1"
    assert third.tags("2")["decision"] == "promoted"


def test_a_freeze_counts_for_the_night_that_runs(third: Site) -> None:
    event = third.event("4")
    freeze(FreezeConfig(**D, reason="the feed is odd"), third.settings)
    with pytest.raises(RunFailed, match="frozen: the feed is odd"):
        _crown(third, event)
    announce(third.uri, event)  # and for one that was killed before the alias moved
    assert "stays undone: the champion was frozen" in settled(third)[0]
    assert third.champion() == "3"
    third.alias("4")
    announce(third.uri, event)  # but not where it has moved: it is finished
    settled(third)
    assert third.champion() == "4"


def _crown(site: Site, event: past.Event) -> None:
    from flows.crown import crown

    crown(Keeper("d", NAME, site.settings), event)


def test_a_moved_alias_whose_version_is_broken_is_told_and_leaves_the_lists(third: Site) -> None:
    third.alias("5")
    told = settled(third)
    assert "version 5 is the champion, but its lists are gone and cannot be made again" in told[0]
    assert third.shows() == ("3", NAME)
    assert read_history(third.uri, NAME)[-1].version == "5"
    assert back(third)["champion"] == third.champion() == "3"


def test_a_night_in_which_nothing_changed_puts_it_right_too(third: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    third.alias("1")
    with lease(third.store, "d"):
        assert put_right("d", NAME, third.settings) == []
    assert "version 1" in put_right("d", NAME, third.settings)[0]
    assert third.champion() == "1"
    switch(third.store, "d", third.lists("3"))
    assert len(put_right("d", NAME, third.settings)) == 1
    announce(third.uri, third.event("4"))
    assert len(put_right("d", NAME, third.settings)) == 1
    assert third.champion() == "4"
    monkeypatch.delattr("flows.crown.settle")  # where all agrees there is nothing to import
    assert put_right("d", NAME, third.settings) == []
    assert put_right("d", OTHER, third.settings) == []


# two registered models of one dataset


def test_another_registered_model_never_takes_production_by_itself(third: Site) -> None:
    third.night("1", OTHER)
    assert third.champion() == "3"  # production shows it as before
    assert [one.version for one in read_history(third.uri, OTHER)] == ["1"]
    assert settled(third, OTHER) == []
    now = datetime.now(UTC)
    [alarm] = alarms(Keeper("d", OTHER, third.settings), OTHER, 10**6, now)
    assert "shows the lists of the registered model 'encore-d'" in alarm
    assert alarms(Keeper("d", NAME, third.settings), NAME, 10**6, now) == []
    with pytest.raises(ConfigError, match=r"'encore-d'.*--take_over"):
        promote(PromoteConfig(**TRIAL, version="1", reason="x"), third.settings)
    assert third.shows() == ("3", NAME)


def test_lists_made_by_hand_do_not_take_it_either(third: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.recommend.publish", publish.fn)  # without Prefect's server
    third.night("1", OTHER)
    trial = PipelineConfig.model_validate({"ingest": {"name": "d"}, "registered_model": OTHER})
    with pytest.raises(ConfigError, match=r"'encore-d'.*--take_over"):
        recommend.fn(trial, third.settings)
    few = trial.model_copy(update={"recommend": RecommendConfig(users=("u10",))})
    assert recommend.fn(few, third.settings)["rows"] == 10
    assert third.shows() == ("3", NAME)
    ours = trial.model_copy(update={"registered_model": NAME})
    assert recommend.fn(ours, third.settings)["model"]["version"] == third.champion() == "3"


def test_production_is_handed_over_by_a_persons_word(third: Site) -> None:
    third.night("1", OTHER)
    promote(PromoteConfig(**TRIAL, version="1", reason="it won", take_over=True), third.settings)
    assert third.champion(OTHER) == "1"
    third.night("4")  # the other one's nights go on, and leave production alone
    assert settled(third) == []
    assert third.shows() == ("1", OTHER)
    with pytest.raises(ConfigError, match="'trial'"):
        let_out(third, "2")


def test_a_handing_over_that_was_killed_is_finished(third: Site) -> None:
    third.night("1", OTHER)
    event = past.Event(
        OTHER, "1", "1", "promote", "x", "ann", "2026-03-09T03:00:00+00:00", "d", third.lists("1", OTHER), None, 0, True
    )
    announce(third.uri, event)
    settled(third, OTHER)
    assert third.champion(OTHER) == "1"


def test_a_floors_lists_are_nobodys(site: Site) -> None:
    folder = site.store.path("recommendations/run=floor")
    folder.mkdir(parents=True)
    lists = site.store.path(site.lists("1")) / "recommendations.parquet"
    (folder / "recommendations.parquet").write_bytes(lists.read_bytes())
    (folder / "_manifest.json").write_text(json.dumps({"model_version": "floor/popularity", "registered_model": NAME}))
    switch(site.store, "d", "recommendations/run=floor")
    assert needs_a_floor(Keeper("d", OTHER, site.settings), OTHER)
    site.night("1", OTHER)
    assert site.champion(OTHER) == "1"
    assert not needs_a_floor(Keeper("d", NAME, site.settings), NAME)


# freeze, history, alarms


def test_frozen_with_who_and_why_until_it_is_lifted(third: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="needs a reason"):
        freeze(FreezeConfig(**D), third.settings)
    with lease(third.store, "d"):  # a night runs
        result = freeze(FreezeConfig(**D, reason="the feed is odd"), third.settings)
    assert str(past.frozen(third.uri, NAME)).startswith("the feed is odd (")
    show_freeze(result)
    let_out(third, "4")  # a person may
    assert third.champion() == "4"
    show_freeze(freeze(FreezeConfig(**D, lift=True), third.settings))
    assert past.frozen(third.uri, NAME) is None
    show_freeze(freeze(FreezeConfig(**D, lift=True), third.settings))
    out = capsys.readouterr().out
    assert "no night changes the champion of encore-d: the feed is odd" in out
    assert "to end it: encore freeze --ingest.name=d --lift" in out
    assert "may change the champion of encore-d again" in out
    assert "is not frozen: nothing was changed" in out


def test_history_tells_all_that_a_person_asks(third: Site, capsys: pytest.CaptureFixture[str]) -> None:
    third.client.set_model_version_tag(NAME, "4", "decision", "waiting")
    third.client.set_model_version_tag(NAME, "4", "check: approved by a person", "FAILED: gate.approval is manual")
    third.client.set_model_version_tag(NAME, "5", "decision", "refused")
    third.client.set_model_version_tag(NAME, "5", "check: beats popularity", "FAILED: by -0.1")
    third.client.set_model_version_tag(NAME, "5", "check: has a score", "passed: 0.2")
    back(third, reason="3 is broken")
    result = history(HistoryConfig(**D), third.settings)
    assert [one["version"] for one in result["reigns"]] == ["1", "2", "3", "2"]
    assert [round(one["days"], 6) for one in result["reigns"][:2]] == [1, 1]
    assert result["champion"] == "2"
    assert result["refused"] == [{"version": "5", "as_of": "", "why": ["beats popularity: FAILED: by -0.1"]}]
    assert [one["version"] for one in result["waiting"]] == ["4"]
    show_history(result)
    out = capsys.readouterr().out
    assert "encore promote 4 --ingest.name=d --reason=..." in out
    assert "refused: version 5, beats popularity: by -0.1" in out
    [row] = [line for line in out.splitlines() if "3 is broken" in line]
    assert row.split()[2] == "2"
    assert out.count("+0.0100") == 3
    let_out(third, "4")
    assert history(HistoryConfig(**D), third.settings)["waiting"] == []


def test_history_changes_nothing_and_tells_what_is_unfinished(third: Site, capsys: pytest.CaptureFixture[str]) -> None:
    announce(third.uri, third.event("4"))
    freeze(FreezeConfig(**D, reason="wait"), third.settings)
    switch(third.store, "d", third.lists("1"))
    before = third.client.get_registered_model(NAME)
    show_history(history(HistoryConfig(**D), third.settings))
    after = third.client.get_registered_model(NAME)
    assert (after.tags, after.aliases) == (before.tags, before.aliases)
    assert third.shows() == ("1", NAME)
    out = capsys.readouterr().out
    for line in ("a change to version 4 was begun", "frozen: wait (", "published/d shows the lists of version 1"):
        assert line in out
    past.withdraw(third.uri, NAME)
    for move, line in (("1", "is at version 1"), (None, "was taken away")):
        third.alias(move)
        show_history(history(HistoryConfig(**D), third.settings))
        assert f"the alias `champion` {line}, by hand" in capsys.readouterr().out


def test_nobody_has_been_champion_yet(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    result = history(HistoryConfig(**D), site.settings)
    assert (result["champion"], result["reigns"], result["published"]) == (None, [], None)
    show_history(result)
    assert "encore-d has had no champion yet" in capsys.readouterr().out


def test_an_old_champion_is_an_alarm(third: Site) -> None:
    [told] = alarms(Keeper("d", NAME, third.settings), NAME, 14, datetime(2026, 4, 1, tzinfo=UTC))
    assert "version 3 has been the champion for 29 days" in told


def test_as_a_person_types_it(third: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A look at the history needs neither Prefect nor a model."""
    file = tmp_path / "r.json"
    where = (f"--data_dir={third.store.root}", f"--tracking_uri={third.uri}", "--ingest.name=d", f"--json={file}")
    code = (
        "import sys; from flows.cli import main; status = main(sys.argv[1:]);"
        "print([m for m in ('prefect', 'mlflow.pyfunc') if m in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, "history", *where], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
    assert json.loads(file.read_text())["champion"] == "3"
    assert main(["rollback", *where]) == 0
    assert json.loads(file.read_text())["champion"] == third.champion() == "2"
    out = capsys.readouterr().out
    assert "encore-d version 2 is the champion now, version 3 before it" in out
    assert "encore freeze --ingest.name=d --reason=..." in out
    assert main(["promote", "9", *where, "--reason=x"]) == 2
    assert json.loads(file.read_text())["error"]["kind"] == "configuration"
