"""`encore up`: the servers and a worker on this machine, the deployments applied; Ctrl-C stops all."""

import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from flows.config import Settings
from flows.processes import LOOPBACK, Part, Parts, answers, call, free_port, last_line, launch
from tasks.errors import Busy, RunFailed
from tasks.store.lease import lease

ROOT = Path(__file__).parents[1]
POOL = "encore"
LEASE = "_up"  # no dataset has a name like this
LINKS = "links.txt"


def up(settings: Settings) -> dict[str, Any]:
    """Runs until Ctrl-C or SIGTERM. Raises Busy where it runs already, RunFailed where a part ends by itself."""
    settings = settings.resolved()
    stack = Stack(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.perf_counter()
    try:
        with ExitStack() as cleanup:
            _claim(cleanup, settings)
            parts = cleanup.enter_context(Parts(ROOT))
            stack.start(parts)
            text = stack.links(time.perf_counter() - started)
            (stack.logs / LINKS).write_text(text, encoding="utf-8")
            print(text, flush=True)
            parts.watch()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return {"prefect": stack.prefect, "mlflow": stack.mlflow, "logs": str(stack.logs)}


class Stack:
    """What runs where: two servers, and the worker between them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logs = settings.data_dir / "logs"
        self.prefect_port = free_port(int(os.environ.get("PREFECT_SERVER_API_PORT", "4200")))
        self.mlflow_port = free_port(int(os.environ.get("MLFLOW_PORT", "5000")))
        self.worker_port = free_port(max(self.prefect_port, self.mlflow_port) + 1)
        self.prefect = f"http://{LOOPBACK}:{self.prefect_port}"
        self.has_own_mlflow = not settings.tracking_uri.startswith(("http://", "https://"))
        self.mlflow = f"http://{LOOPBACK}:{self.mlflow_port}" if self.has_own_mlflow else settings.tracking_uri

    def start(self, parts: Parts) -> None:
        """Both servers at once; the worker only when both answer and the deployments are the ones of this code."""
        server = self.prefect_server()
        parts.start(server)
        if self.has_own_mlflow:
            tracking = self.mlflow_server()
            parts.start(tracking)
        parts.wait_for(server)
        self._make_pool()
        self._close_dead_runs()
        self._run_once("deployments", "deploy", "--all")
        if self.has_own_mlflow:
            parts.wait_for(tracking)
        worker = self.worker()
        parts.start(worker, ended_first=True)  # a worker whose server is gone hangs
        parts.wait_for(worker)

    def prefect_server(self) -> Part:
        command = _python("prefect", "server", "start", "--host", LOOPBACK, "--port", str(self.prefect_port))
        return Part("the Prefect server", command, self._env(), f"{self.prefect}/api/health", self.logs / "prefect.log")

    def mlflow_server(self) -> Part:
        """On the database that `encore retrain` uses without a server, and artifacts at the same place.

        They are not sent through the server: a path is as good for a run with it as for one without.
        """
        uri = self.settings.tracking_uri
        command = _python(
            "mlflow", "server", "--host", LOOPBACK, "--port", str(self.mlflow_port), "--workers", "1",
            "--backend-store-uri", uri, "--no-serve-artifacts", "--default-artifact-root", self._artifacts(),
            "--uvicorn-opts", "--log-level=warning",
        )  # fmt: skip
        env = {**self._env(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes that nobody needs
        del env["MLFLOW_TRACKING_URI"]
        return Part("the MLflow server", command, env, f"{self.mlflow}/health", self.logs / "mlflow.log")

    def worker(self) -> Part:
        command = _python(
            "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "encore-worker",
            "--with-healthcheck", "--install-policy", "never",
        )  # fmt: skip
        env = {
            **self._env(),
            "PREFECT_WORKER_WEBSERVER_HOST": LOOPBACK,
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.worker_port),
        }
        return Part(
            "the worker", command, env, f"http://{LOOPBACK}:{self.worker_port}/health", self.logs / "worker.log"
        )

    def links(self, seconds: float) -> str:
        """What to open and what to type."""
        found = shutil.which("prefect")
        beside = Path(sys.executable).with_name("prefect")
        prefect = "prefect" if found and Path(found).samefile(beside) else str(beside)
        return (
            f"All up after {seconds:.0f} s. Ctrl-C stops everything.\n\n"
            f"Prefect    {self.prefect}/deployments\n"
            f"MLflow     {self.mlflow.rstrip('/')}/#/experiments?workflowType=machine_learning\n"
            f"logs       {self.logs}\n\n"
            "A run by hand, from another terminal:\n"
            f"  export PREFECT_API_URL={self.prefect}/api\n"
            f"  {prefect} deployment run retrain/retrain-manual --watch\n"
        )

    def _env(self) -> dict[str, str]:
        """The environment of every part: their addresses, and no proxy in front of loopback."""
        env = {name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"}
        no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), LOOPBACK)))
        return {
            **env,
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_SERVER_UI_API_URL": f"{self.prefect}/api",  # else its pages ask port 4200
            "MLFLOW_TRACKING_URI": self.mlflow,
            "ENCORE_DATA_DIR": str(self.settings.data_dir),
        }

    def _artifacts(self) -> str:
        from tasks.tracking.runs import artifact_root  # imports mlflow: the Prefect server starts meanwhile

        return artifact_root(self.settings.tracking_uri, "") or (self.settings.data_dir / "mlartifacts").as_uri()

    def _make_pool(self) -> None:
        """An existing pool stays as the user has set it."""
        if not answers(f"{self.prefect}/api/work_pools/{POOL}"):
            self._run_once("the work pool", "work-pool", "create", POOL, "--type", "process")

    def _close_dead_runs(self) -> None:
        """Runs whose process was killed with the worker stay RUNNING for ever, and would keep every later one out."""
        unfinished = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
        query = {"flow_runs": unfinished, "work_pools": {"name": {"any_": [POOL]}}}
        state = {"type": "CRASHED", "message": "The worker was stopped while it ran. Run it again: it goes on."}
        for run in call(f"{self.prefect}/api/flow_runs/filter", query):
            if not _is_flow_run(run["infrastructure_pid"]):
                call(f"{self.prefect}/api/flow_runs/{run['id']}/set_state", {"state": state, "force": True})

    def _run_once(self, what: str, *words: str) -> None:
        """One Prefect command in the folder of prefect.yaml. Raises RunFailed with its last line."""
        part = Part(what, _python("prefect", "--no-prompt", *words), self._env(), "", self.logs / f"{words[0]}.log")
        process = launch(part, ROOT)
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        if status != 0:
            raise RunFailed(f"{what} could not be made: {last_line(part.log)}", f"see {part.log}")


def _claim(cleanup: ExitStack, settings: Settings) -> None:
    """One `encore up` for a data folder; the kernel frees it with the process."""
    try:
        cleanup.enter_context(lease(settings.store, LEASE))
    except Busy as error:
        links = settings.data_dir / "logs" / LINKS
        raise Busy(
            f"encore up runs already on {settings.data_dir}",
            f"its links are in {links}; stop it, or set another --data_dir",
        ) from error


def _is_flow_run(pid: str | None) -> bool:
    """Whether the process is there, and has not given its number to another program."""
    with suppress(psutil.Error):
        return pid is not None and "prefect" in " ".join(psutil.Process(int(pid.split(":")[-1])).cmdline())
    return False


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)
