"""Files of a fit that survive a kill at any moment. Tensors and JSON only: loading one runs no code."""

import glob
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

KEEP = 2
NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{64})\.safetensors")


def write(folder: Path, epoch: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Leaves one recovery point whose name holds the epoch and the sha256 of its content; the newest two stay.

    The record must be JSON; it goes into the file's header."""
    content = _content(tensors, record)
    _replace(folder / f"epoch-{epoch:06d}-{hashlib.sha256(content).hexdigest()}.safetensors", content)
    for old in [*_newest_first(folder)[KEEP:], *folder.glob(".epoch-*")]:  # the latter were cut off by a kill
        old.unlink()


def read_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record of the newest file whose content has the hash in its name; None if there is none."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.name.split("-")[2].removesuffix(".safetensors"):
            return load(content), _record(content)
    return None


def write_file(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Leaves one file of this name, whole or not at all; one of the same name is replaced.

    Its record holds the sha256 of the tensors, as the name does not."""
    _replace(path, _content(tensors, {**record, "sha256": _hash(tensors)}))


def parse(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record of what `write_file` wrote; None for anything else, and for a damaged file."""
    try:
        tensors, record = load(content), _record(content)
        return (tensors, record) if record.pop("sha256") == _hash(tensors) else None
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def _content(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content: bytes = save(own, metadata={"record": json.dumps(record)})
    return content


def _record(content: bytes) -> dict[str, Any]:
    header_bytes = int.from_bytes(content[:8], "little")
    record: dict[str, Any] = json.loads(json.loads(content[8 : 8 + header_bytes])["__metadata__"]["record"])
    return record


def _hash(tensors: Mapping[str, Tensor]) -> str:
    """Over the names and the bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    for cut_off in folder.glob(f".{glob.escape(path.name)}.*"):  # by a kill while it was written
        cut_off.unlink()
    temporary = folder / f".{path.name}.{os.getpid()}"
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(folder)


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
