"""The memory of a search, and the processes that work for it."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.storages import RDBStorage

from models.search import Choice, Real, Space, Whole
from tasks.tune.plots import draw_history, draw_slices
from tasks.tune.slots import BROKEN, DIED, DONE, STEP, THREADS, Slot, Slots
from tasks.tune.study import BEFORE_PRUNING, MOST_TRIES, Asked, Study, Tried
from tests.tasks.slot_work import work

SPACE: dict[str, Space] = {
    "model.a": Real(low=0, high=1),
    "model.b": Whole(low=1, high=64, log=True),
    "model.c": Choice(values=("x", 2)),
}
FIRST = {"model.a": 0.5, "model.b": 8, "model.c": "x"}


def worth(asked: Asked) -> float:
    """Best at a = .3."""
    return 1 - (float(asked.params.get("model.a", 0)) - 0.3) ** 2


def search(folder: Path, trials: int, seed: int = 7, die: Iterable[int] = (), **more: Any) -> Study:
    """Goes on with a search; the process is killed while it tries one of `die`."""
    study = Study(folder, SPACE, more.pop("first", FIRST), seed, **more)
    while study.is_open(trials):
        asked = study.ask()
        if asked.place in die:
            return study
        if asked.place % 6 == 4:
            study.tell(asked.number, "failed", error="diverged")
        else:
            study.tell(asked.number, "complete", worth(asked), seconds=1.5)
    return study


def told(study: Study) -> list[tuple[int, str, float | None, dict[str, Any]]]:
    return [(one.place, one.state, one.value, dict(one.params)) for one in study.tried]


def test_the_first_trial_is_the_default_and_all_are_drawn_from_the_space(tmp_path: Path) -> None:
    study = search(tmp_path, 12)
    assert told(study)[0] == (0, "complete", 1 - 0.2**2, FIRST)
    assert [one.place for one in study.tried] == list(range(12))
    for one in study.tried:
        assert all(SPACE[name].holds(value) for name, value in one.params.items())
        assert one.params.keys() == SPACE.keys()
    assert len({one.params["model.a"] for one in study.tried}) == 12
    assert [one.place for one in study.tried if one.state == "failed"] == [4, 10]
    assert study.tried[4].told == {"error": "diverged"}
    assert study.tried[0].told == {"seconds": 1.5}


def test_the_first_trial_leaves_to_the_fit_what_has_no_default(tmp_path: Path) -> None:
    study = search(tmp_path, 3, first={"model.b": 8})
    assert dict(study.tried[0].params) == {"model.b": 8}
    assert study.tried[1].params.keys() == SPACE.keys()
    nothing = search(tmp_path / "nothing", 2, first={})
    assert [len(one.params) for one in nothing.tried] == [0, 3]


def test_what_the_fit_chose_by_itself_is_known_to_what_is_drawn_next(tmp_path: Path) -> None:
    """It is no trial of its own, and the random draws are the same; those that learn are not."""

    def drawn(folder: Path, chosen: dict[str, Any] | None) -> Study:
        study = Study(folder, SPACE, {"model.b": 8}, 0)
        for place in range(13):
            asked = study.ask()
            study.tell(asked.number, "complete", 0.0 if place else 1.0, chosen=chosen)
        return study

    chosen = {"model.a": 0.9, "model.b": 60, "model.c": "x", "model.other": 3}  # b was not the fit's to choose
    with_it, without = drawn(tmp_path / "with", chosen), drawn(tmp_path / "without", None)
    (learnt,) = [one for one in with_it._all() if one not in with_it._trials()]
    assert (learnt.params, learnt.value) == ({"model.a": 0.9, "model.b": 8, "model.c": "x"}, 1.0)
    assert [one.place for one in with_it.tried] == list(range(13))
    assert told(with_it)[:9] == told(without)[:9]
    assert told(with_it)[12] != told(without)[12]
    beyond = drawn(tmp_path / "beyond", {"model.a": 7.0, "model.c": "x"})  # not in the space
    assert told(beyond) == told(without)


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """At the first trial, in the random ones, among those that are drawn by what came before, and twice at one."""
    whole = told(search(tmp_path / "whole", 14))
    killed = tmp_path / "killed"
    assert search(killed, 14, die=[0]).repeated == 0
    for place in (3, 12, 12):
        assert search(killed, 14, die=[place]).repeated == 1
    last = search(killed, 14)
    assert last.repeated == 1
    assert told(last) == whole
    assert told(search(killed, 14)) == whole  # nothing is left to do
    assert told(search(killed, 15))[:14] == whole
    assert told(search(tmp_path / "other", 3, seed=8))[1:] != whole[1:3]


def test_killed_while_it_takes_up_what_was_killed_it_goes_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its writes in turn."""
    whole = told(search(tmp_path / "whole", 6))
    writes = ("set_trial_user_attr", "_create_new_trial", "set_trial_state_values")
    for place, name in enumerate(writes, start=1):
        killed = tmp_path / name
        search(killed, 6, die=[place])
        with monkeypatch.context() as patch:
            patch.setattr(RDBStorage, name, kill)
            with pytest.raises(KeyboardInterrupt):
                search(killed, 6)
        assert told(search(killed, 6)) == whole


def kill(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_a_trial_that_kills_its_process_each_time_is_given_up(tmp_path: Path) -> None:
    for _ in range(MOST_TRIES):
        search(tmp_path, 5, die=[2])
    study = search(tmp_path, 5)
    assert [one.place for one in study.tried] == [0, 1, 2, 3, 4]
    assert study.tried[2].state == "failed"
    assert study.tried[2].told["error"] == f"the process died {MOST_TRIES} times while it was tried"


def test_a_place_that_is_free_again_is_taken_by_the_next(tmp_path: Path) -> None:
    """Killed while it was drawn: it has no settings that could be repeated."""
    study = Study(tmp_path, SPACE, FIRST, 0)
    asked = [study.ask() for _ in range(3)]
    study.tell(asked[2].number, "complete", 0.5)
    Study(tmp_path, {**SPACE, "model.d": Real(low=0, high=1)}, {}, 0)  # to this one neither is whole
    assert [one.place for one in search(tmp_path, 4).tried] == [0, 1, 2, 3]


def test_the_best_is_the_first_of_the_best_that_came_to_their_end(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, FIRST, 0)
    assert study.best is None
    for value in (0.2, 0.5, 0.5, 0.1):
        study.tell(study.ask().number, "complete", value)
    asked = study.ask()
    study.report(asked.number, 1, 0.9)
    study.report(asked.number, 2, 0.7)
    study.tell(asked.number, "pruned")
    assert study.best is not None
    assert (study.best.place, study.best.value) == (1, 0.5)
    assert (study.tried[4].state, study.tried[4].value) == ("pruned", 0.9)


def test_what_is_below_the_median_after_a_quarter_of_the_epochs_is_given_up(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, FIRST, 0, epochs=16)
    for best in range(1, BEFORE_PRUNING + 1):
        asked = study.ask()
        assert not any(study.report(asked.number, epoch, 0.1 * best) for epoch in range(1, 17))
        study.tell(asked.number, "complete", 0.1 * best)
    poor, good = study.ask(), study.ask()
    assert [study.report(poor.number, epoch, 0.24) for epoch in range(1, 7)] == [False] * 3 + [True] * 3
    assert not any(study.report(good.number, epoch, 0.26) for epoch in range(1, 17))


def test_trials_that_run_beside_each_other_are_different(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, FIRST, 0, workers=3)
    asked = [study.ask() for _ in range(3)]
    assert len({str(one.params) for one in asked}) == 3
    assert study.begun == 3
    assert not study.is_open(3)
    assert study.tried == []
    alone, beside = (search(tmp_path / str(workers), 12, workers=workers) for workers in (1, 2))
    drawn = [[dict(one.ask().params) for _ in range(2)] for one in (alone, beside)]
    assert drawn[0][0] == drawn[1][0]
    assert drawn[0][1] != drawn[1][1]  # what is still being tried is known to what is drawn beside it


def test_what_matters_is_told_once_there_are_enough_trials(tmp_path: Path) -> None:
    assert search(tmp_path, 9).importance() == {}
    shares = search(tmp_path, 30).importance()
    assert shares.keys() == SPACE.keys()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) == "model.a"


def points(line: Any) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in line.get_xydata()]


def test_the_pictures_have_a_mark_for_each_trial_and_a_panel_for_each_setting() -> None:
    tried = [
        Tried(0, "complete", 0.5, FIRST),
        Tried(1, "failed", None, FIRST, {"error": "diverged"}),
        Tried(2, "pruned", 0.7, {"model.a": 0.1, "model.b": 2, "model.c": 2}),
        Tried(3, "complete", 0.6, {"model.b": 64}),
    ]
    drawn = [points(line) for line in draw_history(tried, tried[3]).axes[0].lines]
    marks = {(x, y) for line in drawn if len(line) == 1 for x, y in line}
    assert marks == {(0, 0.5), (2, 0.7), (3, 0.6), (1, 0.03)}
    assert [line for line in drawn if len(line) > 1] == [[[0, 0.5], [2, 0.5], [3, 0.6]]]  # given up is no best
    panels = draw_slices(tried, tried[3], SPACE).axes
    assert [panel.get_title(loc="left") for panel in panels] == list(SPACE)
    assert [len(panel.lines) for panel in panels] == [2, 3, 2]
    assert [points(line) for line in panels[2].lines] == [[[0, 0.5]], [[1, 0.7]]]
    assert panels[1].get_xscale() == "log"


# processes


def heard(slot: Slot) -> tuple[str, Any]:
    return slot.receive()


def ended(pid: int) -> None:
    """Waits until the process is wholly gone: its first thread alone may be a zombie while others still end."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_process_reports_is_answered_and_goes_on_to_the_next_job() -> None:
    with Slots(work, 1) as slots:
        (slot,) = slots.all
        slot.begin(2)
        assert heard(slot) == (STEP, (0, 0.0, {"more": 0}))
        slot.answer(True)
        assert heard(slot) == (STEP, (1, 0.1, {"more": 1}))
        slot.answer(False)
        kind, (pid, answers) = heard(slot)
        assert (kind, answers) == (DONE, [True, False])
        assert pid != os.getpid()
        slot.begin("break")
        kind, text = heard(slot)
        assert kind == BROKEN
        assert "ValueError: no such thing" in text
        slot.begin(0)
        assert heard(slot) == (DONE, (pid, []))
        slot.begin("die")
        assert heard(slot) == (DIED, -signal.SIGKILL)
        slot.begin(0)  # another one has taken its place
        kind, (other, _) = heard(slot)
        assert (kind, other != pid) == (DONE, True)
        psutil.Process(other).kill()
        ended(other)
        slot.begin(1)
        assert heard(slot)[0] == STEP
        slot.answer(True)
        kind, (third, _) = heard(slot)
        assert (kind, third != other) == (DONE, True)
        slot.begin(1)
        assert heard(slot)[0] == STEP
        psutil.Process(third).kill()  # while it waits for the answer
        ended(third)
        slot.answer(True)
        assert heard(slot) == (DIED, -signal.SIGKILL)
    assert not psutil.pid_exists(third)


def test_processes_work_beside_each_other_share_the_cores_and_end_with_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(THREADS[0], "3")
    monkeypatch.setenv(THREADS[2], "7")
    with Slots(work, 2) as slots:
        one, other = slots.all
        one.begin("threads")
        assert heard(one) == (DONE, ["3", "4", "4", "4"])
        assert (os.environ[THREADS[0]], os.environ[THREADS[2]], THREADS[1] in os.environ) == ("3", "7", False)
        one.begin("sleep")
        other.begin(0)
        assert slots.speaking([one, other]) == [other]
        pids = [child.pid for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(pids) == 2
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
