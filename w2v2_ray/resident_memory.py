"""This process's resident memory, as the system counts it; light, so that importing it changes no figure."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def status_bytes(field: str) -> int | None:
    """A figure of /proc/self/status, such as VmData; None where the system does not tell it."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def peak_rss_bytes() -> int:
    """Largest resident set since the process began or `reset_peak` was called.

    Linux's VmHWM rather than getrusage: the latter cannot be reset, and starts at what the parent had when the process
    was made.
    """
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> bool:
    """Begin a new peak; False where the system does not let us."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
