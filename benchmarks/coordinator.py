"""What a coordinator costs with many workers: simulated ones, which answer as workers do and compute nothing.

Run `python benchmarks/coordinator.py 8 64 256`. The coordinator has a thread of this process, the workers share another
process; every step each worker says that it has stepped. Then workers are lost one by one: from the loss of one until
all others have been told who does what of the update.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import psutil

from w2v2_ray.team.coordinator import Coordinator
from w2v2_ray.team.wire import LINE_BYTES, encode

SECRET = "benchmark"
MICRO_BATCHES = 256
"""Of an update: every worker says which of them it has computed."""


class Worker:
    """Says hello, answers pings and `prepare`, and notes when it was told to go on."""

    def __init__(self, name: str, share: list[int]) -> None:
        self.name = name
        self.position = 0
        self.share = share
        self.went: tuple[int, float] = (0, 0.0)

    async def live(self, address: tuple[str, int]) -> None:
        """Until the connection ends."""
        reader, self.writer = await asyncio.open_connection(*address, limit=LINE_BYTES)
        self.writer.write(encode("hello", secret=SECRET, name=self.name, about={"node": "n" * 56, "pid": 1}))
        while line := await reader.readline():
            message: dict[str, Any] = json.loads(line)
            if message["kind"] == "ping":
                self.writer.write(encode("pong"))
            elif message["kind"] == "prepare":
                answer = {"epoch": message["epoch"], "position": self.position, "done": self.share, "open": True}
                self.writer.write(encode("ready", **answer))
            elif message["kind"] == "go":
                self.went = (message["epoch"], time.monotonic())

    def step(self) -> None:
        """Say that another sum is made."""
        self.position += 1
        self.writer.write(encode("stepped", position=self.position))


async def _serve(address: tuple[str, int], count: int, losses: int, pipe: Connection) -> None:
    share = -(-MICRO_BATCHES // count)
    workers = [Worker(f"w{n}", list(range(n * share, (n + 1) * share))) for n in range(count)]
    lives = [asyncio.ensure_future(worker.live(address)) for worker in workers]
    while any(worker.went[0] == 0 for worker in workers):
        await asyncio.sleep(0.01)
    pipe.send("together")
    while await asyncio.to_thread(pipe.recv) == "step":
        for worker in workers:
            worker.step()
        pipe.send("stepped")
    changes = []
    for _ in range(losses):
        victim = workers.pop(count // 2 % len(workers))
        epoch = workers[0].went[0]
        began = time.monotonic()
        victim.writer.transport.abort()
        while any(worker.went[0] <= epoch for worker in workers):
            await asyncio.sleep(0.001)
        changes.append(max(worker.went[1] for worker in workers) - began)
        await asyncio.sleep(0.1)
    pipe.send(changes)
    for life in lives:
        life.cancel()


def _workers(address: tuple[str, int], count: int, losses: int, pipe: Connection) -> None:
    asyncio.run(_serve(address, count, losses, pipe))


def measure(count: int, steps: int, losses: int) -> str:
    """One line of the table."""
    coordinator = Coordinator(
        SECRET, first=count, least=1, most=count, silence_s=30.0, begin_s=60.0, tell=lambda name, **details: None
    )
    address = coordinator.start()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_workers, args=(address, count, losses, theirs))
    began = time.monotonic()
    process.start()
    ours.recv()
    together_s = time.monotonic() - began
    me = psutil.Process()
    before, began = sum(me.cpu_times()[:2]), time.monotonic()
    for _ in range(steps):
        ours.send("step")
        ours.recv()
        time.sleep(0.05)
    elapsed_s, cpu_s = time.monotonic() - began, sum(me.cpu_times()[:2]) - before
    ours.send("enough")
    changes = ours.recv()
    memory = coordinator.ask(lambda roster: len(roster.workers))
    process.join(30)
    coordinator.close()
    return (
        f"| {count} | {together_s:.2f} | {statistics.median(changes):.3f} | {max(changes):.3f} "
        f"| {1e3 * cpu_s / steps:.2f} | {cpu_s / elapsed_s:.1%} | {memory} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workers", type=int, nargs="*", default=[8, 64, 256])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--losses", type=int, default=7)
    args = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores\n")
    print(
        "| workers | to be together, their process's start included, s | a loss: until all others go on, median s "
        "| worst s | coordinator's CPU an update, ms | of a core, at 20 updates a second | left at the end |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in args.workers:
        print(measure(count, args.steps, args.losses), flush=True)


if __name__ == "__main__":
    main()
