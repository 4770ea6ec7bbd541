"""Running a trial in processes of its own, and telling how they ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import w2v2_ray
from w2v2_ray.tune.measurement import Status

_POLL_S = 0.2
_LEAVE_S = 10.0
"""Patience with the other workers of a trial once one has ended."""
_TAIL_BYTES = 20_000


@dataclass(frozen=True)
class Outcome:
    """How a trial's processes ended: `Measurement`'s status, reason and figures."""

    status: Status
    reason: str | None
    figures: dict[str, Any]


def run_trial(
    request: dict[str, Any],
    *,
    workers: int = 1,
    timeout_s: float | None,
    log: Path,
    while_running: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run `w2v2_ray.tune.child` once for each worker and wait.

    Args:
        request: What to do; `rank`, `workers` and `rendezvous` are added.
        workers: Processes.
        timeout_s: After which they are ended; None waits for ever.
        log: Gets what they print.
        while_running: Called now and then; what it raises ends them.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="w2v2-ray-trial-") as folder, log.open("wb") as output:
        results = [Path(folder) / f"result-{rank}.json" for rank in range(workers)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank, result in enumerate(results):
                full = {**request, "rank": rank, "workers": workers, "rendezvous": str(Path(folder) / "rendezvous")}
                path = Path(folder) / f"request-{rank}.json"
                path.write_text(json.dumps(full), encoding="utf-8")
                processes.append(_start(path, result, output))
            in_time = _wait(processes, timeout_s, while_running)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        if not in_time:
            return Outcome("timed_out", f"took more than {timeout_s:g} s (throughput.timeout_s)", {})
        return _outcome(processes, results, log)


def _start(request: Path, result: Path, output: BinaryIO) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    package = str(Path(w2v2_ray.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    # Ray sets it to the CPUs of the trial; the child divides the node's cores itself.
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "w2v2_ray.tune.child", str(request), str(result)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
    )


def _wait(processes: list[subprocess.Popen[bytes]], timeout_s: float | None, while_running: Callable[[], None]) -> bool:
    """Whether all ended, or one did and the others were given time to follow."""
    started = time.monotonic()
    first_end: float | None = None
    while True:
        running = sum(process.poll() is None for process in processes)
        now = time.monotonic()
        if not running:
            return True
        if running < len(processes):
            first_end = first_end or now
            if now - first_end > _LEAVE_S:
                return True
        if timeout_s is not None and now - started > timeout_s:
            return False
        while_running()
        time.sleep(_POLL_S)


def _outcome(processes: list[subprocess.Popen[bytes]], results: list[Path], log: Path) -> Outcome:
    """Return the first worker's outcome when all is well, else that of the one that fell first into trouble."""
    written = [json.loads(path.read_text()) if path.exists() else None for path in results]
    bad = next((entry for entry in written if entry is not None and entry["status"] != "ok"), None)
    if bad is not None:
        return Outcome(bad["status"], bad["reason"], bad.get("figures", {}))
    if written[0] is not None:
        return Outcome("ok", None, written[0]["figures"])
    codes = [process.returncode for process in processes]
    return _without_result(next((code for code in codes if code), 0), log)


def _without_result(code: int, log: Path) -> Outcome:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    last = lines[-1][:400] if lines else "nothing was printed"
    if code == -signal.SIGKILL:
        return Outcome("out_of_memory", "killed by the system (SIGKILL), which it does when memory runs out", {})
    if _says_out_of_memory(tail):
        return Outcome("out_of_memory", last, {})
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return Outcome("crashed", f"{how}: {last}", {})


def _says_out_of_memory(text: str) -> bool:
    from w2v2_ray.engine.memory import says_out_of_memory

    return says_out_of_memory(text)
