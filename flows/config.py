"""The one configuration model, and the settings beside it.

What is computed is `PipelineConfig`: frozen, logged, hashed. Where and when is `Settings`: never hashed, never a reason
for another result. The command, YAML files and Prefect's run form all fill these two.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import torch
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from flows.search_space import SECTIONS, flat, put, read_search, value_of, why_not
from models.config import ModelConfig
from models.fitting.config import TrainerConfig
from models.frozen import Frozen, split_commas
from models.registry import DEFAULT_MODEL, config_union, make_config
from models.search import Space
from tasks.evaluate.config import EvaluateConfig
from tasks.ingest.config import NAME, IngestConfig
from tasks.promote.config import GateConfig
from tasks.publish.config import RecommendConfig
from tasks.sample.config import SampleConfig
from tasks.split.config import SplitConfig
from tasks.store.store import Store
from tasks.validate.config import ChecksConfig

if TYPE_CHECKING:
    AnyModelConfig = ModelConfig
else:
    AnyModelConfig = config_union()


class PipelineConfig(Frozen):
    """What a night computes. Equal configurations on equal data give equal results."""

    ingest: IngestConfig = IngestConfig()
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    sample: SampleConfig = SampleConfig()
    model: AnyModelConfig = make_config(DEFAULT_MODEL)
    trainer: TrainerConfig = TrainerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    recommend: RecommendConfig = RecommendConfig()
    experiment: str = Field(default="", max_length=200)
    """The MLflow experiment; unset: the dataset's name."""
    registered_model: str = Field(default="", pattern=NAME)
    """The registered model; unset: `encore-<dataset>`."""

    @model_validator(mode="before")
    @classmethod
    def _default_model(cls, values: Any) -> Any:
        """Fields of the model section without its name are those of the default model."""
        if isinstance(values, dict) and isinstance(values.get("model"), dict):
            return {**values, "model": {"name": DEFAULT_MODEL, **values["model"]}}
        return values

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        given = self.split.test or self.evaluate.candidates
        if self.split.protocol == "given" and not given:
            raise ValueError("split.protocol `given` needs split.test or evaluate.candidates")
        if self.evaluate.candidates and self.split.protocol not in (None, "given"):
            raise ValueError("evaluate.candidates only judge: they go with split.protocol `given`")
        if self.trainer.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("trainer.device is cuda, but torch sees no GPU; use auto or cpu")
        self.model.complete_sampling(self.sample)  # all three raise for what makes no sense
        self.model.showing(self.sample.history_length)
        self.model.complete(self.trainer, self.sample)
        if (asked := self.trainer.continues) and not self.model.learns:
            raise ValueError(f"{self.model.name} is fitted without epochs: leave {' and '.join(asked)} unset")
        if self.split.valid and not given:
            raise ValueError("split.valid needs split.test or evaluate.candidates beside it")
        return self

    @property
    def dataset(self) -> str:
        return self.ingest.dataset

    def resolved(self) -> "PipelineConfig":
        """With every default that depends on another field filled in: what is hashed and logged."""
        model = self.model.showing(self.sample.history_length)
        shown = {"history_length": self.sample.history_length or model.shown}
        return self.model_copy(
            update={
                "ingest": self.ingest.model_copy(update={"name": self.dataset}),
                "split": self.split.model_copy(update={"protocol": self._protocol()}),
                "model": model,
                "sample": self.model.complete_sampling(self.sample).model_copy(update=shown),
                "trainer": self.model.complete(self.trainer, self.sample),
                "experiment": self.experiment or self.dataset,
                "registered_model": self.registered_model or f"encore-{self.dataset}",
            }
        )

    def _protocol(self) -> Any:
        """None where the log decides: temporal with timestamps, random without."""
        if self.split.protocol is not None:
            return self.split.protocol
        if self.split.test or self.evaluate.candidates:
            return "given"
        # A global cut would leave most MovieLens users without a past: they rated everything in one sitting.
        return "leave_last_out" if self.ingest.source.startswith("movielens") else None


class TuneConfig(PipelineConfig):
    """A night whose model is searched for first: on the validation rows only, and then judged once."""

    trials: PositiveInt = 20
    """Settings that are tried, the model's own defaults first, those of an interrupted search among them."""
    workers: PositiveInt = 1
    """Trials at a time, each in a process of its own; they share the cores."""
    search: Annotated[dict[str, Any], BeforeValidator(flat)] = Field(default={})
    """What is varied instead of the model's own search space: `{model.dim: [32, 64, 128], trainer.learning_rate: {low:
    0.001, high: 0.1, log: true}}`. Of the model's own space, what you set to something else than its default stays."""

    @model_validator(mode="after")
    def _has_something_to_vary(self) -> Self:
        if self.trainer.initial_weights is not None or self.trainer.initial_epoch:
            raise ValueError("trainer.initial_weights and initial_epoch go on with one model's fit: use encore retrain")
        for name, space in self.space.items():
            if why := why_not(self.night, name, space):
                raise ValueError(f"search: {name}: {why}")
        if not self.space:
            varied = (
                "search: all that it varies is set" if self.model.search else f"{self.model.name} has nothing to tune"
            )
            raise ValueError(f"{varied}; name what varies, as in --search='{{model.FIELD: [1, 2]}}'")
        return self

    @property
    def space(self) -> dict[str, Space]:
        """What is varied, by option."""
        if self.search:
            return read_search(self.search, {name: getattr(self, name) for name in SECTIONS})
        unset = PipelineConfig(model=make_config(self.model.name))
        return {
            name: space
            for name, space in self.model.search.items()
            if value_of(self, name) == value_of(unset, name) and why_not(self.night, name, space) is None
        }

    @property
    def first(self) -> dict[str, Any]:
        """What the first trial has, which is the night without a search; what is left to the fit is not in it."""
        night = self.night({})
        told = {name: value_of(night, name) for name in self.space}
        return {name: value for name, value in told.items() if self.space[name].holds(value)}

    def night(self, params: Mapping[str, Any]) -> PipelineConfig:
        """The complete configuration of a night with these options. Raises ValidationError for what makes no sense."""
        values = {name: getattr(self, name) for name in PipelineConfig.model_fields}
        asked = {name: values[name].model_dump(exclude_unset=True) for name in SECTIONS}
        asked["model"]["name"] = self.model.name
        return PipelineConfig.model_validate(values | put(asked, params)).resolved()

    def resolved(self) -> "TuneConfig":
        """With the defaults that no trial changes; the others are in each trial's `night`."""
        night = super().resolved()
        shared = ("ingest", "split", "experiment", "registered_model")
        return self.model_copy(update={name: getattr(night, name) for name in shared})


def _as_sections(value: Any) -> Any:
    """A model's name alone is the section of that model with its defaults."""
    parts = split_commas(value)
    if not isinstance(parts, list | tuple):
        return parts
    return [{"name": part} if isinstance(part, str) else part for part in parts]


class CompareConfig(Frozen):
    """What a comparison computes: several models on the same rows, by the rules of a night."""

    models: Annotated[tuple[AnyModelConfig, ...], BeforeValidator(_as_sections)] = Field(min_length=1)
    """The models. In a file also as sections with fields of their own: `models: [ease, {name: ials, dim: 128}]`."""
    seeds: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(split_commas)] = ()
    """Every model is trained once with each of these; unset: once, with trainer.seed."""
    ingest: IngestConfig = IngestConfig()
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    sample: SampleConfig = SampleConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    experiment: str = Field(default="", max_length=200)
    """The MLflow experiment; unset: the dataset's name."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, one in (("seeds", self.seeds), ("models", self.models)):
            if twice := [value for place, value in enumerate(one) if value in one[:place]]:
                shown = twice[0].name if isinstance(twice[0], ModelConfig) else twice[0]
                raise ValueError(f"{name}: {shown} is there twice")
        if self.seeds and self.trainer.seed not in (0, *self.seeds):
            raise ValueError(f"trainer.seed of {self.trainer.seed} is not among the seeds: leave one of the two unset")
        if self.trainer.initial_weights is not None or self.trainer.initial_epoch:
            raise ValueError("trainer.initial_weights and initial_epoch go on with one model's fit: use encore retrain")
        refusals = [self._refusal(model) for model in self.models]
        if len(set(refusals)) == 1 and refusals[0]:
            raise ValueError(refusals[0])  # about no model in particular
        for (label, model), refusal in zip(self.labelled, refusals, strict=True):
            if refusal:
                raise ValueError(refusal if model.name in refusal else f"{label}: {refusal}")
        return self

    def _refusal(self, model: ModelConfig) -> str | None:
        """Why no night could be run with this model."""
        try:
            self.night(model, self.trainer.seed)
        except ValidationError as error:
            return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        return None

    @property
    def dataset(self) -> str:
        return self.ingest.dataset

    @property
    def title(self) -> str:
        return f"compare {len(self.models)} model{'s' if len(self.models) > 1 else ''}"

    @property
    def labelled(self) -> list[tuple[str, ModelConfig]]:
        """Each model and what it is called: its name, and where that is there more than once the fields that differ."""
        return [(_label(model, [one for one in self.models if one.name == model.name]), model) for model in self.models]

    def night(self, model: ModelConfig, seed: int) -> PipelineConfig:
        """The configuration of the night that computes the same for one model and one seed."""
        shared = {name: value for name, value in self if name in PipelineConfig.model_fields}
        shared |= {"model": model, "trainer": self.trainer.model_copy(update={"seed": seed})}
        return PipelineConfig.model_validate(shared).resolved()

    def resolved(self) -> "CompareConfig":
        """With every default filled in that is the same for all models; the others are in each model's `night`."""
        night = self.night(self.models[0], self.trainer.seed)
        shared = {name: getattr(night, name) for name in ("ingest", "split", "experiment")}
        return self.model_copy(update={**shared, "seeds": self.seeds or (self.trainer.seed,)})


def _label(model: ModelConfig, rivals: list[ModelConfig]) -> str:
    """Fields that are left open are not named."""
    differ = {name: value for name, value in model if any(getattr(rival, name) != value for rival in rivals)}
    named = ", ".join(f"{name}={value}" for name, value in differ.items() if value is not None)
    return f"{model.name} ({named})" if named else model.name


class Settings(Frozen):
    """Where things are and when it is. These never change a result."""

    data_dir: Path = Field(default_factory=lambda: Path(os.environ.get("ENCORE_DATA_DIR", "data")))
    """Folder for everything that Encore keeps (environment: ENCORE_DATA_DIR)."""
    tracking_uri: str = Field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    """MLflow's tracking database or server (environment: MLFLOW_TRACKING_URI)."""
    memory_gb: float = Field(default=4.0, ge=1.0)
    """What preparing the data may hold in memory at a time, in 10^9 bytes; larger data goes over the disk."""
    as_of: datetime | None = None
    """The night's logical date; unset: now. Without an offset it is UTC."""

    @field_validator("data_dir", "tracking_uri", mode="before")
    @classmethod
    def _is_named(cls, value: object) -> object:
        if value == "":
            raise ValueError("is empty: name a place, or leave it out")
        return value

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)

    @property
    def store(self) -> Store:
        """The data folder, with the memory that its steps may use."""
        return Store(self.data_dir, int(self.memory_gb * 1e9))

    @property
    def night(self) -> datetime:
        """The logical date; only resolved settings have one."""
        if self.as_of is None:
            raise ValueError("settings are not resolved")
        return self.as_of

    def resolved(self) -> "Settings":
        """With absolute paths and a date, so that a later change of directory or a long night changes nothing."""
        uri = self.tracking_uri
        if uri.startswith("sqlite:///"):
            uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
        folder, as_of = self.data_dir.expanduser().absolute(), self.as_of or datetime.now(UTC)
        return self.model_copy(update={"data_dir": folder, "tracking_uri": uri, "as_of": as_of})
