"""Prefect's API for one command, where no server runs: it starts while the rest is still being imported.

Prefect would start the same program by itself, but later, from a process that has to import the whole server first,
and kill -9 would leave it behind.
"""

import atexit
import os
import random
import sys
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from flows.processes import LOOPBACK, Part, Parts, free_port


def start_prefect_api() -> Callable[[], None]:
    """Returns a call that returns once the API answers. Where the user has a server, that one is used.

    Call it before Prefect is imported: Prefect sends its last events when the process exits, and what is registered
    earlier for the exit is done later.
    """
    if _has_server():
        return lambda: None
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="encore-")))
    parts = stack.enter_context(Parts(folder))
    port = free_port(random.randrange(8200, 8800))
    server = _server(port, folder)
    parts.start(server)
    os.environ["PREFECT_API_URL"] = f"http://{LOOPBACK}:{port}/api"
    return lambda: parts.wait_for(server)


def _server(port: int, folder: Path) -> Part:
    command = (
        sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
        "--host", LOOPBACK, "--port", str(port), "--log-level", "error", "--timeout-graceful-shutdown", "2",
    )  # fmt: skip
    # Prefect's own names for a server without pages, schedules and other services
    env = {**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    health = f"http://{LOOPBACK}:{port}/api/health"
    return Part("Prefect's temporary server", command, env, health, folder / "server.log")


def _has_server() -> bool:
    """Whether the environment or the active profile names one; read without importing Prefect."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    if not path.is_file():
        return False
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    active = os.environ.get("PREFECT_PROFILE") or content.get("active", "")
    return bool(content.get("profiles", {}).get(active, {}).get("PREFECT_API_URL"))
