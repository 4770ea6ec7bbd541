"""Teams of threads in this process. A member that is to die closes its connection, as the kernel does for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.team.coordinator import Coordinator
from w2v2_ray.team.member import Member
from w2v2_ray.team.team import Team
from w2v2_ray.team.wire import Expelled, TeamOver

SECRET = "of-this-test"
ITEMS = 7


class Dies(Exception):  # noqa: N818
    """Thrown by a worker that is to die."""


def value_of(step: int, item: int) -> int:
    return (step + 1) * 1_000_003 + item * item * 7919


class Worker:
    """Adds up numbers that depend on step and item alone; its state is the sum of all totals so far."""

    rounded = 0

    def __init__(self, name: str, steps: int, *, before: Callable[[Worker, int, int], None] | None = None) -> None:
        self.name = name
        self.steps = steps
        self.before = before or (lambda worker, step, item: None)
        self.step = 0
        self.state = torch.zeros(3, dtype=torch.float64)
        self.sums = torch.zeros(2, dtype=torch.int64)
        self.totals: list[int] = []
        self.computed: list[tuple[int, int]] = []
        self.entered: bool | None = None
        self.problem: BaseException | None = None
        self.team: Team | None = None

    def connect(self, address: tuple[str, int], silence_s: float = 5.0) -> None:
        self.member = Member(address, SECRET, self.name, {"node": "here"}, silence_s)
        self.team = Team(self.member, self)

    def run(self) -> None:
        try:
            self._run()
        except Dies:
            self.member.close()
        except BaseException as error:
            self.problem = error

    def _run(self) -> None:
        assert self.team is not None
        self.entered = self.team.enter(lambda: {"step": 0}, lambda found: None)
        while self.step < self.steps:
            totals = self.team.add_up(range(ITEMS), self, newcomers=True)
            self.sums.zero_()
            self.totals.append(int(totals[0][0]))
            assert int(totals[0][1]) == ITEMS
            self.state += totals[0][0].double()
            self.step += 1
        self.team.word("end", lambda: True)
        self.team.end()

    def compute(self, item: int) -> None:
        self.before(self, self.step, item)
        self.sums += torch.tensor([value_of(self.step, item), 1])
        self.computed.append((self.step, item))

    def partial(self) -> list[Tensor]:
        return [self.sums]

    def planned(self, items: Sequence[int]) -> None:
        self.plan = list(items)

    def description(self) -> dict[str, Any]:
        return {"step": self.step, "totals": self.totals}

    def tensors(self) -> list[Tensor]:
        return [self.state]

    def room_for(self, description: dict[str, Any]) -> list[Tensor]:
        return [torch.empty(3, dtype=torch.float64)]

    def unpack(self, description: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        self.step, self.totals = description["step"], description["totals"]
        self.state.copy_(tensors[0])


class World:
    """A coordinator and its workers."""

    def __init__(self, first: int, *, least: int = 1, most: int = 99, silence_s: float = 5.0) -> None:
        self.events: list[dict[str, Any]] = []
        self.coordinator = Coordinator(
            SECRET, first=first, least=least, most=most, silence_s=silence_s, begin_s=5.0, tell=self._tell
        )
        self.address = self.coordinator.start()
        self.threads: list[threading.Thread] = []
        self.workers: list[Worker] = []

    def _tell(self, name: str, **details: Any) -> None:
        self.events.append({"event": name, **details})

    def add(self, worker: Worker) -> Worker:
        self.workers.append(worker)
        worker.connect(self.address)
        self.threads.append(threading.Thread(target=worker.run, name=worker.name, daemon=True))
        self.threads[-1].start()
        return worker

    def wait(self, timeout_s: float = 30.0) -> None:
        for thread in self.threads:
            thread.join(timeout_s)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for worker in self.workers:
            if worker.problem is not None and not isinstance(worker.problem, Expelled | TeamOver):
                raise worker.problem

    def close(self) -> None:
        for worker in self.workers:
            worker.member.close()
        self.coordinator.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def expected(steps: int) -> list[int]:
    return [sum(value_of(step, item) for item in range(ITEMS)) for step in range(steps)]
