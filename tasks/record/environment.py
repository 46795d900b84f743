"""What a night was computed with: machine, packages, numerical libraries, threads, revision of our own code.

Nothing in it names a place, a person or a machine by its name.
"""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from threadpoolctl import threadpool_info

HERE = Path(__file__)


def environment() -> dict[str, Any]:
    """Plain values, by what they say: equal ones promise equal bits, others explain why bits may differ."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": {
            "torch": torch.get_num_threads(),
            "numba": numba.get_num_threads(),
            "blas": max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1),
        },
        "builds": {
            "numpy": _numpys_blas(),
            "torch": f"{torch.__version__}, {'MKL' if _has_mkl() else 'no MKL'}",
            "vectors": torch.backends.cpu.get_cpu_capability(),
        },
        "packages": packages(),
        "revision": revision(),
    }


def packages() -> dict[str, str]:
    """The version of every package that we ask for by name, and of numba's compiler."""
    found = {}
    for name in sorted({*_named(), "llvmlite"}, key=str.lower):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def revision(code: Path = HERE) -> str | None:
    """The git commit of our code, with a note where files were changed since. None where our code is not in git: a
    copy installed below somebody's work tree says nothing of itself."""
    folder = code.parents[2]
    if _git(folder, "ls-files", "--error-unmatch", str(code)) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--", "flows", "tasks", "models")
    return f"{commit}, with changes" if commit and changed else commit


def _named() -> set[str]:
    try:
        lines = requires("encore") or []
    except PackageNotFoundError:  # run from its folder, without an installation
        return set()
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    """Its name as it is sold; which instructions a BLAS uses depends on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _has_mkl() -> bool:
    return bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


def _numpys_blas() -> str:
    built = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"] if isinstance(built, dict) else {}
    return f"{np.__version__}, {blas.get('name', 'no BLAS')} {blas.get('version', '')}".strip()
