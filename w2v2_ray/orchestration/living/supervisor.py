"""The driver of a run whose workers come and go: starts as many as there is room for, and replaces those that end."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

import ray

from w2v2_ray.errors import StorageError
from w2v2_ray.orchestration.cluster_state import look_at_cluster
from w2v2_ray.orchestration.demand import requester_of
from w2v2_ray.orchestration.failures import NewestState
from w2v2_ray.orchestration.living.chronicle import Chronicle
from w2v2_ray.orchestration.living.replica import Replica
from w2v2_ray.orchestration.ray_private.train import ControllerHost, TrainAutoscalingCoordinatorClient
from w2v2_ray.orchestration.supply import needs_of, workers_that_fit
from w2v2_ray.orchestration.waiting import WaitingNote
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.team.coordinator import Coordinator
from w2v2_ray.team.roster import NO_STATE

_LOOK_S = 0.1
_ROOM_S = 1.0
"""Between two looks at what the cluster has."""
_ENDING = 8
"""Replicas that may be ending while others are started for them."""
_LONGEST_WAIT_S = 30.0
"""Before another worker is started after several have failed without an update between them."""
_END_S = 30.0
"""Patience with workers that have nothing left to do."""


class LivingTrainer:
    """Trains one job with a living crew.

    Args:
        job: Says how many workers, what each needs, and what is survived.
        run: The run, as the driver sees it.
        train_loop: Runs on every worker.
        config: Given to it.
        name: Of this launch.
        alone: Ray was started by this driver, for this run: its nodes have the driver's environment, and no
            autoscaler can be asked for more.
    """

    def __init__(
        self,
        job: TrainJob,
        run: RunFolder,
        train_loop: Any,
        config: dict[str, Any],
        name: str,
        *,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self._job = job
        self._run = run
        self._train_loop = train_loop
        self._config = config
        self._name = name
        self._needs = needs_of(job)
        self._replicas: dict[str, Replica] = {}
        self._started = 0
        self._failures = 0
        self._in_vain = 0
        self._failed_at = NO_STATE
        self._newest_state = NewestState(run.place)
        self._last_state: str | None = None
        self._looked = float("-inf")
        self._chronicle = Chronicle(run.event, ray.nodes)
        self._waiting = WaitingNote(run.event)
        self._secret = secrets.token_hex(16)
        self._coordinator: Coordinator | None = None
        self._host: ControllerHost | None = None
        self._request = _WholeRequest(run.place, self._needs, job.elastic.max_workers + job.elastic.spares)

    def fit(self) -> None:
        """Train to the end.

        Raises:
            Exception: The last worker's error, when too many have failed.
        """
        least = self._job.elastic.min_workers
        while (room := self._room()) < least:
            self._waiting.look(self._needs, least)
            self._ask()
            time.sleep(_LOOK_S)
        first = min(room, self._job.elastic.max_workers)
        failure = self._job.failure
        self._coordinator = Coordinator(
            self._secret,
            first=first,
            least=least,
            most=self._job.elastic.max_workers,
            silence_s=failure.hang_timeout_s,
            begin_s=failure.start_timeout_s,
            host=ray.util.get_node_ip_address(),
            tell=self._chronicle.tell,
        )
        self._address = self._coordinator.start()
        try:
            self._start(first)
            while not self._settled():
                self._replenish()
                time.sleep(_LOOK_S)
            self._see_them_out()
        finally:
            self._coordinator.close()

    def _settled(self) -> bool:
        """Look after those that ended; whether the run is over."""
        assert self._coordinator is not None
        called, over, position = self._coordinator.ask(lambda roster: ({*roster.workers}, roster.over, roster.position))
        for name in called & {*self._replicas}:
            self._replicas[name].called = True
        if called:
            self._waiting.over()
        for name in [name for name, replica in self._replicas.items() if replica.over]:
            error = self._forget(name).error
            self._coordinator.expel(name, "has ended")
            if error is None or over:
                continue
            self._chronicle.ended(name, error)
            self._count(error, position)
        return over or self._has_fatal_error()

    def _has_fatal_error(self) -> bool:
        """Whether a worker has left an error that no retry mends; unknown while the storage is away."""
        with contextlib.suppress(OSError, StorageError):
            return self._run.notes.read(self._config["fatal"]) is not None
        return False

    def _count(self, error: BaseException, position: int) -> None:
        """Give up after too many failures, or too many in a row without progress.

        Progress is that survivors have made sums since, or that a newer state is saved.
        """
        failure = self._job.failure
        self._failures += 1
        state = self._newest_state()
        progress = position > self._failed_at or state != self._last_state
        self._in_vain = 1 if progress else self._in_vain + 1
        self._failed_at, self._last_state = position, state
        if self._in_vain > 1:
            self._looked = time.monotonic() + min(2.0**self._in_vain, _LONGEST_WAIT_S)
        if self._failures > failure.max_failures or self._in_vain > failure.max_failures_without_progress:
            raise error

    def _replenish(self) -> None:
        """Start workers for the room there is."""
        elastic = self._job.elastic
        wanted = elastic.max_workers + elastic.spares - len(self._replicas)
        self._ask()
        now = time.monotonic()
        if wanted <= 0 or now - self._looked < _ROOM_S:
            return
        self._looked = now
        # Those on their way may not have taken their room yet.
        starting = sum(not replica.called for replica in self._replicas.values())
        room = self._room() - starting
        self._start(min(wanted, room))
        if not self._replicas:
            self._waiting.look(self._needs, self._job.elastic.min_workers)

    def _ask(self) -> None:
        if not self._alone:
            self._request.keep()

    def _room(self) -> int:
        try:
            return workers_that_fit(look_at_cluster(self._needs).free, self._needs)
        except Exception:  # the control store may be busy
            return 0

    def _start(self, count: int) -> None:
        """Start workers, whose controllers share a process: it ends when none of them is left."""
        if count <= 0:
            return
        if not self._replicas:
            elastic = self._job.elastic
            self._host = ControllerHost(elastic.max_workers + elastic.spares + _ENDING, inherit=self._alone)
        assert self._host is not None
        for _ in range(count):
            name = f"w{self._started}"
            self._started += 1
            team = {
                "address": self._address,
                "secret": self._secret,
                "name": name,
                "silence_s": self._job.failure.hang_timeout_s,
            }
            config = {**self._config, "team": team}
            self._replicas[name] = Replica(
                self._job, self._run, self._train_loop, config, launch=self._name, name=name, host=self._host
            )

    def _forget(self, name: str) -> Replica:
        replica = self._replicas.pop(name)
        if not self._replicas and self._host is not None:
            self._host.stop()
        return replica

    def _see_them_out(self) -> None:
        """Let workers end by themselves, and end those that were still on their way."""
        deadline = time.monotonic() + _END_S
        while any(r.called and not r.over for r in self._replicas.values()) and time.monotonic() < deadline:
            if self._has_fatal_error():
                break
            time.sleep(_LOOK_S)
        self.stop()

    def stop(self) -> None:
        """End the workers that are left. Never waits."""
        for name in list(self._replicas):
            self._forget(name)


class _WholeRequest:
    """What the run asks the autoscaler for: room for all its workers, for as long as it lasts.

    Args:
        run: Folder or URI of the run.
        needs: Of one worker.
        workers: At most.
    """

    def __init__(self, run: str, needs: dict[str, float], workers: int) -> None:
        from ray.train import ScalingConfig

        self._client = TrainAutoscalingCoordinatorClient(requester_of(run))
        self._config = ScalingConfig(
            num_workers=workers, use_gpu=needs.get("GPU", 0.0) > 0, resources_per_worker=dict(needs)
        )
        self._workers = workers

    def keep(self) -> None:
        """Ask, and ask again before it is forgotten."""
        with contextlib.suppress(Exception):  # it is asked again
            self._client.maybe_send_resource_request(self._config, self._workers)
