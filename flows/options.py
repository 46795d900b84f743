"""From the command line and YAML to the configuration: `--section.field=value`, spelt exactly as the fields are.

Flags go before the file, the file before the environment, the environment before the defaults.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from flows.commands import COMMANDS, POSITIONAL
from flows.config import CompareConfig, PipelineConfig, Settings, TuneConfig
from models.registry import MODELS, model_class
from tasks.errors import ConfigError, without_passwords

Config = TypeVar("Config")
CONFIGS: dict[str, type[Any]] = {"compare": CompareConfig, "tune": TuneConfig, **COMMANDS}
"""What a command is told; all others are told a night."""
FIRST = ("models", "seeds", *dict.fromkeys(chain.from_iterable(POSITIONAL.values())))
"""What the help of a command begins with."""
MODELS_HINT = "fields of a model go into the file of --config, as `models: [ease, {name: ials, dim: 128}]`"


@dataclass(frozen=True)
class Options(Generic[Config]):
    """What one command was told."""

    config: Config
    settings: Settings


def read_options(flags: Mapping[str, str], config_file: str | None, command: str = "retrain") -> Options[Any]:
    """Validates flags and file together. Raises ConfigError with the misspelt key, its place and the nearest one."""
    kind = CONFIGS.get(command, PipelineConfig)
    values = _read_yaml(config_file) if config_file else {}
    if command in COMMANDS:  # a night's file tells such a command which dataset is meant; the rest is not its affair
        of_nights = PipelineConfig.model_fields.keys() - kind.model_fields.keys()
        values = {name: value for name, value in values.items() if name not in of_nights}
    for name, text in flags.items():
        # an id or path is what was typed, `null` and `[a]` too
        _put(values, name.split("."), text if name in POSITIONAL.get(command, ()) else _value(text), name, command)
    own = {name: values.pop(name) for name in list(values) if name in Settings.model_fields}
    try:
        config = kind.model_validate(values)
        _refuse_limits_beside_a_suite(config, flags)
        return Options(config.resolved() if hasattr(config, "resolved") else config, Settings(**own).resolved())
    except ValidationError as error:
        raise ConfigError(*_explain(error, command)) from error


def options_of(command: str) -> list[tuple[str, str, str]]:
    """Every option of a command: its name, its default and its help; what must be given comes first."""
    kind = CONFIGS.get(command, PipelineConfig)
    return sorted([*fields(Settings), *fields(kind)], key=lambda option: option[0] not in FIRST)


def parse(arguments: Sequence[str], positional: Sequence[str] = ()) -> dict[str, str]:
    """`--a.b=c`, `--a.b c` and a lone `--flag` (true) as a mapping; words without dashes are `positional`, in order.

    Raises ConfigError for anything else."""
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        left = [name for name in positional if name not in flags]
        if left and not word.startswith("--"):
            flags[left[0]] = word
            continue
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
        if name == "model" and issubclass(model, PipelineConfig):
            yield "model.name", "bpr_mf", f"One of: {', '.join(sorted(MODELS))}. Each has fields of its own:"
            for known in sorted(MODELS):
                for option, default, text in fields(model_class(known).Config, "model."):
                    if option != "model.name":
                        yield option, default, f"({known}) {text}"
        elif name == "models":
            yield (
                name,
                "NAME,NAME",
                f"{' '.join((field.description or '').split())} Known: {', '.join(sorted(MODELS))}.",
            )
        elif isinstance(field.default, BaseModel):
            yield from fields(type(field.default), f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            choices = list(_choices(field.annotation))
            text = " ".join((field.description or "").split())
            yield f"{prefix}{name}", _shown(default), f"{' | '.join(choices)}. {text}" if choices else text


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined or value == () or value == {} or value == "":
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


def _put(values: dict[str, Any], path: Sequence[str], value: Any, name: str, command: str) -> None:
    at = values
    for part in path[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(f"--{name}: {part} is not a section", f"see encore {command} --help")
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


def _refuse_limits_beside_a_suite(config: Any, flags: Mapping[str, str]) -> None:
    """A file of expectations takes the place of all limits: one that is typed beside it would do nothing."""
    limits = sorted(name for name in flags if name.startswith("checks.") and name != "checks.suite")
    if limits and config.checks.suite is not None:
        told = f"--{limits[0]} has no effect beside checks.suite={config.checks.suite}"
        raise ConfigError(told, "edit the limit in that file, or add --checks.suite=null")


def _explain(error: ValidationError, command: str) -> tuple[str, str]:
    """One line for what is wrong first, and what to type instead."""
    first, more = error.errors()[0], error.error_count() - 1
    place, given, kind = first["loc"], first.get("input"), str(first["type"])
    name = _spelt(place)
    help_ = MODELS_HINT if place[:1] == ("models",) else f"see encore {command} --help"
    also = f" (and {more} more)" if more and place[:1] != ("models",) else ""  # there one error makes a second
    if kind == "extra_forbidden":
        return _unknown(place, name, also, command)
    if kind == "union_tag_invalid":
        return _unknown_model(given, command)
    if kind == "missing" and name in (words := POSITIONAL.get(command, ())):
        needs = f"a {name}" if len(words) == 1 else f"{len(words)} words"
        return f"encore {command} needs {needs}", f"write encore {command} {' '.join(words).upper()}"
    if kind == "missing" and command in COMMANDS:
        return f"encore {command} needs --{name}", f"write --{name}=..."
    if (kind, name) == ("missing", "models"):
        return "models is missing: nothing to compare", f"--models=NAME,NAME, of: {', '.join(sorted(MODELS))}"
    message = first["msg"].removeprefix("Value error, ")
    shown = (
        f" (given: {without_passwords(json.dumps(given, default=str))})" if name and not isinstance(given, dict) else ""
    )
    return f"{name + ': ' if name else ''}{message}{shown}{also}", help_


def _spelt(place: Sequence[int | str]) -> str:
    """A place in the configuration as an option is spelt: the model's own name is no part of it."""
    tag = {"model": 1, "models": 2}.get(str(place[0])) if place else None
    return ".".join(str(part) for at, part in enumerate(place) if at != tag)


def _unknown(place: Sequence[int | str], name: str, also: str, command: str) -> tuple[str, str]:
    """For a field that does not exist here: the nearest one, or the model or command that has it."""
    known = [option for option, _, _ in options_of(command)]
    sections = sorted({option.partition(".")[0] for option in known if "." in option})
    if place[0] == "models":
        near = get_close_matches(str(place[-1]), model_class(str(place[2])).Config.model_fields, n=1)
        return f"{name}: {place[2]} has no such field", f"did you mean {near[0]}?" if near else MODELS_HINT
    if name in known:
        return f"model {place[1]} has no field {place[-1]}{also}", "it belongs to another model; see --help"
    if name == "model":
        return f"encore {command} takes no options of one model", MODELS_HINT
    if name in PipelineConfig.model_fields:
        return f"encore {command} does not read {name}: it promotes and publishes nothing", "leave it out"
    near = get_close_matches(name, [*sections, *known], n=1) or get_close_matches(
        str(place[-1]), [k.split(".")[-1] for k in known], n=1
    )
    return f"unknown option {name}{also}", f"did you mean {near[0]}?" if near else f"see encore {command} --help"


def _unknown_model(given: Any, command: str) -> tuple[str, str]:
    wrong = str(given.get("name")) if isinstance(given, dict) else str(given)
    near = get_close_matches(wrong, MODELS, n=1)
    option = "--models" if command == "compare" else "--model.name"
    hint = f"did you mean {option}={near[0]}?" if near else f"set {option} to one of them"
    return f"unknown model {wrong!r}; known: {', '.join(sorted(MODELS))}", hint
