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
    from models.bpr_mf import kernel
    from models.ranking import top_k

    kernel.warm_up()
    top_k.warm_up()


def _say(what: str, work: "object") -> None:
    start = time.perf_counter()
    assert callable(work)
    work()
    print(f"ready: {what} ({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    main()
