"""What a night keeps so that its version can be made once more, by `encore reproduce`, as files of its MLflow run.

night/config.json       the whole configuration, resolved
night/snapshot.json     the rows: partitions of the lake, with their fingerprints
night/files.json        what else was read from files, by option: the path as it was given, and its sha256
night/result.json       the night's result, without the places of this machine
night/environment.json  what it was computed with
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.config import ModelConfig
from models.registry import make_config, modules_used
from tasks.errors import without_passwords
from tasks.pairs_file import content_hash
from tasks.record.environment import environment, revision
from tasks.store.keys import code_hash, make_hash
from tasks.store.refs import SnapshotRef
from tasks.tracking.night_files import FOLDER
from tasks.tracking.runs import Run

PLACES = ("data_dir", "tracking_uri")
STEPS = (
    "tasks.split.task",
    "tasks.sample.task",
    "tasks.sample.windows",
    "tasks.train.task",
    "tasks.evaluate.task",
)
"""The modules that compute a version and its figures, beside those of its model."""
FILES = (
    ("split", "test"),
    ("split", "valid"),
    ("evaluate", "candidates"),
    ("trainer", "initial_weights"),
)
"""Options that name a file whose content decides what is computed."""


def keep(run: Run, config: Mapping[str, Any], snapshot: SnapshotRef, result: Mapping[str, Any]) -> None:
    """Logs all that `encore reproduce` reads. `config` is the configuration as plain values, resolved."""
    for name, content in night_files(config, snapshot, result).items():
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        run.log_text(without_passwords(text) + "\n", f"{FOLDER}/{name}.json")


def night_files(
    config: Mapping[str, Any], snapshot: SnapshotRef, result: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The content of each file, by its name."""
    model = make_config(**config["model"])
    return {
        "config": config,
        "snapshot": asdict(snapshot),
        "files": files_read(config),
        "result": {name: value for name, value in result.items() if name not in PLACES},
        "environment": environment() | {"code": code_of(model)},
    }


def files_read(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By option, which file it names and what was in it. Raises ConfigError for one that is gone."""
    named = {f"{section}.{field}": config[section][field] for section, field in FILES}
    return {
        option: {"path": path, "sha256": content_hash(path, option) or ""}
        for option, path in named.items()
        if path is not None
    }


def code_of(model: ModelConfig) -> str:
    """Hash of the code that computes a model of this configuration and its figures."""
    return make_hash([code_hash(module) for module in (*STEPS, *modules_used(model))])


def code_tags(model: ModelConfig) -> dict[str, str]:
    """What a registered version says of the code that made it; `revision` only where the code lies in a git tree."""
    found = revision()
    return {"code": code_of(model)} | ({"revision": found} if found else {})
