"""A night's result for people: on the terminal, on Prefect's page, in the MLflow run's description."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints the result for people; machines read --json."""
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(_metrics(result))
    for line in data_lines(result):
        console.print(line, markup=False)
    for check in result["decision"]["checks"]:
        mark = "[green]passed[/]" if check["passed"] else "[red]failed[/]"
        console.print(f"  {mark}  {check['name']}: {check['detail']}", markup=True)
    console.print(_verdict(result))
    console.print(_times(result))
    console.print(f"lists      {result['recommendations']}", markup=False)
    if result["published"]:
        console.print(f"published  {result['published']}", markup=False)
    if result["kept"]:
        console.print(f"kept       {result['kept']}", markup=False)
    console.print(f"MLflow     {mlflow_command(result)}", markup=False)
    console.print(f"           then open {_address(result)}", markup=False)


def mlflow_command(result: dict[str, Any]) -> str:
    """What to type to see the run."""
    uri = str(result["tracking_uri"])
    if uri.startswith("http"):
        return "is running"
    program = Path(sys.executable).with_name("mlflow")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return (
        f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {shlex.quote(str(shown))} server --workers 1 --host 127.0.0.1 "
        f"--port 5000 --backend-store-uri {shlex.quote(uri)}"
    )


def _metrics(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['dataset']}: {result['test_users']:,} test users, {result['protocol']} split")
    table.add_column("metric")
    table.add_column(result["model"]["config"]["name"], justify="right")
    table.add_column(f"{result['level']:.0%} interval", justify="right")
    floors = _floors(result["metrics"])
    for floor in floors:
        table.add_column(floor, justify="right")
    for name, value in result["metrics"].items():
        part, _, metric = name.partition("/")
        if part not in ("test", "sampled"):
            continue
        low, high = result["intervals"][name]
        below = [result["metrics"].get(f"floor/{floor}/{metric if part == 'test' else name}") for floor in floors]
        shown = metric if part == "test" else f"{metric} (sampled)"
        table.add_row(shown, f"{value:.4f}", f"{low:.4f} to {high:.4f}", *_shown(below))
    return table


def _shown(values: Sequence[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.4f}" for value in values]


def data_lines(result: Mapping[str, Any]) -> list[str]:
    """What an operator should know of the data: nothing where all rows came in and nothing looked odd."""
    rows, reasons = result["rows"], result["quarantine"]
    lines = [f"  look    {warning}" for warning in result["warnings"]]
    if rows["quarantined"]:
        first = max(reasons, key=lambda reason: reasons[reason])
        others = len(reasons) - 1
        more = f" and {others} more {'reason' if others == 1 else 'reasons'}" if others else ""
        lines.append(
            f"  {rows['quarantined']:,} of {rows['read']:,} rows are in quarantine: {reasons[first]:,} by "
            f'"{first}"{more} (encore quarantine --ingest.name={result["dataset"]})'
        )
    return lines


def _verdict(result: dict[str, Any]) -> str:
    model = result["model"]
    named = f"{model['name']} version {model['version']}"
    champion = f"version {model['champion']} stays champion" if model["champion"] else "no champion yet"
    if result["unchanged"]:
        return (
            f"Nothing changed since the night of {result['as_of'][:16]}, which made {named}: "
            f"every step was skipped, {champion}."
        )
    if result["decision"]["promote"]:
        return f"[bold green]Promoted[/]: {named} is the champion."
    return f"[bold yellow]Refused[/]: {named} is registered, {champion}."


def _times(result: dict[str, Any]) -> str:
    seconds = result["seconds"]
    steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total" and value >= 0.05)
    overhead = seconds["total"] - seconds.get("train", 0.0)
    skipped = f"; skipped: {', '.join(result['cached'])}" if result["cached"] and not result["unchanged"] else ""
    return f"seconds    {seconds['total']:.1f} in all, {overhead:.1f} without training ({steps}){skipped}"


def _address(result: dict[str, Any]) -> str:
    uri = str(result["tracking_uri"])
    base = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{base}/{_page(result)}"


def as_markdown(result: dict[str, Any]) -> str:
    """The night for the pages of Prefect and MLflow: the leaderboard, the reasons, where things lie."""
    metrics, model = result["metrics"], result["model"]
    names = [name.removeprefix("test/") for name in metrics if name.startswith("test/") and name.endswith("_at_10")]
    rows = {model["config"]["name"]: "test/", **{f"{floor} (floor)": f"floor/{floor}/" for floor in _floors(metrics)}}
    table = [
        f"| model | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {row} | {' | '.join(f'{metrics[at + name]:.4f}' for name in names)} |" for row, at in rows.items()),
    ]
    checks = [
        f"- {'passed' if check['passed'] else '**failed**'}: {check['name']} ({check['detail']})"
        for check in result["decision"]["checks"]
    ]
    verdict = "promoted" if result["decision"]["promote"] else "refused"
    return "\n".join(
        [
            f"## {result['dataset']}: {model['config']['name']} {verdict}\n",
            *table,
            "",
            *checks,
            *(f"- {line.strip()}" for line in data_lines(result)),
            "",
            f"Registered as `{model['name']}` version {model['version']}; champion: version {model['champion']}.",
            f"MLflow run `{result['run_id']}` in experiment `{result['experiment']}` ({_link(result)}).",
            f"Lists in production: `{result['published']}`.\n",
            *([f"Files of single epochs: `{result['kept']}`.\n"] if result["kept"] else []),
        ]
    )


def _floors(metrics: Mapping[str, float]) -> list[str]:
    """The names of the floors, in the order in which they were judged."""
    return list(dict.fromkeys(name.split("/")[1] for name in metrics if name.startswith("floor/")))


def _page(result: dict[str, Any]) -> str:
    """The run's page in MLflow; without the last part it opens on a view for language models."""
    return f"#/experiments/{result['experiment_id']}/runs/{result['run_id']}?workflowType=machine_learning"


def _link(result: dict[str, Any]) -> str:
    page = _page(result)
    uri = str(result["tracking_uri"])
    return f"[open]({uri.rstrip('/')}/{page})" if uri.startswith("http") else f"page `{page}`"
