"""What a search varies: names and ranges as they were written, checked against the night that they are for."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from models.search import Space, parse_space

SECTIONS = ("model", "trainer", "sample")
LUCK = "trainer.seed"


def flat(told: Any, prefix: str = "") -> Any:
    """`{model: {dim: [..]}}` as `{model.dim: [..]}`; what is no mapping stays as it is."""
    if not isinstance(told, dict):
        return told
    found: dict[str, Any] = {}
    for name, value in told.items():
        nested = isinstance(value, dict) and not {"low", "high"} & set(value)
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def read_search(told: Mapping[str, Any], sections: Mapping[str, BaseModel]) -> dict[str, Space]:
    """The spaces by option. Raises ValueError, in one line, for a name that is none and a space that makes no sense."""
    found = {}
    for name, space in told.items():
        if name == LUCK:
            raise ValueError(f"search: {LUCK} is luck, not a setting: leave it out")
        whole = only_whole(_annotation(name, sections))
        try:
            found[name] = parse_space(space, whole)
        except ValidationError as error:
            raise ValueError(f"search: {name}: {_first(error)}") from error
        except ValueError as error:
            raise ValueError(f"search: {name}: {error}") from error
    return found


def why_not(values: Callable[[Mapping[str, Any]], object], name: str, space: Space) -> str | None:
    """Why the night cannot take one of the space's ends; None where it takes all. `values` makes the night."""
    for end in space.ends:
        try:
            values({name: end})
        except ValidationError as error:
            return f"{end}: {_first(error)}"
    return None


def _annotation(name: str, sections: Mapping[str, BaseModel]) -> Any:
    """The type of the field that an option names."""
    section, *path = name.split(".")
    if section not in sections or not path:
        known = " and ".join(f"{one}.*" for one in sections)
        raise ValueError(f"search: {name}: only {known} are varied")
    at: Any = type(sections[section])
    for part in path:
        fields = at.model_fields if isinstance(at, type) and issubclass(at, BaseModel) else {}
        if part not in fields:
            near = get_close_matches(part, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"search: {name}: there is no such field{hint}")
        at = fields[part].annotation
    return at


def only_whole(annotation: Any) -> bool:
    """Whether a field takes whole numbers and no others."""
    kinds = {annotation, *_parts(annotation)}
    return int in kinds and float not in kinds


def _parts(annotation: Any) -> set[Any]:
    found = {part for part in get_args(annotation) if isinstance(part, type)}
    for part in get_args(annotation):
        found |= _parts(part)
    return found


def put(values: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with these options set."""
    for name, value in params.items():
        at, path = values, name.split(".")
        for part in path[:-1]:
            at[part] = dict(at.get(part) or {})
            at = at[part]
        at[path[-1]] = value
    return values


def value_of(config: BaseModel, name: str) -> Any:
    """What a configuration has for an option."""
    at: Any = config
    for part in name.split("."):
        at = getattr(at, part)
    return at


def _first(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
