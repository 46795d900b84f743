"""One line per model. Strings, not imports: a broken model hurts only itself, nothing is loaded before it is used."""

import pkgutil
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field

from .base import Recommender, TrainingData
from .config import ModelConfig

MODELS = {
    "popularity": ".popularity:Popularity",
    "item_knn": ".item_knn:ItemKNN",
    "markov": ".markov:Markov",
    "ease": ".ease:EASE",
    "graph_filter": ".graph_filter:GraphFilter",
    "bpr_mf": ".bpr_mf.model:BPRMF",
    "ials": ".ials.model:IALS",
    "lightgcn": ".lightgcn.model:LightGCN",
    "gmf": ".ncf.model:GMF",
    "mlp": ".ncf.model:MLP",
    "neumf": ".ncf.neumf:NeuMF",
    "mind": ".mind:MIND",
    "youtube_dnn": ".youtube_dnn:YouTubeDNN",
    "caser": ".caser:Caser",
    "sasrec": ".sasrec:SASRec",
    "gru4rec": ".gru4rec:GRU4Rec",
    "blend": ".blend.model:Blend",
}

DEFAULT_MODEL = "bpr_mf"


def model_class(name: str) -> type[Recommender]:
    """The class behind a model's name. Raises ValueError for a name that is not in MODELS."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    found: type[Recommender] = pkgutil.resolve_name(f"{__package__}{MODELS[name]}")
    return found


def modules_used(config: ModelConfig) -> list[str]:
    """The modules whose code decides what a model of this configuration computes: its own and its members'."""
    return [model_class(name).__module__ for name in config.models_used()]


def depends_on_seed(config: ModelConfig) -> bool:
    """Whether another seed makes another model of this configuration."""
    return any(model_class(name).Config.by_chance for name in config.models_used())


def config_union() -> Any:
    """Every model's configuration as one pydantic union, discriminated by `name`."""
    configs = [model_class(name).Config for name in MODELS]
    return Annotated[reduce(or_, configs), Field(discriminator="name", json_schema_extra=_as_any_of)]


def _as_any_of(schema: dict[str, Any]) -> None:
    """Prefect's run form draws the fields of an `anyOf`; a `oneOf` it shows as raw JSON."""
    schema["anyOf"] = schema.pop("oneOf")


def make_config(name: str, **fields: Any) -> ModelConfig:
    """A model's configuration from its name and fields. Raises pydantic.ValidationError for a misspelt field."""
    return model_class(name).Config(name=name, **fields)


def build(name: str, config: ModelConfig, data: TrainingData) -> Recommender:
    """An untrained model: `build(name, make_config(name), data).fit(data, session).score(query)`."""
    return model_class(name).build(config, data)
