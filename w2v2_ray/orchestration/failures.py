"""What ended a group of workers, and whether it counts as a failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray.exceptions import RuntimeEnvSetupError

from w2v2_ray.errors import StorageError
from w2v2_ray.orchestration.ray_private.train import DefaultFailurePolicy, FailureDecision
from w2v2_ray.run.opening import open_run

Cause = Literal["worker_lost", "worker_hung", "node_lost", "oom", "left", "collateral"]

_COLLATERAL = (
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "broken pipe",
    "gloo",
    "nccl",
    "socket",
    "timed out",
    "store",
)
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "memoryerror", "memory pressure", "cannot allocate memory")
_TEXT_CHARACTERS = 500


class NodeLeaving(Exception):  # noqa: N818  (planned, not an error)
    """Raised by every worker once its state is safe, so that a drained node is given back before its deadline."""


@dataclass(frozen=True)
class Ending:
    """Why one worker ended.

    Attributes:
        cause: What happened to it; `collateral` when it only lost another.
        text: The error, shortened.
    """

    cause: Cause
    text: str


def classify(error: BaseException) -> Ending:
    """Tell from a worker's error what happened to it."""
    inner = getattr(error, "health_check_failure", None) or error
    kind, text = type(inner).__name__, str(inner).strip()
    short = text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS // 2]} ... {text[-200:]}"
    message = f"{kind}: {short}"
    lower = f"{kind} {text}".lower()
    if isinstance(inner, NodeLeaving) or kind == "NodeLeaving":
        return Ending("left", message)
    if kind == "WorkerHealthCheckTimeoutError":
        return Ending("worker_hung", message)
    if any(sign in lower for sign in _OUT_OF_MEMORY):
        return Ending("oom", message)
    if kind == "DistBackendError" or (
        kind in ("RuntimeError", "DistNetworkError", "DistStoreError", "ConnectionError", "SupersededError")
        and any(sign in lower for sign in _COLLATERAL)
    ):
        return Ending("collateral", message)
    return Ending("worker_lost", message)


def left_on_purpose(failures: Mapping[int, BaseException]) -> bool:
    """Whether the group ended itself, to give a node back."""
    return any(classify(error).cause == "left" for error in failures.values())


class PatientFailurePolicy(DefaultFailurePolicy):
    """Ray's policy, but leaving a drained node in good order is no failure, and failing in vain has an end.

    Args:
        failure_config: Ray's.
        newest_state: Tells a newer saved state from an older one.
        max_without_progress: Failures in a row with the same newest state.
    """

    def __init__(
        self,
        failure_config: Any,
        newest_state: Callable[[], object] = lambda: None,
        max_without_progress: int = 10,
    ) -> None:
        super().__init__(failure_config)
        self._newest_state = newest_state
        self._max_without_progress = max_without_progress
        self._last_state: object = None
        self._in_vain = 0

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        """Retry, and count it unless the workers left on purpose."""
        failures = getattr(training_failed_error, "worker_failures", None)
        if failures and left_on_purpose(failures):
            return FailureDecision.RETRY
        # Nodes come and go: one that could not be made ready is no reason to give the run up, as Ray does.
        unready = isinstance(getattr(training_failed_error, "controller_failure", None), RuntimeEnvSetupError)
        if failures or unready:
            state = self._newest_state()
            self._in_vain = self._in_vain + 1 if state == self._last_state else 1
            self._last_state = state
            if self._in_vain > self._max_without_progress:
                return FailureDecision.RAISE
        return FailureDecision.RETRY if unready else super().make_decision(training_failed_error)


class NewestState:
    """Names the newest state of a run; travels to the controller.

    Args:
        run: The run's folder or URI.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    def __call__(self) -> str | None:
        """Its name, or None."""
        try:
            names = open_run(self._run, "driver", patience_s=0.0).state_names()
        except (OSError, StorageError):
            return None
        return names[-1] if names else None
