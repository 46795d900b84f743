"""A registered version's lists: those of its night where they are still there, else made anew from its bundle."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from flows.config import Settings
from tasks.publish.config import RecommendConfig
from tasks.publish.pointer import are_whole
from tasks.publish.task import recommend_champion
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.tracking.registry import load_champion
from tasks.tracking.runs import params_of

DEFAULT = RecommendConfig()


class Around(Protocol):
    """What holds the dataset: a night, or a command that looks after its champion."""

    @property
    def dataset(self) -> str: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    def step(self, name: str, work: Callable[..., Any], *args: Any) -> Any: ...


def lists_of(around: Around, version: ChampionRef, told: str = "", asked: RecommendConfig = DEFAULT) -> str:
    """The folder of the version's lists. `told` is looked at first; unless `asked` otherwise, new ones are made as its
    night made them. Raises RunFailed where they are gone and the bundle cannot be loaded."""
    store, dataset, uri = around.store, around.dataset, around.settings.tracking_uri
    for folder in (told, f"recommendations/run={version.run_id}"):
        if folder and are_whole(store, folder, dataset, version.version):
            return folder
    bundle = load_champion(uri, version, dataset)
    name = f"run={version.run_id}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    how = as_its_night(params_of(uri, version.run_id), asked)
    ours = (store, bundle, version.version, name, how, version.name)
    lists: str = around.step("recommend", recommend_champion, *ours)
    return lists


def as_its_night(params: Mapping[str, str], asked: RecommendConfig) -> RecommendConfig:
    """What was asked for, and for the rest what the parameters of the version's run say."""
    made = {"k": params.get("recommend.k"), "seen": params.get("recommend.seen")}
    if params.get("split.repeats") == "keep":
        made["seen"] = "include"
    known = {name: value for name, value in made.items() if value is not None}
    return RecommendConfig.model_validate({**known, **asked.model_dump(exclude_unset=True), "users": ()})
