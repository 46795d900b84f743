"""Epoch-end checkpoints that survive a kill at any moment. Tensors and JSON only: loading one runs no code."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

KEEP = 2
NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{64})\.safetensors")


def write(folder: Path, epoch: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Leaves one file whose name holds the epoch and the sha256 of its content, and removes all but the newest two.

    The record must be JSON; it goes into the file's header."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(own, metadata={"record": json.dumps(record)})
    name = f"epoch-{epoch:06d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    temporary = folder / f".{name}.{os.getpid()}"
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / name)
    _sync_folder(folder)
    for old in [*_newest_first(folder)[KEEP:], *folder.glob(".epoch-*")]:  # the latter were cut off by a kill
        old.unlink()


def read_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record of the newest file whose content has the hash in its name; None if there is none."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.name.split("-")[2].removesuffix(".safetensors"):
            header_bytes = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + header_bytes])["__metadata__"]
            return load(content), json.loads(metadata["record"])
    return None


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def _sync_folder(folder: Path) -> None:
    """Without this, a power cut may forget the new name although the content is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
