"""A night's result for people: on the terminal, on Prefect's page, in the MLflow run's description."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.cards.numbers import difference, interval, metric_name, p_value
from tasks.differences import LEAD

PARTS = ("test", "sampled")
ORDER = ("ndcg", "recall", "hit", "mrr", "map", "precision", "auc", "gauc")
AT_EVERY_CUTOFF = ("ndcg", "recall")


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints the result for people; machines read --json."""
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(_metrics(result))
    for line in (*difference_lines(result), *data_lines(result)):
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
    """The model beside the floors, the metrics that matter most first."""
    table = Table(title=f"{result['dataset']}: {result['test_users']:,} test users, {result['protocol']} split")
    floors, metrics = _floors(result["metrics"]), result["metrics"]
    table.add_column("metric")
    for head in (result["model"]["config"]["name"], f"{result['level']:.0%} interval", *floors):
        table.add_column(head, justify="right")
    for name in shown_metrics(metrics):
        part, _, metric = name.partition("/")
        below = [metrics.get(f"floor/{floor}/{metric if part == 'test' else name}") for floor in floors]
        shown = metric_name(name) + (" (sampled)" if part == "sampled" else "")
        ours = (f"{metrics[name]:.4f}", interval(result["intervals"].get(name)))
        table.add_row(shown, *ours, *("" if value is None else f"{value:.4f}" for value in below))
    return table


def difference_lines(result: Mapping[str, Any]) -> list[str]:
    """How much better than everybody beside it, user by user."""
    name = metric_name(LEAD)
    found = {called(result, whom): by[LEAD] for whom, by in result["differences"].items() if LEAD in by}
    return [f"  {name} against {whom}: {difference(by)}, p {p_value(by['p_value'])}" for whom, by in found.items()]


def shown_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Those of the test and of the sampled ranking, in the order of ORDER; of longer lists only NDCG and recall."""
    found = []
    for part in PARTS:
        for metric in ORDER:
            names = [name for name in metrics if name.startswith(f"{part}/{metric}_at_")]
            names.sort(key=lambda name: int(name.rpartition("_")[2]))
            found += [name for name in names if name.endswith("_at_10") or metric in AT_EVERY_CUTOFF]
            found += [f"{part}/{metric}"] if f"{part}/{metric}" in metrics else []
    return found


def called(result: Mapping[str, Any], whom: str) -> str:
    """A rival with its version, a floor by its name."""
    rival = result["beside"].get(whom)
    return f"{whom}, version {rival['version']}" if rival else whom


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
    if result["decision"]["awaits_approval"]:
        whose = "" if model["name"] == f"encore-{result['dataset']}" else f" --registered_model={model['name']}"
        typed = f"encore promote {model['version']} --ingest.name={result['dataset']}{whose} --reason=..."
        return f"[bold yellow]Waiting[/]: {named} passed, {champion} until somebody says: {typed}"
    return f"[bold yellow]Refused[/]: {named} is registered, {champion}."


def _times(result: dict[str, Any]) -> str:
    seconds = result["seconds"]
    steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total" and value >= 0.05)
    overhead = seconds["total"] - seconds.get("train", 0.0) - seconds.get("search", 0.0)
    skipped = f"; skipped: {', '.join(result['cached'])}" if result["cached"] and not result["unchanged"] else ""
    return f"seconds    {seconds['total']:.1f} in all, {overhead:.1f} without training ({steps}){skipped}"


def _address(result: dict[str, Any]) -> str:
    uri = str(result["tracking_uri"])
    base = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{base}/{_page(result)}"


def as_markdown(result: dict[str, Any]) -> str:
    """The night for the pages of Prefect and MLflow: leaderboard, differences, reasons, where things lie."""
    model, decision = result["model"], result["decision"]
    checks = [
        f"- {'passed' if check['passed'] else '**failed**'}: {check['name']} ({check['detail']})"
        for check in decision["checks"]
    ]
    verdict = "promoted" if decision["promote"] else "waits for approval" if decision["awaits_approval"] else "refused"
    return "\n".join(
        [
            f"## {result['dataset']}: {model['config']['name']} {verdict}\n",
            f"{decision['reason']}\n",  # first: MLflow folds what is long
            *_leaderboard(result),
            "",
            *(f"- {line.strip()}" for line in difference_lines(result)),
            *checks,
            *(f"- {line.strip()}" for line in data_lines(result)),
            "",
            f"Registered as `{model['name']}` version {model['version']}; champion: version {model['champion']}.",
            f"MLflow run `{result['run_id']}` in experiment `{result['experiment']}` ({_link(result)}).",
            f"Lists in production: `{result['published']}`.\n",
            *([f"Files of single epochs: `{result['kept']}`.\n"] if result["kept"] else []),
        ]
    )


def _leaderboard(result: Mapping[str, Any]) -> list[str]:
    """The model and the floors on all test rows."""
    metrics = result["metrics"]
    names = [
        name.removeprefix("test/")
        for name in shown_metrics(metrics)
        if name.startswith("test/") and (name.endswith("_at_10") or "_at_" not in name)
    ]
    rows = {f"{floor} (floor)": f"floor/{floor}/" for floor in _floors(metrics)}
    rows = {result["model"]["config"]["name"]: "test/", **rows}
    return [
        f"| model | {' | '.join(map(metric_name, names))} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {row} | {' | '.join(f'{metrics[at + name]:.4f}' for name in names)} |" for row, at in rows.items()),
    ]


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
