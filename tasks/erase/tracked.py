"""A person's traces in MLflow: bundles of registered versions, pages of runs, and their descriptions."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from models.bundle import BundleDamaged
from models.forgetting import CATALOGUE, RECORD, forget, knows, users_of
from tasks.erase.person import ANYBODY, Person
from tasks.errors import RunFailed
from tasks.store.traces import Trace
from tasks.tracking.forgetting import Files, Kept, note_of, write_note

EXAMPLES = ("input_example.json", "serving_input_example.json")
TEXTS = (".html", ".md", ".csv", ".json", ".txt")


def find_tracked(person: Person, kept: Kept, versions: Mapping[str, str]) -> list[Trace]:
    """All of them. `versions`: what to call a model, by the id that MLflow logged it under.

    Raises RunFailed for a bundle that is damaged: nobody can tell whom it knows."""
    traces = [*(one for model in kept.models for one in _in_model(person, model, versions))]
    return [*traces, *(one for run in kept.runs for one in _in_run(person, run))]


def _in_model(person: Person, model: Files, versions: Mapping[str, str]) -> Iterator[Trace]:
    title = versions.get(str(model.model_id), f"model {model.model_id}")
    for record in [name for name in model.names("artifacts") if name.endswith(f"/{RECORD}")]:
        parts = (record, str(Path(record).with_name(CATALOGUE)))
        with model.fetched(*parts) as folder:
            try:
                found = knows((folder / record).parent, person.user_id)
            except BundleDamaged as error:
                raise RunFailed(f"{title}: {error}", "restore it from a backup, or delete this version") from error
        if found:
            yield Trace("models", title, "rewritten", partial(_clear_bundle, person, model, parts))
    examples = [name for name in EXAMPLES if name in model.names()]
    with model.fetched(*examples) as folder:
        shown = [name for name in examples if _names(_read(folder / name), person)]
    if shown:
        yield Trace("models", f"{title}, example", "rewritten", partial(_clear_examples, person, model, shown))


def _clear_bundle(person: Person, model: Files, parts: tuple[str, str]) -> None:
    """The catalogue first: `forget` can tell a bundle that has only that."""
    record, catalogue = parts
    with tempfile.TemporaryDirectory(prefix="encore-") as scratch, model.fetched(*parts) as folder:
        if forget((folder / record).parent, person.user_id, Path(scratch)):
            model.replace(catalogue, Path(scratch) / CATALOGUE)
            model.replace(record, Path(scratch) / RECORD)


def _clear_examples(person: Person, model: Files, shown: list[str]) -> None:
    """An example needs a user: somebody whom the model still knows, after the bundle was cleared."""
    record = next(name for name in model.names("artifacts") if name.endswith(f"/{RECORD}"))
    catalogue = str(Path(record).with_name(CATALOGUE))
    with tempfile.TemporaryDirectory(prefix="encore-") as scratch, model.fetched(*shown, catalogue) as folder:
        other = next(iter(users_of((folder / catalogue).parent)), ANYBODY)
        for name in shown:
            new = Path(scratch) / name
            new.write_text(json.dumps(_replaced(_read(folder / name), person, other)), encoding="utf-8")
            model.replace(name, new)


def _in_run(person: Person, run: Files) -> Iterator[Trace]:
    for name in [name for name in run.names() if name.endswith(TEXTS)]:
        with run.fetched(name) as folder:
            text = (folder / name).read_text(encoding="utf-8")
        if person.taken_out_of(text) != text:
            yield Trace("runs", f"{run.run_id}/{name}", "rewritten", partial(_clear_page, person, run, name))
    note = note_of(run)
    if (without := person.taken_out_of(note)) != note:
        yield Trace("runs", f"{run.run_id}, description", "rewritten", partial(write_note, run, without))


def _clear_page(person: Person, run: Files, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="encore-") as scratch, run.fetched(name) as folder:
        new = Path(scratch) / Path(name).name
        new.write_text(person.taken_out_of((folder / name).read_text(encoding="utf-8")), encoding="utf-8")
        run.replace(name, new)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _names(value: Any, person: Person) -> bool:
    return bool(_replaced(value, person, ANYBODY) != value)


def _replaced(value: Any, person: Person, other: str) -> Any:
    """JSON with another user wherever a value is the person's id."""
    if isinstance(value, dict):
        return {name: _replaced(one, person, other) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, person, other) for one in value]
    return other if value is not None and str(value) == person.user_id else value
