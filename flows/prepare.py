"""`make setup`: what would otherwise slow down the first night: databases are created and kernels compiled."""

import subprocess
import sys
import time

from flows.environment import set_defaults


def main() -> None:
    """Creates Prefect's and MLflow's embedded databases and compiles the kernels. Safe to repeat."""
    set_defaults(on_terminal=False)
    _say("Prefect's database", _prefect_database)
    _say("MLflow's database", _mlflow_database)
    _say("compiled kernels", _kernels)


def _prefect_database() -> None:
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _mlflow_database() -> None:
    from flows.config import Settings
    from tasks.tracking.runs import prepare, quiet

    quiet()
    uri = Settings().resolved().tracking_uri
    if uri.startswith("sqlite:"):  # a server minds its own
        prepare(uri)


def _kernels() -> None:
    """Every model learns a log of a few rows, and ranks by it: that compiles whatever a night will call."""
    import numpy as np

    from models.base import FitSession, Query, Ragged, TrainingData
    from models.fitting.config import TrainerConfig
    from models.ranking.top_k import recommend
    from models.registry import MODELS, build, make_config

    users_R, items_R = np.divmod(np.arange(64), 8)
    histories = Ragged.from_pairs(users_R[users_R != items_R], items_R[users_R != items_R], 8)
    data, query = TrainingData(8, histories), Query(np.arange(8), histories)
    for name in MODELS:
        config = make_config(name)
        model = build(name, config, data).fit(data, FitSession(TrainerConfig(epochs=1)))
        recommend(model, query, histories.as_sets(), 3)


def _say(what: str, work: "object") -> None:
    start = time.perf_counter()
    assert callable(work)
    work()
    print(f"ready: {what} ({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    main()
