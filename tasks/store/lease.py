"""One run per dataset at a time. The kernel drops the lock with the process, so a killed run never blocks the next."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import Busy
from tasks.store.store import Store


@contextmanager
def lease(store: Store, dataset: str) -> Iterator[None]:
    """Holds the dataset. Raises Busy, naming the holder's process, when another run has it."""
    path = store.path(f"leases/{dataset}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise Busy(f"another run holds dataset {dataset!r} (process {holder})", "wait for it to finish") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
