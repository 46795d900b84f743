"""What a night costs beside training: the first one in an empty folder, a changed one, and an unchanged one.

`python -m benchmarks overhead` runs the command as a user would, in a temporary folder, and shows where the time goes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

STEPS = (
    "startup",
    "ingest",
    "validate",
    "split",
    "sample",
    "train",
    "floors",
    "evaluate",
    "promote",
    "recommend",
    "record",
)
NIGHTS = {"first": [], "another seed": ["--trainer.seed=1"], "unchanged": ["--trainer.seed=1"]}


def main() -> None:
    """Three nights on MovieLens 100K; its archive is fetched before the clock starts."""
    with tempfile.TemporaryDirectory(prefix="encore-bench-") as folder:
        _night(Path(folder) / "warm", [])
        kept = Path(folder) / "warm" / "data" / "downloads"
        work = Path(folder) / "work"
        (work / "data").mkdir(parents=True)
        (work / "data" / "downloads").symlink_to(kept)
        table = Table(title="seconds of a night on MovieLens 100K, bpr_mf")
        for column in ("night", *STEPS, "in all", "without training", "to the prompt", "peak MB"):
            table.add_column(column, justify="left" if column == "night" else "right")
        for name, options in NIGHTS.items():
            result, wall = _night(work, options)
            seconds = result["seconds"]
            overhead = seconds["total"] - seconds["train"]
            figures = [*(seconds.get(step, 0.0) for step in STEPS), seconds["total"], overhead, wall]
            table.add_row(name, *(f"{value:.1f}" for value in figures), f"{result['peak_mb']:.0f}")
        Console(width=200).print(table)


def _night(folder: Path, options: list[str]) -> tuple[dict[str, dict[str, float]], float]:
    """One run of the command; its result and the wall seconds from start to exit."""
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "result.json"
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "flows", "retrain", f"--json={result}", *options],
        cwd=folder,
        env={**os.environ, "ENCORE_DATA_DIR": "data", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(result.read_text(encoding="utf-8")), time.perf_counter() - start


if __name__ == "__main__":
    main()
