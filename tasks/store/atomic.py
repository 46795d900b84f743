"""Writing so that nothing half-written ever has a final name: temporary name, fsync, rename."""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Yields a temporary path beside `final`; on success the file is flushed to disk and takes the final name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{uuid.uuid4().hex}-{final.name}"
    temporary.touch()
    try:
        with _held(temporary):
            yield temporary
            _fsync(temporary)
            temporary.replace(final)
        _fsync(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `final`; on success it takes the final name, unless another run was first.

    Folders with a final name are immutable: equal keys hold equal content, so the one that came first stays.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{uuid.uuid4().hex}-{final.name}"
    temporary.mkdir()
    try:
        with _held(temporary):
            yield temporary
            for path in sorted(temporary.rglob("*")):
                _fsync(path)
            _fsync(temporary)
            try:
                temporary.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
        _fsync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(final: Path, content: Any) -> None:
    with new_file(final) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def remove_unheld(temporary: Path) -> bool:
    """Removes what a killed run left under a temporary name. False for what a run is writing: that is left alone."""
    try:
        if temporary.is_symlink():
            temporary.unlink()
        else:
            with _held(temporary):
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for what does not stay, that no other run's sweep takes away."""
    folder = parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        with _held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def link_or_copy(source: Path, place: Path) -> None:
    """The same file under a second name, without copying where the file system can do that. It is only to be read."""
    try:
        place.hardlink_to(source)
    except OSError:  # a file system without links, or another one
        shutil.copyfile(source, place)


def temporaries(root: Path) -> list[Path]:
    """What has a temporary name below a folder. Other runs may add and remove folders meanwhile."""
    found: list[Path] = []
    for here, folders, files in os.walk(root):  # skips what vanishes, where Path.rglob fails
        found += [Path(here, name) for name in (*folders, *files) if name.startswith(TEMPORARY)]
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]
    return found


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Locks a file or folder for this process; the kernel drops the lock with it. Raises BlockingIOError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
