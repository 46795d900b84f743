"""What can be set of a blend: its members, each with fields of its own, and their weights."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ValidationError, field_validator, model_validator

from ..base import FitSession
from ..config import ModelConfig
from ..fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from ..frozen import split_commas
from ..registry import MODELS, make_config

# How the defaults were found: by validation NDCG@10 with weights chosen on it, over subsets of popularity, item_knn,
# ease, graph_filter, bpr_mf and ials with dim 64, 128, 256; test in brackets. MovieLens 100K, each user's last row but
# one, all items: these four .136 (.120), without graph_filter .132 (.118), ease + item_knn .130 (.115), ease + ials
# .129 (.104), ease alone .126 (.103). MovieLens 1M, one random row a user among 99: ease + ials with dim 128 .611
# (.614), with dim 64 .610 (.611), with bpr_mf .611 (.614), ease alone .601 (.607); the others add nothing there.
# Gowalla, a random row, all items, no room for ease: the other three .078 (.087), graph_filter alone .077 (.085).
# Scores by rank, by reciprocal rank, by distance from the 100th, from smallest to largest, or standardised over unseen
# items alone differ from plain standard scores by less than noise does (.005 and .002).
DEFAULT_MEMBERS: tuple[str | dict[str, Any], ...] = ({"name": "ials", "dim": 128}, "ease", "item_knn", "graph_filter")


@dataclass(frozen=True)
class Member:
    """One of the models: its configuration, and what its trainer is told besides what all are told."""

    config: ModelConfig
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    best_epoch: int = 0
    """What the validation rows chose, of a member that learns in epochs; 0: they have not been asked."""

    @classmethod
    def of(cls, spec: str | dict[str, Any]) -> Self:
        """Raises ValueError, in one line, for what is no member."""
        fields = {"name": spec} if isinstance(spec, str) else dict(spec)
        name: Any = fields.pop("name", None)
        own: Any = fields.pop("trainer", {})
        best_epoch: Any = fields.pop("best_epoch", 0)
        if name == "blend":
            raise ValueError("a blend cannot be a member of a blend: name its members")
        if not isinstance(name, str) or name not in MODELS:
            known = ", ".join(sorted(set(MODELS) - {"blend"}))
            raise ValueError(f"unknown model {name!r} among the members; known: {known}")
        try:
            return cls(make_config(name, **fields), TrainerConfig.model_validate(own), int(best_epoch))
        except ValidationError as error:
            raise ValueError(_explained(name, error)) from error

    @property
    def spec(self) -> str | dict[str, Any]:
        """The shortest that `of` makes the same of; plain JSON."""
        fields = {"name": self.config.name} | self.config.model_dump(mode="json", exclude_unset=True)
        own = self.trainer.model_dump(mode="json", exclude_unset=True)
        fields |= {"trainer": own} if own else {}
        fields |= {"best_epoch": self.best_epoch} if self.best_epoch else {}
        return self.config.name if len(fields) == 1 else fields

    @property
    def learns(self) -> bool:
        """Whether it is fitted by the trainer, in epochs."""
        return self.config.learns

    def told(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """What all are told, and its own, field by field; in a refit the epochs that were best, from scratch."""
        own: dict[str, Any] = self.trainer.model_dump(exclude_unset=True)
        told = TrainerConfig.model_validate(_merged(trainer.model_dump(), own)) if own else trainer
        if not self.best_epoch:
            return told
        told = self.config.complete(told, sampling)  # a falling rate falls over the epochs of the first fit
        return told.model_copy(update={"epochs": self.best_epoch, "initial_epoch": 0, "initial_weights": None})

    def fitted(self, config: ModelConfig, session: FitSession) -> "Member":
        """With what was chosen in the fit, and what depended on its rows."""
        own = self.trainer.model_dump(mode="json", exclude_unset=True)
        own |= {"batch_size": session.trainer.batch_size} if self.learns else {}
        full = {**config.model_dump(mode="json"), "trainer": own}
        return Member.of({**full, "best_epoch": session.best_epoch} if self.learns else full)


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Sections are merged too: a member's own patience does not undo what all are told to monitor."""
    nested = {name: _merged(common[name], value) for name, value in own.items() if isinstance(value, dict)}
    return common | own | nested


class BlendConfig(ModelConfig):
    """A weighted sum of models, each score less the user's mean over all items and over its standard deviation."""

    name: Literal["blend"] = "blend"
    by_chance: ClassVar[bool] = False
    members: Annotated[tuple[str | dict[str, Any], ...] | None, BeforeValidator(split_commas)] = None
    """Models by name, or with their fields as {name: ials, dim: 128}; a field `trainer` holds what is for this one
    alone. Unset: ials (dim 128), ease, item_knn and graph_filter, as far as they fit into memory."""
    weights: Annotated[tuple[float, ...] | None, BeforeValidator(split_commas)] = None
    """One a member, which may be negative; a member with 0 is not even fitted. Unset: chosen on the validation rows,
    all at least 0 and 1 together; equal without them."""

    @field_validator("members")
    @classmethod
    def _make_sense(cls, members: tuple[str | dict[str, Any], ...] | None) -> tuple[str | dict[str, Any], ...] | None:
        if members is None:
            return None
        made = [Member.of(spec) for spec in members]
        if len(made) < 2:
            raise ValueError("a blend needs two members or more, such as ials,ease")
        return tuple(member.spec for member in made)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.weights is None:
            for number, member in enumerate(self.parts):
                if member in self.parts[:number]:  # fitted members may have become equal, but then there are weights
                    raise ValueError(f"the member {member.config.name} is there twice, in the same configuration")
            return self
        if self.members is None:
            raise ValueError("weights say nothing without members: name them")
        if len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members: give one for each")
        if not any(self.weights):
            raise ValueError("a weight must differ from 0")
        return self

    @property
    def parts(self) -> list[Member]:
        """The members, parsed."""
        return [Member.of(spec) for spec in (DEFAULT_MEMBERS if self.members is None else self.members)]

    @property
    def learns(self) -> bool:
        return any(member.learns for member in self.parts)

    @property
    def starts_warm(self) -> bool:
        """Its members are fitted one by one, each from nothing."""
        return False

    def models_used(self) -> tuple[str, ...]:
        return self.name, *sorted({member.config.name for member in self.parts})

    def showing(self, length: int | None) -> "BlendConfig":
        """Members that have a length of their own take this one; the others are shown what the blend is."""
        parts = [(member, member.config.showing(length)) for member in self.parts]
        if all(config is member.config for member, config in parts):
            return self
        members = tuple(
            member.spec if config is member.config else {**_as_fields(member.spec), "history_length": length}
            for member, config in parts
        )
        return self.model_copy(update={"members": members})

    def complete(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """As it is: what is unset, each member fills for itself. Raises ValueError for what one of them refuses."""
        if trainer.initial_weights is not None:
            raise ValueError("trainer.initial_weights are one model's: name them in the `trainer` of that member")
        for member in self.parts:
            if member.learns:
                member.config.complete(member.told(trainer), sampling)
        return trainer

    def complete_sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """As it is: for the members that learn in epochs, of which there must then be one."""
        if sampling.stored:
            raise ValueError("sample.stored and blend: its members draw their own; leave it unset")
        learners = [member for member in self.parts if member.learns]
        for member in learners:
            member.config.complete_sampling(sampling)
        return sampling if learners else super().complete_sampling(sampling)


def _as_fields(spec: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": spec} if isinstance(spec, str) else spec


def _explained(name: str, error: ValidationError) -> str:
    """What is wrong with a member, in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"the member {name} has no field {place}"
    return f"the member {name}: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
