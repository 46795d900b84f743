"""How long each step took, which were skipped, and how much memory the process tree had at its peak."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import psutil


class Clock:
    """Measures the steps of one night, from the start of the process."""

    def __init__(self, started: float | None = None) -> None:
        self.started = time.time() if started is None else started
        self.seconds: dict[str, float] = {}
        self.begin()
        self._cached: dict[str, bool] = {}

    def begin(self) -> None:
        """The steps begin now: all that was before is start-up."""
        self.seconds["startup"] = time.time() - self.started

    def __call__(self, step: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs the work as (part of) a step, and notes whether its result was there already."""
        start = time.perf_counter()
        try:
            result = work(*args, **kwargs)
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
        self._cached[step] = self._cached.get(step, True) and bool(getattr(result, "cached", False))
        return result

    @property
    def cached(self) -> list[str]:
        """The steps that were skipped."""
        return [step for step, cached in self._cached.items() if cached]

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.time() - self.started}


class MemoryWatch:
    """Peak resident memory of this process and its children, looked at five times a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._lap = 0
        self._lock = threading.Lock()  # a look that began in the lap before must not count in this one
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    @property
    def peak_mb(self) -> float:
        return self.peak / 1e6

    def begin_lap(self) -> None:
        """What comes now has a peak of its own, besides the one of everything."""
        with self._lock:
            self._lap = 0
        self._look()

    def lap_mb(self) -> float:
        """The peak since the lap began. What earlier laps have not given back to the system counts too."""
        self._look()
        return self._lap / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self._look()

    def _look(self) -> None:
        with self._lock, suppress(psutil.Error):
            own = psutil.Process(os.getpid())
            total = 0
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
            self.peak, self._lap = max(self.peak, total), max(self._lap, total)
