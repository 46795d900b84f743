"""The memory of a benchmark's process."""

from pathlib import Path


def peak_bytes() -> int:
    """Most memory that this process ever held. `getrusage` would count the process that started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
