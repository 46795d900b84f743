"""What the benchmarks of models have in common: their options, a table of models, and races against peers."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks._workers import Figures, Ours, Peer, run_ours, run_peer


@dataclass(frozen=True)
class Unit:
    """How rates are shown."""

    name: str
    size: float


MILLIONS, THOUSANDS = Unit("M", 1e6), Unit("k", 1e3)


@dataclass(frozen=True)
class Race:
    """Ours and the peer that it is timed against, at the same sizes."""

    ours: Ours
    peer: Peer
    unit: str
    per_sample: int = 1
    """What one of our samples is in that unit."""


def options(name: str, doc: str | None, columns: str) -> argparse.ArgumentParser:
    """The options that all of them take."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=doc)
    parser.add_argument("--data", type=Path, help=f"Parquet file with the columns {columns}")
    parser.add_argument("--models", help="only these, by commas; all that have something to go by here if left out")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing against a peer; 0: none")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave the peers' own rows out")
    return parser


def models_table(title: str, metrics: tuple[str, str], samples: str, unit: Unit) -> Table:
    table = Table(title=title)
    for column in ("model", *metrics, "training s", f"{unit.name} {samples}/s", "peak MB", "chosen"):
        table.add_column(column, justify="left" if column in ("model", "chosen") else "right")
    return table


def add_model(table: Table, label: str, figures: Figures, unit: Unit) -> None:
    """Says on stderr that it is done, too: the table is shown when all are."""
    print(label, figures, file=sys.stderr, flush=True)
    if "failed" in figures:
        table.add_row(label, "", "", "", "", "", f"failed: {figures['failed']}")
        return
    rate = f"{figures['rate'] / unit.size:.2f}" if figures["rate"] else ""
    chosen = ", ".join(f"{key} {value}" for key, value in figures.get("chosen", {}).items())
    spread = f" ±{figures['spread']:.4f}" if "spread" in figures else ""
    measured = f"{figures['first']:.4f}", f"{figures['second']:.4f}{spread}", f"{figures['seconds']:.1f}"
    table.add_row(label, *measured, rate, f"{figures['peak_mb']:.0f}", chosen)


def races_table(python: Path, path: Path, races: Iterable[Race], repeats: int, unit: Unit) -> Table:
    """Ours and the peer's in turn, whole fits; the medians, the median of their ratios, and whether all of ours ended
    with the same weights, bit for bit."""
    table = Table(title=f"ours and theirs in turn at the same sizes, medians of {repeats}")
    for column in ("ours", "peer", f"{unit.name} a second of", "ours", "peer", "ratio", "equal weights"):
        table.add_column(column, justify="right" if len(table.columns) > 2 else "left")
    for race in races:
        fits = [
            (run_ours(path, race.ours, race.peer.blas_threads), run_peer(python, path, race.peer))
            for _ in range(repeats)
        ]
        print(race.ours.name, fits, file=sys.stderr, flush=True)
        labels = describe(race.ours), f"{race.peer.method}, {race.peer.script.removeprefix('run_')}"
        if any("failed" in figures for pair in fits for figures in pair):
            table.add_row(*labels, "failed")
            continue
        rates = [(ours["rate"] * race.per_sample / unit.size, theirs["rate"] / unit.size) for ours, theirs in fits]
        measured = (*(median(pair[side] for pair in rates) for side in (0, 1)), median(a / b for a, b in rates))
        equal = "yes" if len({ours["weights"] for ours, _ in fits}) == 1 else "no"
        table.add_row(*labels, race.unit, *(f"{figure:.2f}" for figure in measured), equal if repeats > 1 else "")
    return table


def describe(ours: Ours) -> str:
    """The model and what is not its default."""
    return " ".join([ours.name, *(f"{key}={value}" for key, value in {**ours.fields, **ours.sampling}.items())])
