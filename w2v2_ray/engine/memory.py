"""What a process's memory was at most, above where it began, and an allowance that it may not pass."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource

import psutil
import torch

from w2v2_ray.resident_memory import peak_rss_bytes, reset_peak, status_bytes

_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4
_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "unable to allocate",
    "could not create a memory",
    "defaultcpuallocator",
)


class MemoryMeter:
    """Peak memory from its making on: on the GPU what torch allocated, on the CPU the resident set's growth.

    Args:
        device: Where the model will live. Make the meter after everything is imported and before anything is built.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        self.start_bytes = psutil.Process().memory_info().rss
        self.restart()

    def restart(self) -> None:
        """Forget the peak so far, not where it began."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        # Without this the peak would be that of the imports. Where Linux refuses, it is the process's whole life's.
        reset_peak()

    def count_exactly(self) -> None:
        """Let the resident set follow what tensors hold, for the updates that are measured, not timed, from now on.

        glibc keeps freed memory for later, by a rule that depends on the order of sizes: the resident set of two like
        configurations then differs by a tenth. Every block from 64 KiB on gets pages of its own instead, which are
        given back when it is freed. That makes steps slower. The GPU's allocator counts both without being asked.
        """
        if self._device.type != "cuda" and platform.libc_ver()[0] == "glibc":
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_MAX, 1_000_000)
            libc.mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
            libc.malloc_trim(0)
        self.restart()

    def peak_bytes(self) -> int:
        """Most memory held at once."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return max(0, peak_rss_bytes() - self.start_bytes)

    def reserved_bytes(self) -> int:
        """On the GPU, what torch's allocator took from the device at most; on the CPU the same as the peak."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_reserved(self._device))
        return self.peak_bytes()

    def limit(self, allowance_bytes: int) -> None:
        """Let allocations fail that would pass an allowance above what is held now.

        On the CPU this bounds the data segment (RLIMIT_DATA), which counts what was allocated, touched or not.
        """
        if self._device.type == "cuda":
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, allowance_bytes / total), self._device)
            return
        held = status_bytes("VmData")
        if held is None:
            held = psutil.Process().memory_info().rss
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (held + allowance_bytes, hard))

    def lift_limit(self) -> None:
        """Allow everything again, so that a failure can be written down."""
        if self._device.type != "cuda":
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch on the CPU and oneDNN raise a plain RuntimeError."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Whether a message or a log says that memory ran out."""
    lowered = text.lower()
    return any(message in lowered for message in _MESSAGES)
