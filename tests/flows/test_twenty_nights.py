"""Twenty nights on a log that drifts, with planted effects and planted faults: who is champion after each of them.

The model of a night is real; how good it is, is planted: a share of noise is mixed into what it has learned. All
planted effects are at least five standard errors away from what decides, which is asserted.

U users, D vector length
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import flows.crown
from flows.champions import freeze, promote
from flows.commands import FreezeConfig, PromoteConfig
from flows.config import PipelineConfig, Settings
from flows.retrain import retrain
from tasks.errors import DataRefused, RunFailed
from tasks.store.histories import read_histories
from tasks.tracking.history import read_history
from tasks.tracking.registry import find_champion
from tasks.train import task as training
from tasks.train.logic import Fitted, fit
from tests.flows.nights import as_plain_functions

pytestmark = pytest.mark.slow

START = datetime(2025, 1, 1, tzinfo=UTC)
PAST_DAYS, N_USERS, N_ITEMS, N_TASTES = 30, 4500, 600, 10
NAME = "encore-shop"
USUAL, OTHER, BETTER = 0.01, 0.011, 0.02  # model.l2: which configuration it is; the noise is what makes it what it is
NOISE = {USUAL: 0.45, OTHER: 0.45, BETTER: 0.0}
LUCKY_SEED = 7


class Killed(BaseException):
    """Stands for a process that ends in the middle."""


def day(number: int, rng: np.random.Generator) -> pd.DataFrame:
    """A third of the users take two items each, mostly of their taste; what is popular changes with time."""
    users_R = np.repeat(rng.choice(N_USERS, N_USERS // 3, replace=False), 2)
    taste_R = np.where(rng.random(len(users_R)) < 0.9, users_R % N_TASTES, rng.integers(N_TASTES, size=len(users_R)))
    size = N_ITEMS // N_TASTES
    rank_R = rng.geometric(0.06, len(users_R)) + number // 6  # the favourites move on every six days
    items_R = (rank_R % size) * N_TASTES + taste_R
    seconds_R = np.sort(rng.integers(86_400, size=len(users_R)))
    times = START + timedelta(days=number) + pd.to_timedelta(seconds_R, unit="s")
    return pd.DataFrame({"user_id": users_R, "item_id": items_R, "timestamp": times})


@dataclass
class Shop:
    """A folder with a log that grows by a file a day, and the nights that are run on it."""

    root: Path
    patch: pytest.MonkeyPatch
    noise: Callable[[float, int], float] = lambda l2, seed: NOISE[l2]
    today: int = PAST_DAYS
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))

    def __post_init__(self) -> None:
        (self.root / "log").mkdir()
        past = pd.concat([day(number, self.rng) for number in range(PAST_DAYS)])
        past.to_parquet(self.root / "log" / "past.parquet")

    @property
    def settings(self) -> Settings:
        as_of = START + timedelta(days=self.today, hours=3)
        return Settings(
            data_dir=self.root / "data", tracking_uri=f"sqlite:///{self.root}/mlflow.db", as_of=as_of
        ).resolved()

    def config(self, l2: float = USUAL, **more: Any) -> PipelineConfig:
        sections: dict[str, Any] = {
            "ingest": {"source": "files", "name": "shop", "interactions": (str(self.root / "log" / "*.parquet"),)},
            "model": {"name": "bpr_mf", "dim": 16, "l2": l2},
            "trainer": {"epochs": 15, **more.pop("trainer", {})},
            "gate": {"margin": 0.25, **more.pop("gate", {})},
        }
        return PipelineConfig.model_validate(sections | more)

    def night(self, l2: float = USUAL, **more: Any) -> dict[str, Any]:
        """The day's rows arrive, and the night is run."""
        self.arrive(day(self.today, self.rng))
        return self.run(l2, **more)

    def run(self, l2: float = USUAL, **more: Any) -> dict[str, Any]:
        self.today += 1
        result: dict[str, Any] = retrain.fn(self.config(l2, **more), self.settings)
        return result

    def arrive(self, rows: pd.DataFrame) -> Path:
        file = self.root / "log" / f"day-{self.today:03}.parquet"
        rows.to_parquet(file)
        return file

    @property
    def champion(self) -> str | None:
        found = find_champion(self.settings.tracking_uri, NAME)
        return found.version if found else None

    @property
    def published(self) -> str:
        version: str = self.settings.store.manifest("published/shop")["model_version"]
        return version

    def fit(self, *args: Any, **kwargs: Any) -> Fitted:
        """As the product does it, and then made worse by the planted share of noise."""
        made = REAL_FIT(*args, **kwargs)
        config, trainer = args[:2]
        if config.name == "bpr_mf":
            mix(made, self.noise(config.l2, trainer.seed))
        return made


REAL_FIT = fit


def mix(made: Fitted, share: float) -> None:
    """Puts noise of the same size in the place of a share of what was learned."""
    weights, rng = made.model.weights(), np.random.default_rng(0)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            noise = torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32)) * tensor.std()
            weights[name] = (1 - share) * tensor + share * noise
    made.model.load_weights(weights)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path, monkeypatch)
    as_plain_functions(monkeypatch)
    monkeypatch.setattr(training, "fit", made.fit)
    return made


def checks(result: Mapping[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["passed"] for check in result["decision"]["checks"]}


def failed(result: Mapping[str, Any]) -> set[str]:
    return {name for name, passed in checks(result).items() if not passed}


def effect(result: Mapping[str, Any]) -> tuple[float, float]:
    """How much better the night's model is than the champion, and the standard error of that; of NDCG@10."""
    found = result["differences"]["champion"]["ndcg_at_10"]
    return found["mean"], (found["high"] - found["low"]) / (2 * 1.96)


def is_clear(result: Mapping[str, Any], border: float) -> bool:
    """Whether the effect is at least five standard errors away from what decides."""
    mean, error = effect(result)
    return abs(mean - border) >= 5 * error


def margin(result: Mapping[str, Any]) -> float:
    return -0.25 * float(result["metrics"]["champion/ndcg_at_10"])


def test_after_each_of_twenty_nights_the_champion_is_who_it_should_be(shop: Shop) -> None:
    promoted: list[str] = []

    def goes_out(result: Mapping[str, Any], border: Callable[[Mapping[str, Any]], float] | None = margin) -> None:
        assert result["decision"]["promote"], failed(result)
        assert border is None or is_clear(result, border(result)), effect(result)
        promoted.append(result["model"]["version"])
        stands()

    def stays(result: Mapping[str, Any], because: set[str], border: float | None = None) -> None:
        assert because <= failed(result), checks(result)
        assert border is None or is_clear(result, border), effect(result)
        stands()

    def stands() -> None:
        """The alias, the published lists and the history say the same."""
        assert shop.champion == shop.published == promoted[-1]
        history = read_history(shop.settings.tracking_uri, NAME)
        assert [event.version for event in history] == promoted
        assert [event.number for event in history] == list(range(1, len(promoted) + 1))

    goes_out(shop.night(), None)  # 1: nobody was before it, and popularity is beaten
    goes_out(shop.night())  # 2: the same on fresher data

    garbage = shop.arrive(day(shop.today, shop.rng).assign(item_id=None))
    with pytest.raises(DataRefused):  # 3: bad data
        shop.run()
    stands()
    garbage.unlink()
    shop.today -= 1
    goes_out(shop.night())  # 4: the day's rows came after all

    with pytest.raises(RunFailed, match="diverged"):  # 5: a learning rate that no model survives
        shop.night(trainer={"learning_rate": 1e9})
    stands()
    goes_out(shop.run())  # 6

    shop.noise = lambda l2, seed: 0.9
    worse = shop.night()  # 7: a refit that went wrong
    stays(worse, {"no worse than the champion"}, margin(worse))
    shop.noise = lambda l2, seed: NOISE[l2]
    goes_out(shop.night())  # 8

    shop.noise = lambda l2, seed: 0.0 if (l2, seed) == (OTHER, LUCKY_SEED) else NOISE[l2]
    lucky = shop.night(OTHER, trainer={"seed": LUCKY_SEED})  # 9: another configuration is better, with one seed
    stays(lucky, {"holds with other seeds"}, 0.0)
    assert checks(lucky)["beats the champion"]
    goes_out(shop.night())  # 10

    shop.noise = lambda l2, seed: 1.0
    stays(shop.night(), {"no worse than the champion"})  # 11: it has learned nothing
    shop.noise = lambda l2, seed: NOISE[l2]

    goes_out(shop.night(BETTER), lambda result: 0.0)  # 12: another configuration that is better with every seed
    goes_out(shop.night(BETTER))  # 13
    former = shop.night(USUAL)  # 14: the former one again
    stays(former, {"beats the champion"}, 0.0)

    with shop.patch.context() as patch:
        patch.setattr(flows.crown, "publish", killed)
        with pytest.raises(Killed):  # 15: it dies between the alias and the lists
            shop.night(BETTER)
    assert shop.champion != shop.published
    promoted.append(str(shop.champion))
    after = shop.night(BETTER)  # 16: first what was begun is finished, then comes the night
    assert read_history(shop.settings.tracking_uri, NAME)[-2].version == promoted[-1]
    goes_out(after)

    with shop.patch.context() as patch:
        patch.setattr(training, "read_histories", lambda path: read_histories(path.with_name("served.parquet")))
        leak = shop.night(BETTER)  # 17: it has learned from the rows that judge it
    stays(leak, {"no test row was fitted"})

    names = {"ingest": {"name": "shop"}}
    freeze(FreezeConfig.model_validate({**names, "reason": "a fair is on"}), shop.settings)
    frozen = shop.night(BETTER)  # 18
    stays(frozen, {"not frozen"})
    assert failed(frozen) == {"not frozen"}
    freeze(FreezeConfig.model_validate({**names, "lift": True}), shop.settings)

    waiting = shop.night(BETTER, gate={"approval": "manual"})  # 19: good enough, and a person has to say so
    assert failed(waiting) == {"approved by a person"}
    stands()
    version = waiting["model"]["version"]
    promote(PromoteConfig.model_validate({**names, "version": version, "reason": "looks good"}), shop.settings)
    promoted.append(version)
    stands()

    goes_out(shop.night(BETTER))  # 20
    assert len(promoted) == 12


def killed(*args: Any) -> None:
    raise Killed
