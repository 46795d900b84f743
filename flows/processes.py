"""Programs that run beside each other: started, watched, and ended together with all their children.

Each is the leader of its own process group, so that Ctrl-C on the terminal reaches only us, and we end them in order.
A guard (this file as a program) ends them when we are killed before we can.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tasks.errors import RunFailed

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 20  # a flow run that is stopped notes so in Prefect and MLflow first
START_SECONDS = 180  # a new database takes 20 s on a fast disk
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy


@dataclass(frozen=True)
class Part:
    """One program. `health` is the address that answers once it is up."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    health: str
    log: Path


class Parts:
    """The running programs, in the order in which they are ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[tuple[Part, subprocess.Popen[bytes]]] = []
        self._guard: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        command = (sys.executable, "-m", "flows.processes")
        self._guard = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, process in self._running:
            end(process.pid)
        self._guard.kill()  # not reached on a second Ctrl-C: then the guard ends what is left
        self._guard.wait()

    def start(self, part: Part, ended_first: bool = False) -> None:
        """Starts a program; it is ended after those that were started before it, or before all of them."""
        process = launch(part, self.folder)
        self._running.insert(0 if ended_first else len(self._running), (part, process))
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{process.pid} {int(ended_first)}\n".encode())
        self._guard.stdin.flush()

    def wait_for(self, part: Part) -> None:
        """Returns once it answers. Raises RunFailed where it, or another one, ends or never does."""
        deadline = time.monotonic() + START_SECONDS
        while not answers(part.health):
            self.check()
            if time.monotonic() > deadline:
                raise RunFailed(
                    f"{part.name} does not answer after {START_SECONDS} s: {last_line(part.log)}", f"see {part.log}"
                )
            time.sleep(0.1)

    def check(self) -> None:
        """Raises RunFailed, with its last words, where a program has ended."""
        for part, process in self._running:
            if (status := process.poll()) is not None:
                raise RunFailed(
                    f"{part.name} ended with status {status}: {last_line(part.log)}",
                    f"the rest was stopped; see {part.log}",
                )

    def watch(self) -> None:
        """Waits until a program ends by itself; that is a RunFailed."""
        while True:
            self.check()
            time.sleep(0.5)


def launch(part: Part, folder: Path) -> subprocess.Popen[bytes]:
    """Starts a program with a log of its own; the log of the time before is kept as `<name>.log.1`."""
    part.log.parent.mkdir(parents=True, exist_ok=True)
    if part.log.exists():
        part.log.replace(part.log.with_name(f"{part.log.name}.1"))
    with part.log.open("wb") as log:
        return subprocess.Popen(
            part.command,
            cwd=folder,
            env=dict(part.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(pid: int) -> None:
    """Ends a program and all below it. Those below first: a worker then still reports what became of its run."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        _end_all(root.children(recursive=True))  # flow runs lead process groups of their own
        _end_all([root, *root.children(recursive=True)])
    with suppress(ProcessLookupError, PermissionError):  # what was started while we looked
        os.killpg(pid, signal.SIGKILL)


def _end_all(processes: list[psutil.Process]) -> None:
    """Asks first, then kills."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)


def free_port(first: int) -> int:
    """The first free port on loopback from there on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a restart finds its port
            with suppress(OSError):
                probe.bind((LOOPBACK, port))
                return port
    raise RunFailed(f"ports {first} to {first + 99} are all taken", "stop something")


def answers(url: str) -> bool:
    """Whether the address gives a 200 now."""
    with suppress(OSError), DIRECT.open(url, timeout=5) as reply:
        return bool(reply.status == 200)
    return False


def call(url: str, body: Any) -> Any:
    """Posts JSON and returns the JSON of the answer."""
    headers = {"Content-Type": "application/json"}
    with DIRECT.open(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30) as reply:
        return json.load(reply)


def last_line(log: Path) -> str:
    """The last line of a log that says something; frames of rich's tables do not."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines if any(letter.isalnum() for letter in line)]
    return said[-1] if said else "its log is empty"


def guard() -> None:
    """Reads process ids until the other end is gone, then ends them; told to be killed where nothing is left."""
    roots: list[psutil.Process] = []
    for line in sys.stdin:
        pid, ended_first = map(int, line.split())
        with suppress(psutil.NoSuchProcess):
            roots.insert(0 if ended_first else len(roots), psutil.Process(pid))
    for root in roots:
        if root.is_running():  # false where the id has gone to another program
            end(root.pid)


if __name__ == "__main__":
    guard()
