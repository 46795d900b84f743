"""`encore diff ONE OTHER`: two nights beside each other, by version or by run, as a page and in a few lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands import DiffConfig
from flows.config import Settings
from flows.diffed import print_diff
from tasks.errors import ConfigError
from tasks.store.atomic import new_file

if TYPE_CHECKING:
    from tasks.cards.sides import Side

RUN_ID_LENGTH = 32  # of MLflow's ids: a version is shorter
SHOWN = 8  # letters of a run's id


def diff(config: DiffConfig, settings: Settings) -> dict[str, Any]:
    """Writes the page. Changes nothing else.

    Raises ConfigError for a version or run that does not exist or kept too little, RunFailed where MLflow is out of
    reach."""
    from tasks.cards.diff import in_words, pairing_in_words, render  # matplotlib and MLflow: a refusal needs neither
    from tasks.cards.pairing import make_diff
    from tasks.cards.settings import changed_data, changed_settings

    settings = settings.resolved()
    page = Path(config.write).expanduser()
    if page.is_dir():
        raise ConfigError(f"--write={config.write} is a folder", "write --write=FILE.html")
    one, other = (find_side(config, settings, name) for name in (config.one, config.other))
    made = make_diff(settings.store, one, other, config.resamples)
    with new_file(page) as temporary:
        temporary.write_text(render(made), encoding="utf-8")
    return {
        "dataset": other.result["dataset"],
        "page": str(page.resolve()),
        **{place: _told(side) for place, side in (("one", one), ("other", other))},
        "verdict": in_words(made),
        "pairing": made.pairing,
        "paired": pairing_in_words(made),
        "differences": made.differences,
        "settings": changed_settings(one, other),
        "data": changed_data(one, other),
        "overlap_at_10": made.lists.overlap if made.lists else None,
    }


def show_diff(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_diff(result)


def find_side(config: DiffConfig, settings: Settings, name: str) -> "Side":
    """The night of a version, or of a run by its id."""
    from tasks.cards.sides import load_side
    from tasks.tracking.registry import find_version
    from tasks.tracking.runs import run_exists

    if len(name) == RUN_ID_LENGTH:
        run_id, label = name, f"run {name[:SHOWN]}"
        if not run_exists(settings.tracking_uri, run_id):
            raise ConfigError(f"MLflow has no finished run {name}", "see its page in MLflow, or name a version")
    elif (version := find_version(settings.tracking_uri, config.model, name)) is not None:
        run_id, label = version.run_id, f"version {name}"
    else:
        raise ConfigError(
            f"{config.model} has no version {name}", "see encore history, or name the dataset: --ingest.name=NAME"
        )
    if (side := load_side(settings.tracking_uri, run_id, label)) is None:
        raise ConfigError(
            f"{label} kept nothing to compare: it is not a night's, or one of an earlier Encore",
            "name a version or run that encore retrain has made",
        )
    return side


def _told(side: "Side") -> dict[str, Any]:
    """What the result says of a side."""
    result = side.result
    return {
        "label": side.label,
        "run_id": result["run_id"],
        "version": result["model"]["version"],
        "model": result["model"]["config"]["name"],
        "ndcg_at_10": result["metrics"]["test/ndcg_at_10"],
        "promoted": result["decision"]["promote"],
        "night": result["as_of"],
    }
