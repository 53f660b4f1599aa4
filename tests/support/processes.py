"""What the kernel says of a process."""

from __future__ import annotations

from pathlib import Path


def resident(pid: int) -> int:
    """Bytes in memory now; 0 when the process is gone."""
    return _status(pid, "VmRSS")


def peak_resident(pid: int) -> int:
    """The most bytes it ever had in memory; 0 when the process is gone."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name)), 0)
