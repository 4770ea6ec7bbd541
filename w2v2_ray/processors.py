"""GPUs and CPU of this machine, looked at without torch, which takes seconds to import."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

_NVIDIA_SMI_TIMEOUT_S = 5.0


def usable_gpus(
    environment: Mapping[str, str] | None = None, devices: Path = Path("/dev"), version_file: Path | None = None
) -> int:
    """GPUs that training here can use: none where torch was built without CUDA.

    Args:
        environment: `CUDA_VISIBLE_DEVICES` hides some; None takes this process's.
        devices: Where device files are.
        version_file: torch's `version.py`; None looks for the installed one.
    """
    gpus = visible_gpus(os.environ if environment is None else environment, devices)
    return gpus if gpus and torch_has_cuda(version_file) else 0


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """GPUs of this machine that `CUDA_VISIBLE_DEVICES` leaves to this process.

    Args:
        environment: Of the process.
        devices: Where device files are.
    """
    there = sum(1 for path in devices.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())
    there = there or _listed_by_nvidia_smi(devices)
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not there:
        return there
    count = 0
    for entry in chosen.split(","):
        entry = entry.strip()
        # CUDA reads the list up to the first entry that is no device.
        if not entry or (re.fullmatch(r"-?\d+", entry) and not 0 <= int(entry) < there):
            break
        count += 1
    return count


def torch_has_cuda(version_file: Path | None = None) -> bool:
    """Whether the installed torch was built with CUDA, read from its files.

    Args:
        version_file: torch's `version.py`; None looks for the installed one.
    """
    if version_file is None:
        found = find_spec("torch")
        if found is None or found.origin is None:
            return False
        version_file = Path(found.origin).with_name("version.py")
    try:
        text = version_file.read_text(encoding="utf-8")
    except OSError:
        return True  # a torch of another make: let it say itself what it lacks
    return re.search(r"^(?:cuda|hip)\b[^=\n]*= *['\"]", text, re.MULTILINE) is not None


def cpu_multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether torch's library has kernels for bf16 on this processor; None where the system does not tell.

    Args:
        cpuinfo: What Linux says of the processor.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^(flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if found is None:
        return None
    flags = set(found[2].split())
    # As oneDNN asks: it computes bf16 with these of the AVX-512 family too.
    return "bf16" in flags or "avx_ne_convert" in flags or {"avx512bw", "avx512vl", "avx512dq"} <= flags


def _listed_by_nvidia_smi(devices: Path) -> int:
    """Where GPUs have no device file of their own (Windows Subsystem for Linux)."""
    if not (devices / "dxg").exists():
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
