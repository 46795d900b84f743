"""From the command line and YAML to the configuration: `--section.field=value`, spelt exactly as the fields are.

Flags go before the file, the file before the environment, the environment before the defaults.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from flows.config import PipelineConfig, Settings
from models.registry import MODELS, model_class
from tasks.errors import ConfigError, without_passwords


@dataclass(frozen=True)
class Options:
    """What one command was told."""

    config: PipelineConfig
    settings: Settings


def read_options(flags: Mapping[str, str], config_file: str | None) -> Options:
    """Validates flags and file together. Raises ConfigError with the misspelt key, its place and the nearest one."""
    values = _read_yaml(config_file) if config_file else {}
    for name, text in flags.items():
        _put(values, name.split("."), _value(text), name)
    own = {name: values.pop(name) for name in list(values) if name in Settings.model_fields}
    try:
        return Options(PipelineConfig.model_validate(values).resolved(), Settings.model_validate(own).resolved())
    except ValidationError as error:
        raise ConfigError(*_explain(error)) from error


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """`--a.b=c`, `--a.b c` and a lone `--flag` (true) as a mapping. Raises ConfigError for anything else."""
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"unexpected argument {word!r}", "options look like --section.field=value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        if name in flags:
            raise ConfigError(f"--{name} is given twice", "give it once")
        flags[name] = text
    return flags


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every option below a configuration: its name, its default and its help."""
    for name, field in model.model_fields.items():
        if name == "model" and model is PipelineConfig:
            yield "model.name", "bpr_mf", f"One of: {', '.join(sorted(MODELS))}. Each has fields of its own:"
            for known in sorted(MODELS):
                for option, default, text in fields(model_class(known).Config, "model."):
                    if option != "model.name":
                        yield option, default, f"({known}) {text}"
        elif isinstance(field.default, BaseModel):
            yield from fields(type(field.default), f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            choices = list(_choices(field.annotation))
            text = " ".join((field.description or "").split())
            yield f"{prefix}{name}", _shown(default), f"{' | '.join(choices)}. {text}" if choices else text


def _shown(value: Any) -> str:
    if value is None or value == () or value == {} or value == "":
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _value(text: str) -> Any:
    """Text stays text: the fields know their types. Only lists, mappings and null are read here."""
    if text in ("null", "none", "None"):
        return None
    if text[:1] in "[{" and text[:1]:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"cannot read the value {text!r}", "lists look like [10,20], mappings like {a: b}"
            ) from error
    return text


def _choices(annotation: Any) -> Iterator[str]:
    """The values of a Literal, optional or not."""
    if get_origin(annotation) is Literal:
        yield from (str(choice) for choice in get_args(annotation))
    else:
        for part in get_args(annotation):
            if get_origin(part) is Literal:
                yield from _choices(part)


def _put(values: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    at = values
    for part in path[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(f"--{name}: {part} is not a section", "see encore retrain --help")
    at[path[-1]] = value


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {path}", "check --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check --config") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}", "mend the file") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path} holds no mapping", "write sections such as `model: {name: bpr_mf}`")
    return {name: value for name, value in (content or {}).items() if value is not None}  # an empty section is none


def _explain(error: ValidationError) -> tuple[str, str]:
    """One line for what is wrong first, and what to type instead."""
    first, more = error.errors()[0], error.error_count() - 1
    path = [str(part) for place, part in enumerate(first["loc"]) if not (place == 1 and first["loc"][0] == "model")]
    name, given = ".".join(path), first.get("input")
    also = f" (and {more} more)" if more else ""
    if first["type"] == "extra_forbidden":
        known = [option for option, _, _ in [*fields(PipelineConfig), *fields(Settings)]]
        if name in known:
            return f"model {first['loc'][1]} has no field {path[-1]}{also}", "it belongs to another model; see --help"
        near = get_close_matches(name, known, n=1) or get_close_matches(
            path[-1], [k.split(".")[-1] for k in known], n=1
        )
        hint = f"did you mean {near[0]}?" if near else "see encore retrain --help"
        return f"unknown option {name}{also}", hint
    if first["type"] == "union_tag_invalid":
        wrong = str(given.get("name")) if isinstance(given, dict) else str(given)
        near = get_close_matches(wrong, MODELS, n=1)
        return f"unknown model {wrong!r}; known: {', '.join(sorted(MODELS))}", (
            f"did you mean --model.name={near[0]}?" if near else "set --model.name to one of them"
        )
    message = first["msg"].removeprefix("Value error, ")
    shown = (
        f" (given: {without_passwords(json.dumps(given, default=str))})" if name and not isinstance(given, dict) else ""
    )
    return f"{name + ': ' if name else ''}{message}{shown}{also}", "see encore retrain --help"
