"""`encore up`, for real: servers, worker, deployments, a run, and nothing left afterwards."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.processes import DIRECT, Part, Parts, answers, call, end, free_port, last_line
from flows.up import POOL
from tasks.errors import RunFailed

TINY = {
    "ingest": {"source": "synthetic", "rows": 2000, "users_count": 50, "items_count": 60},
    "trainer": {"epochs": 2},
}


@dataclass
class Running:
    """An `encore up` in a process of its own, and what it printed."""

    process: subprocess.Popen[str]
    folder: Path
    env: dict[str, str]
    prefect: str
    mlflow: str

    def api(self, path: str, body: Any = None) -> Any:
        """One call of Prefect's API."""
        url = f"{self.prefect}/api/{path}"
        return get(url) if body is None else call(url, body)


def get(url: str) -> Any:
    with DIRECT.open(url, timeout=30) as reply:
        return json.load(reply)


def command(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "flows", "up"),
        f"--data_dir={folder / 'data'}",
        f"--tracking_uri=sqlite:///{folder / 'mlflow.db'}",
    ]


def start(folder: Path) -> Running:
    env = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
    env |= {"PREFECT_SERVER_API_PORT": str(free_port(14200)), "MLFLOW_PORT": str(free_port(15000))}
    process = subprocess.Popen(command(folder), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "deployment run" in line:
            break
    found = re.search(r"Prefect +(http\S+)/deployments\nMLflow +(http[^#\s]+)/#", said)
    assert found, said
    return Running(process, folder, env, found[1], found[2])


def processes_of(folder: Path) -> list[int]:
    """Every process, ours or an orphan, whose environment or command names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join([*process.cmdline(), *process.environ().values()])
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if alive and f"{folder / 'data'}" in told:
            found.append(process.pid)
    return found


def wait_until_gone(folder: Path, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    up = start(tmp_path_factory.mktemp("up"))
    yield up
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGINT)
        up.process.wait(60)


@pytest.mark.slow
def test_both_servers_answer(running: Running) -> None:
    assert answers(f"{running.prefect}/api/health")
    assert answers(f"{running.mlflow}/health")


@pytest.mark.slow
def test_deployments_are_applied_to_the_pool(running: Running) -> None:
    found = running.api("deployments/filter", {})
    assert {one["name"] for one in found} == {"retrain-nightly", "retrain-manual", "recommend", "compare", "tune"}
    assert {one["work_pool_name"] for one in found} == {POOL}


@pytest.mark.slow
def test_the_next_night_is_planned(running: Running) -> None:
    """The server's scheduler works with the libraries that are installed."""
    query = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 1}
    deadline = time.monotonic() + 90
    while not (planned := running.api("flow_runs/filter", query)) and time.monotonic() < deadline:
        time.sleep(1)
    assert planned, last_line(running.folder / "data" / "logs" / "prefect.log")
    assert planned[0]["auto_scheduled"]


@pytest.mark.slow
def test_a_run_by_hand_completes_and_is_tracked(running: Running) -> None:
    name = "retrain/retrain-manual"
    words = ("-m", "prefect", "deployment", "run", name, "-p", f"config={json.dumps(TINY)}")
    env = {**running.env, "PREFECT_API_URL": f"{running.prefect}/api"}
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    (run_id,) = set(re.findall(r"UUID: ([0-9a-f-]{36})", done.stdout))
    deadline = time.monotonic() + 180
    while (run := running.api(f"flow_runs/{run_id}"))["state"]["type"] in ("SCHEDULED", "PENDING", "RUNNING"):
        assert time.monotonic() < deadline, run["state"]
        time.sleep(1)
    log = running.folder / "data" / "logs" / "worker.log"
    assert run["state"]["type"] == "COMPLETED", log.read_text(encoding="utf-8")
    experiment = get(f"{running.mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name=synthetic")["experiment"]
    assert experiment["artifact_location"].startswith((running.folder / "mlartifacts").as_uri())
    runs = call(f"{running.mlflow}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment["experiment_id"]]})
    assert [one["info"]["status"] for one in runs["runs"]] == ["FINISHED"]


@pytest.mark.slow
def test_started_twice_says_so(running: Running) -> None:
    done = subprocess.run(command(running.folder), env=running.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert answers(f"{running.prefect}/api/health")


@pytest.mark.slow
def test_ctrl_c_ends_everything(running: Running) -> None:
    assert len(processes_of(running.folder)) >= 5  # itself, two servers, the worker, the guard
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert wait_until_gone(running.folder, 5) == []


@pytest.mark.slow
def test_kill_9_leaves_nothing_behind(tmp_path: Path) -> None:
    up = start(tmp_path)
    deployment = up.api("deployments/name/retrain/retrain-manual")
    run = up.api(f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "PENDING"}})
    up.api(f"flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}})  # takes the deployment's only slot
    up.process.kill()
    up.process.wait(10)
    assert wait_until_gone(tmp_path, 60) == []
    up = start(tmp_path)
    try:
        assert up.api(f"flow_runs/{run['id']}")["state"]["type"] == "CRASHED"
        deployment = up.api("deployments/name/retrain/retrain-manual")
        assert deployment["global_concurrency_limit"]["active_slots"] == 0
    finally:
        up.process.send_signal(signal.SIGINT)
        up.process.wait(60)


@pytest.mark.slow
def test_a_part_that_dies_takes_the_rest_along_and_is_named(tmp_path: Path) -> None:
    up = start(tmp_path)
    (server,) = [p for p in psutil.Process(up.process.pid).children() if "mlflow" in p.cmdline()]
    end(server.pid)
    rest, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert "the MLflow server ended" in rest
    assert wait_until_gone(tmp_path, 5) == []


def part(code: str, folder: Path) -> Part:
    return Part("a part", (sys.executable, "-c", code), os.environ, "http://127.0.0.1:1/", folder / "part.log")


def test_a_part_that_ends_is_reported_with_its_last_line(tmp_path: Path) -> None:
    broken = part("print('no more room'); raise SystemExit(3)", tmp_path)
    with Parts(tmp_path) as parts:
        parts.start(broken)
        with pytest.raises(RunFailed, match="a part ended with status 3: no more room"):
            parts.wait_for(broken)


def test_parts_end_with_their_children(tmp_path: Path) -> None:
    sleeper = "import time; time.sleep(600)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {sleeper!r}], start_new_session=True)"
    log = tmp_path / "part.log"
    with Parts(tmp_path) as parts:
        parts.start(part(f"{code}; print(p.pid, flush=True); p.wait()", tmp_path))
        deadline = time.monotonic() + 20
        while not log.read_text(encoding="utf-8").strip() and time.monotonic() < deadline:
            time.sleep(0.05)
        child = int(last_line(log))
        assert psutil.pid_exists(child)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_taken_port_is_passed_over() -> None:
    import socket

    first = free_port(16000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert free_port(first) > first
