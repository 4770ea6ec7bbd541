"""What a trial runs in a process of its own: `python -m w2v2_ray.tune.child REQUEST RESULT`.

A process of its own, because nothing else tells how much memory a configuration needs, and because only then running
out of it, or crashing, is the trial's affair and not the sweep's.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from w2v2_ray.places.durable import write_text

_PR_SET_PDEATHSIG = 1


def main(request_path: str, result_path: str) -> int:
    """Do what a request says and write what came of it."""
    _die_with_parent()
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    outcome = _train(request) if request["mode"] == "train" else _measure(request)
    if outcome is not None:
        write_text(Path(result_path), json.dumps(outcome, allow_nan=True) + "\n")
    return 0


def _die_with_parent() -> None:
    """Let Linux end this process with the trial that started it: a killed sweep must leave nothing running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _measure(request: dict[str, Any]) -> dict[str, Any] | None:
    from w2v2_ray.engine.memory import ran_out_of_memory
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.training.throughput import NotFiniteError, Request, measure, start_meter

    job = _job(request)
    device, meter = start_meter(
        job,
        rank=request["rank"],
        workers=request["workers"],
        rendezvous=request["rendezvous"],
    )
    try:
        result = measure(job, RunFolder(request["run"]), Request(**request["measure"]), device, meter)
    except NotFiniteError as error:
        return {"status": "not_finite", "reason": str(error)}
    except Exception as error:
        # Where an allocation of its own fails, Python may say no more than that something returned no value.
        starved = request["measure"].get("memory_limit_bytes") is not None and isinstance(error, SystemError)
        if not starved and not ran_out_of_memory(error):
            return _crash(error)
        meter.lift_limit()
        return {"status": "out_of_memory", "reason": first_line(error), "figures": {"held_bytes": meter.peak_bytes()}}
    return {"status": "ok", "figures": result.as_dict()} if request["rank"] == 0 else None


def _train(request: dict[str, Any]) -> dict[str, Any]:
    from w2v2_ray.engine.memory import ran_out_of_memory
    from w2v2_ray.errors import RunFailedError
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.training.budget import Budget, BudgetSpent
    from w2v2_ray.training.objectives.registry import objective_of
    from w2v2_ray.training.session import start_session

    job = _job(request)
    run = RunFolder(request["run"])
    run.create()
    try:
        job = objective_of(job).begin(job, run)
        budget = Budget(run, request["budget_updates"], request["budget_s"])
        session = start_session(job, run, hooks=budget)
        session.trainer.train()
    except BudgetSpent:
        pass
    except RunFailedError as error:  # the watchdog ended it
        return {"status": "not_finite", "reason": first_line(error)}
    except Exception as error:
        if not ran_out_of_memory(error):
            return _crash(error)
        return {"status": "out_of_memory", "reason": first_line(error)}
    return {"status": "ok", "figures": {}}


def _job(request: dict[str, Any]) -> Any:
    from w2v2_ray.spec.kinds import parse_job

    return parse_job(request["job"])


def _crash(error: Exception) -> dict[str, Any]:
    traceback.print_exception(error)
    return {"status": "crashed", "reason": f"{type(error).__name__}: {first_line(error)}"}


def first_line(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else f"{type(error).__name__} without a message")[:500]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
