"""What a job's workers need, compared with what the cluster has or can start. Plain values in, a sentence out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from w2v2_ray.errors import SpecError, UserError
from w2v2_ray.spec.job import TrainJob

J = TypeVar("J", bound=TrainJob)
Resources = Mapping[str, float]

_SHOWN = ("GPU", "CPU")
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Supply:
    """What a cluster has.

    Attributes:
        nodes: Resources of each living node.
        free: Those of them that nobody uses.
        autoscaler: It has one, which may start more nodes.
        refused: The autoscaler says that no kind of node it may start has what was asked for.
        starting: Nodes that it is starting.
        failures: Why nodes could not be started, newest last.
    """

    nodes: tuple[Resources, ...]
    free: tuple[Resources, ...]
    autoscaler: bool = False
    refused: bool = False
    starting: int = 0
    failures: tuple[str, ...] = ()

    def total(self, name: str) -> float:
        """Of all nodes together."""
        return sum(node.get(name, 0.0) for node in self.nodes)


def needs_of(job: TrainJob) -> dict[str, float]:
    """What one worker asks Ray for."""
    gpus = job.worker.gpu_count
    return {**({"GPU": gpus} if gpus else {}), "CPU": float(job.worker.cpus)}


def settle_gpus(job: J, gpus: float, place: str) -> J:
    """Turn `worker.gpus: auto` into a number, once, on the driver.

    Args:
        job: The job.
        gpus: That workers could have.
        place: Where, for messages.

    Raises:
        SpecError: When the job needs a GPU and there is none.
    """
    if job.worker.gpus != "auto":
        return job
    each = 1.0 if gpus >= 1 and job.engine.device != "cpu" else 0.0
    settled = job.model_copy(update={"worker": job.worker.model_copy(update={"gpus": each})})
    for finding in settled.broken_rules():
        raise SpecError(f"worker.gpus: auto: {place} has no GPU that PyTorch can use: {finding.message}")
    return settled


def workers_that_fit(nodes: Iterable[Resources], needs: Resources) -> int:
    """How many workers nodes have room for."""
    wanted = {name: amount for name, amount in needs.items() if amount > 0}
    # Ray counts in ten-thousandths.
    return sum(
        min(int((node.get(name, 0.0) + 5e-5) / amount) for name, amount in wanted.items()) for node in nodes if wanted
    )


def refuse_here(job: TrainJob, gpus: int) -> None:
    """Refuse a job whose GPUs this machine has not: a Ray that is started here never gets more.

    Args:
        job: The job.
        gpus: Of this machine.

    Raises:
        UserError: With the remedy.
    """
    each, workers = job.worker.gpu_count, job.elastic.min_workers
    if workers_that_fit([{"GPU": float(gpus)}], {"GPU": each}) >= workers or not each:
        return
    raise UserError(gpus_missing(each, workers, gpus))


def gpus_missing(each: float, workers: int, gpus: int, key: str = "worker.gpus") -> str:
    """Say that this machine lacks GPUs, and what to write instead.

    Args:
        each: GPUs of a worker.
        workers: How many must have them at once.
        gpus: Of this machine.
        key: The field to change.
    """
    have = f"{gpus} GPU{'' if gpus == 1 else 's'} that PyTorch can use"
    count = f"{workers} workers need {each:g} each" if workers > 1 else f"a worker needs {each:g}"
    fewer = f", elastic.min_workers: {int(gpus // each)}" if workers > 1 and gpus >= each else ""
    return (
        f"{key}: {each:g}: {count}, and this machine has {have}; compute on the CPU with {key}: 0 "
        f"(`--set {key}=0`){fewer}, or join a cluster that has GPUs (--address, or `w2v2-ray submit`)"
    )


def waiting_for(needs: Resources, workers: int, supply: Supply) -> str | None:
    """What a run waits for, in one line; None when there is room for it.

    Args:
        needs: Of one worker.
        workers: The least that the run starts with.
        supply: What the cluster has.
    """
    if workers_that_fit(supply.free, needs) >= workers:
        return None
    wanted = ", ".join(f"{name}: {amount:g}" for name, amount in needs.items())
    line = f"waiting for {workers} worker{'s' if workers > 1 else ''} with {{{wanted}}}: {_there(needs, supply)}"
    if workers_that_fit(supply.nodes, needs) >= workers:
        return f"{line}; they are in use, by other jobs or by a launch of this one that is being cleared away"
    return f"{line}; {_outlook(needs, workers, supply)}"


def _there(needs: Resources, supply: Supply) -> str:
    nodes = len(supply.nodes)
    shown = [name for name in _SHOWN if name in needs]
    has = ", ".join(f"{supply.total(name):g} {name}" for name in shown)
    free = ", ".join(f"{sum(node.get(name, 0.0) for node in supply.free):g} {name}" for name in shown)
    return f"the cluster has {has} in {nodes} node{'' if nodes == 1 else 's'}, free: {free}"


def _outlook(needs: Resources, workers: int, supply: Supply) -> str:
    failed = f"; the last start of a node failed: {supply.failures[-1][:_REASON_CHARACTERS]}" if supply.failures else ""
    remedy = "ask for less (worker.gpus: 0, worker.cpus" if needs.get("GPU") else "ask for less (worker.cpus"
    remedy += ", elastic.min_workers)" if workers > 1 else ")"
    if not supply.autoscaler:
        return (
            "it has no autoscaler, so this goes on only when nodes are added (`ray start --address ...`); else stop "
            f"with Ctrl-C and {remedy}"
        )
    if supply.refused:
        return (
            "its autoscaler cannot start them: no kind of node that it may start has as much, or their limit is "
            f"reached; stop with Ctrl-C and {remedy}, or change the cluster's node types{failed}"
        )
    if supply.starting:
        return f"its autoscaler is starting {supply.starting} node{'' if supply.starting == 1 else 's'}{failed}"
    return f"its autoscaler has been asked for them{failed}"
