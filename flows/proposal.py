"""The configuration that `encore inspect` proposes, and its two files."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.commands import InspectConfig
from flows.judged import Judged
from tasks.ingest.config import IngestConfig
from tasks.inspect.configuration import Line, as_mapping, as_yaml, how_to_judge, positives, which_model
from tasks.inspect.limits import limits_of
from tasks.inspect.propose import Proposed
from tasks.store.atomic import new_file
from tasks.store.engine import Engine
from tasks.store.refs import StagedRef
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import dump_suite

CONFIGURATION, SUITE = "encore.yaml", "expectations.yaml"


def fitting_checks(engine: Engine, staged: Sequence[StagedRef], checks: ChecksConfig) -> ChecksConfig:
    """With limits that fit the log, where none were told."""
    if checks.suite is not None:
        return checks
    rows = engine.rows([ref.data for ref in staged if ref.table == "interactions"])
    limits = limits_of(engine, rows, checks.earliest)
    low, high = limits.scale or (None, None)
    found = {"min_rating": low, "max_rating": high, "earliest": limits.earliest}
    fitting = {
        name: value for name, value in found.items() if value is not None and name not in checks.model_fields_set
    }
    return ChecksConfig.model_validate(checks.model_dump(exclude_unset=True) | fitting)


def configuration(
    ingest: IngestConfig, proposed: Proposed, judged: Judged, checks: ChecksConfig, told: ChecksConfig
) -> list[Line]:
    """Every line of it, those that are only offered among them."""
    scale = (checks.min_rating, checks.max_rating)
    return [
        *_sources(ingest, proposed),
        *_positives(ingest, judged, None if scale[0] is None or scale[1] is None else (scale[0], scale[1])),
        *_limits(checks, told),
        *how_to_judge(judged.log),
        which_model(judged.log),
    ]


def write(lines: list[Line], config: InspectConfig, checks: ChecksConfig, judged: Judged) -> dict[str, Any]:
    """The text for the terminal; with --write the two files, and what to type next."""
    head = [f"Proposed by `encore inspect` for {config.path}: {judged.read:,} rows. Check it, then run"]
    if config.write is None:
        text = as_yaml(lines, [*head, "  encore retrain --config=THIS_FILE"])
        return {"configuration": text, "settings": as_mapping(lines), "written": [], "next": _next(config)}
    folder = Path(config.write).expanduser().absolute()
    files = {name: folder / name for name in (CONFIGURATION, SUITE)}
    command = f"encore retrain --config={shlex.quote(str(files[CONFIGURATION]))}"
    suite = Line("checks", "suite", str(files[SUITE]), "every limit, with its severity: edit them there")
    lines = [line for line in lines if line.section != "checks"] + [suite]
    text = as_yaml(lines, [*head, f"  {command}"])
    _put(files[CONFIGURATION], text)
    _put(files[SUITE], dump_suite(checks))
    return {
        "configuration": text,
        "settings": as_mapping(lines),
        "written": [str(path) for path in files.values()],
        "next": command,
    }


def _sources(ingest: IngestConfig, proposed: Proposed) -> list[Line]:
    """Paths are written in full: a night may be started from anywhere."""
    paths = {name: [_absolute(path) for path in getattr(ingest, name)] for name in ("interactions", "users", "items")}
    called = "; ".join(f"{one.column} is the {one.field}" for one in proposed.proposals)
    delivery = (
        "new files add to what was taken in; dump: tonight's files are all there is"
        if ingest.appends
        else "tonight's file is all there is; append: what was taken in stays, and new files add to it"
    )
    name = ingest.name or ingest.dataset.rpartition("-")[0] or ingest.dataset
    return [
        Line("ingest", "name", name, "what the dataset is called, wherever its files lie"),
        *(
            Line("ingest", table, files[0] if len(files) == 1 else files, f"the {table}")
            for table, files in paths.items()
            if files
        ),
        *([Line("ingest", "columns", ingest.columns, f"yours: ours. {called}")] if ingest.columns else []),
        *([] if ingest.columns else [Line("ingest", "", None, f"recognised by their names: {called}")]),
        Line("ingest", "delivery", "append" if ingest.appends else "dump", delivery),
    ]


def _positives(ingest: IngestConfig, judged: Judged, scale: tuple[float, float] | None) -> list[Line]:
    """What was told goes before what is proposed."""
    told = {"events": ingest.events or None, "min_rating": ingest.min_rating}
    own = [Line("ingest", name, value, "told") for name, value in told.items() if value is not None]
    return own + [line for line in positives(judged.log, scale) if told[line.field] is None]


def _limits(checks: ChecksConfig, told: ChecksConfig) -> list[Line]:
    why = {
        "min_rating": "nearly all ratings lie on this scale; others go to quarantine",
        "max_rating": "see min_rating",
        "earliest": "the log begins before the usual limit of 1990-01-01",
    }
    chosen = checks.model_dump(exclude_unset=True)
    return [
        Line("checks", name, value, "told" if name in told.model_fields_set else why[name])
        for name, value in chosen.items()
    ]


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def _next(config: InspectConfig) -> str:
    return f"encore inspect {shlex.quote(config.path)} --write=FOLDER"


def _put(path: Path, text: str) -> None:
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
