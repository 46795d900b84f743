"""Keys: the hash of a step's inputs, its configuration and its code. It names the step's output folder.

Code is part of the key, so an improved step is run again; it is read from our own source files, following the imports,
so that a change anywhere below a step counts and a change beside it does not.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

OUR_PACKAGES = ("flows", "tasks", "models")


def make_key(step: str, *inputs: Any) -> str:
    """Key of a step run: `step` is the module that does the work, `inputs` its refs, configurations and values."""
    return make_hash(step, code_hash(step), *inputs)


def make_hash(*values: Any) -> str:
    """Hash of refs, configurations and plain values; equal values, equal hash."""
    content = [_plain(value) for value in values]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


@cache
def code_hash(module: str) -> str:
    """sha256 over the source of a module of ours and of all that it imports from us."""
    found: dict[str, Path] = {}
    _collect(module, found)
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\0".encode() + found[name].read_bytes() + b"\0")
    return digest.hexdigest()


def _collect(module: str, found: dict[str, Path]) -> None:
    source = _source(module)
    if source is None or module in found:
        return
    found[module] = source
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    for name in _imported(ast.parse(source.read_bytes()), package):
        if name.split(".")[0] in OUR_PACKAGES:
            _collect(name, found)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: climb from the package
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _source(module: str) -> Path | None:
    """The file of a module of ours; None for a name inside a module. Looks at paths only: nothing is imported."""
    package, *rest = module.split(".")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    place = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    for candidate in (place.with_suffix(".py") if rest else None, place / "__init__.py"):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.compare}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
