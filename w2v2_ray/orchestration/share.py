"""One function on several Ray workers, each with its part of the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.orchestration.cluster import ray_cluster
from w2v2_ray.orchestration.waiting import tell_of_waiting

A = TypeVar("A")
R = TypeVar("R")


def run_on_workers(
    function: Callable[[A], R],
    parts: Sequence[A],
    *,
    address: str | None = None,
    use_gpus: bool = False,
    at_once: int | None = None,
    on_done: Callable[[int], None] = lambda part: None,
    notify: Callable[[str], None] = lambda message: None,
) -> list[R]:
    """Call a function with every part, each on a Ray worker of its own with one CPU.

    Args:
        function: What to do; on a cluster, paths in it must be the same on all nodes.
        parts: Its argument on each worker.
        address: Ray cluster; None joins the one the environment names or starts one on this machine.
        at_once: Workers of a Ray that is started here; None: one for each part.
        use_gpus: Share the cluster's GPUs, where it has some, between the workers.
        on_done: Told the number of each part that is done.
        notify: Told what is waited for, when no node has room for a worker.

    Returns:
        Results in the order of the parts.

    Raises:
        UserError: That of the function, or no cluster answers.
        RunFailedError: A worker died.
    """
    import ray

    def call(part: A) -> R:  # Ray takes functions only, no other callables
        return function(part)

    with ray_cluster(address, num_cpus=at_once or len(parts)):
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0) / len(parts)) if use_gpus else 0.0
        remote: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(call)
        numbers = {remote.remote(part): number for number, part in enumerate(parts)}
        results: dict[int, R] = {}
        waiting = list(numbers)
        with tell_of_waiting({"CPU": 1.0, **({"GPU": gpus} if gpus else {})}, notify):
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                for reference in done:
                    results[numbers[reference]] = _result(reference)
                    on_done(numbers[reference])
    return [results[number] for number in range(len(parts))]


def _result(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise RunFailedError("a worker died, perhaps because memory ran out; try fewer --workers") from error
