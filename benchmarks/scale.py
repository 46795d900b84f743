"""What preparing a log costs as it grows: ingest, validate, split and sample, each in a process of its own.

`python -m benchmarks scale [--rows=1e6,1e7,1e8] [--memory-gb=4] [--folder=DIR]` draws the logs, runs the steps of a
night on them, and shows seconds, rows a second, the most memory that each step held, the disk that is used, and how
seconds grow with the rows. The last line of each size is the night after: one day's file more.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._log import write_log
from benchmarks._memory import peak_bytes

ROOT = Path(__file__).parent.parent
STEPS = ("ingest", "validate", "split", "sample")
NIGHT, NEXT_NIGHT = "2024-11-14T00:00:00+00:00", "2024-11-15T00:00:00+00:00"
DAY = 1 / 365


@dataclass(frozen=True)
class Cost:
    """Of one step on one log."""

    seconds: float
    peak_gb: float
    disk_gb: float


@dataclass(frozen=True)
class Measured:
    """Of all steps on one log, and on one day more."""

    rows: int
    raw_gb: float
    steps: dict[str, Cost]
    next_night: dict[str, Cost]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--rows", default="1e6,1e7,1e8", help="sizes, by commas")
    parser.add_argument("--memory-gb", type=float, default=4.0, help="the setting memory_gb")
    parser.add_argument("--folder", type=Path, help="where the logs and the data folder go, and stay; else they do not")
    told, _ = parser.parse_known_args()
    sizes = [int(float(size)) for size in told.rows.split(",")]
    with tempfile.TemporaryDirectory(prefix="encore-bench-", dir=told.folder) as folder:
        measured = [measure(Path(folder) / f"{rows}", rows, told.memory_gb) for rows in sizes]
    console = Console(width=160)
    console.print(costs_table(measured))
    if len(measured) > 1:
        console.print(slopes_table(measured))


def measure(folder: Path, rows: int, memory_gb: float) -> Measured:
    """Runs all steps on a log of so many rows, then again with one day's file more."""
    logs = folder / "logs"
    logs.mkdir(parents=True)
    write_log(logs / "until-today.parquet", rows)
    raw_gb = sum(file.stat().st_size for file in logs.iterdir()) / 1e9
    steps = {step: run_step(folder, step, NIGHT, memory_gb) for step in STEPS}
    write_log(logs / "today.parquet", max(1, rows // 365), seed=1, begin=1.0, end=1.0 + DAY)
    next_night = {step: run_step(folder, step, NEXT_NIGHT, memory_gb) for step in STEPS}
    return Measured(rows, raw_gb, steps, next_night)


def run_step(folder: Path, step: str, as_of: str, memory_gb: float) -> Cost:
    """One step in a process of its own, which finds the steps before it done."""
    told = json.dumps({"folder": str(folder), "step": step, "as_of": as_of, "memory_gb": memory_gb})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.scale", told]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step}: {done.stderr[-2000:]}")
    cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
    print(folder.name, as_of[:10], step, cost, file=sys.stderr, flush=True)
    return cost


def costs_table(measured: Sequence[Measured]) -> Table:
    table = Table(
        title="preparing a log: seconds, rows a second, peak memory of the process, disk in multiples of the log"
    )
    for column in ("rows", "log GB", "step", "seconds", "M rows/s", "peak GB", "disk / log", "next night, seconds"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for one in measured:
        for step, cost in one.steps.items():
            rate, disk = one.rows / cost.seconds / 1e6, cost.disk_gb / one.raw_gb
            shown = [f"{cost.seconds:.1f}", f"{rate:.2f}", f"{cost.peak_gb:.2f}", f"{disk:.2f}"]
            table.add_row(f"{one.rows:,}", f"{one.raw_gb:.3f}", step, *shown, f"{one.next_night[step].seconds:.1f}")
        total = sum(cost.seconds for cost in one.steps.values())
        peak, disk = max(cost.peak_gb for cost in one.steps.values()), one.steps[STEPS[-1]].disk_gb / one.raw_gb
        again = sum(cost.seconds for cost in one.next_night.values())
        shown = [f"{total:.1f}", f"{one.rows / total / 1e6:.2f}", f"{peak:.2f}", f"{disk:.2f}", f"{again:.1f}"]
        table.add_row("", "", "all", *shown, end_section=True)
    return table


def slopes_table(measured: Sequence[Measured]) -> Table:
    """The exponent of seconds over rows between neighbouring sizes: 1 is in proportion."""
    table = Table(title="how seconds grow: exponent over rows")
    table.add_column("step")
    for low, high in pairwise(measured):
        table.add_column(f"{low.rows:,} to {high.rows:,}", justify="right")
    for step in STEPS:
        exponents = [
            math.log(high.steps[step].seconds / low.steps[step].seconds) / math.log(high.rows / low.rows)
            for low, high in pairwise(measured)
        ]
        table.add_row(step, *(f"{exponent:.2f}" for exponent in exponents))
    return table


def _work(folder: str, step: str, as_of: str, memory_gb: float) -> Cost:
    """The steps up to this one; those before it were done by other processes, and only this one is timed."""
    import tasks.expect.suite  # noqa: F401  (seconds, which a night pays once)
    from flows.config import PipelineConfig, Settings
    from tasks.ingest.sources.registry import identify
    from tasks.ingest.task import ingest
    from tasks.sample.task import sample
    from tasks.split.config import Positives
    from tasks.split.task import split
    from tasks.validate.task import validate

    told = {"ingest": {"interactions": f"{folder}/logs", "name": "log"}}
    config = PipelineConfig.model_validate(told).resolved()
    settings = Settings.model_validate(
        {"data_dir": f"{folder}/data", "as_of": as_of, "memory_gb": memory_gb}
    ).resolved()
    store = settings.store
    store.prepare()
    files = identify(config.ingest, store)
    work: dict[str, Callable[[Any], Any]] = {  # the tasks' own functions: no server is needed to time them
        "ingest": lambda _: ingest.fn(store, config.ingest, files),
        "validate": lambda made: validate.fn(store, made.files, config.dataset, config.checks, settings.night, True),
        "split": lambda made: split.fn(store, made.snapshot, config.split, Positives.of(config.ingest), None),
        "sample": lambda made: sample.fn(store, made, None),
    }
    made, seconds = None, 0.0
    for name in STEPS[: STEPS.index(step) + 1]:
        start = time.perf_counter()
        made = work[name](made)
        seconds = time.perf_counter() - start
    return Cost(seconds, peak_bytes() / 1e9, _disk_gb(store.root))


def _disk_gb(root: Path) -> float:
    """A file with two names counts once."""
    found = [path.stat() for path in root.rglob("*") if path.is_file()]
    return sum({(one.st_dev, one.st_ino): one.st_size for one in found}.values()) / 1e9


if __name__ == "__main__":
    print(json.dumps(vars(_work(**json.loads(sys.argv[1])))))
