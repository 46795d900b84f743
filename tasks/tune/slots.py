"""Processes that work on one thing after the other, and may die of it without taking the rest with them."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Self

Report = Callable[[int, float, Any], bool]
"""Called by the work with a step, its value and more; False where the work is to be given up."""
Work = Callable[[Any, Report], Any]
"""A function of a module, so that another process finds it."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
BROKEN, DIED, DONE, STEP = "broken", "died", "done", "step"


class Slot:
    """One process; a new one takes its place where it dies. It ends when this process does, even by a kill."""

    def __init__(self, work: Work, threads: int) -> None:
        self._work, self._threads = work, threads
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads that are not there
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._work, theirs), daemon=True)
        with _threads(self._threads):
            self._process.start()
        theirs.close()

    def begin(self, job: Any) -> None:
        if not self._process.is_alive():  # it died between two jobs
            self._restart()
        self._send(job)

    def answer(self, go_on: bool) -> None:
        """What the work's `report` returns."""
        self._send(go_on)

    def receive(self) -> tuple[str, Any]:
        """What it says: `step` with what was reported, `done` with the result, `broken` with a traceback, or `died`
        with the exit status; then there is a new process already."""
        try:
            kind, content = self.connection.recv()
            return str(kind), content
        except (EOFError, ConnectionResetError):
            self._process.join()
            status = self._process.exitcode
            self._restart()
            return DIED, status

    def _send(self, content: Any) -> None:
        """To one that has died meanwhile nothing is said: what is received next tells that."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(content)

    def _restart(self) -> None:
        self.connection.close()
        self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


class Slots:
    """So many processes, which share the cores."""

    def __init__(self, work: Work, workers: int) -> None:
        self._work, self._workers = work, workers
        self.all: list[Slot] = []

    def __enter__(self) -> Self:
        threads = max(1, len(os.sched_getaffinity(0)) // self._workers)
        self.all = [Slot(self._work, threads) for _ in range(self._workers)]
        return self

    def __exit__(self, *exception: object) -> None:
        for slot in self.all:
            slot.end()

    def speaking(self, busy: Sequence[Slot]) -> list[Slot]:
        """Waits until one of these says something, or dies."""
        ready = wait([slot.connection for slot in busy])
        return [slot for slot in busy if slot.connection in ready]


def _serve(work: Work, connection: Connection) -> None:
    """What a process does: a job comes in, a result goes out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the one that began us ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(step: int, value: float, more: Any) -> bool:
        connection.send((STEP, (step, value, more)))
        return bool(connection.recv())

    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send((DONE, work(job, report)))
        except Exception:  # noqa: BLE001  (it is shown whole on the other side)
            connection.send((BROKEN, traceback.format_exc()))


def _end_with_parent() -> None:
    """A killed search is begun again: what it had started must not go on beside that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """A process that starts in here uses so many threads, or fewer where fewer were asked for already."""
    before = {name: os.environ.get(name) for name in THREADS}
    for name, asked in before.items():
        fewer = asked is not None and asked.isdigit() and int(asked) < number
        os.environ[name] = str(asked) if fewer else str(number)
    try:
        yield
    finally:
        for name, asked in before.items():
            if asked is None:
                del os.environ[name]
            else:
                os.environ[name] = asked
