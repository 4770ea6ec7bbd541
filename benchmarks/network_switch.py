"""A switch in a process of its own: Ethernet frames between TAP devices, lost or late as it is told.

For kernels without `netem`. Told on stdin, one JSON object a line: `{"loss": 0.01, "delay_s": 0.05, "cut": ["name"]}`.
Losses are drawn from a fixed seed; every frame is delayed by the same time, so that none overtakes another.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_FRAME_BYTES = 65_535
_STDIN = 0
_GROUP_BIT = 1  # of the first byte of a destination: broadcast or multicast


def open_tap(name: str) -> int:
    """Make a TAP device that lives as long as the descriptor returned."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return device


@dataclass
class Conditions:
    """What happens to frames."""

    loss: float = 0.0
    delay_s: float = 0.0
    cut: list[str] = field(default_factory=list)


class Switch:
    """Forwards frames by the addresses it has seen.

    Args:
        names: Of the TAP devices to make.
    """

    def __init__(self, names: list[str]) -> None:
        self.ports = {name: open_tap(name) for name in names}
        self.conditions = Conditions()
        self._random = random.Random(0)
        self._seen: dict[bytes, str] = {}
        self._late: deque[tuple[float, str, bytes]] = deque()

    def run(self) -> None:
        """Forward until stdin ends."""
        by_descriptor = {descriptor: name for name, descriptor in self.ports.items()}
        while True:
            wait_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            readable, _, _ = select.select([*by_descriptor, _STDIN], [], [], wait_s)
            for source in readable:
                if source != _STDIN:
                    self._take(by_descriptor[source])
                    continue
                told = os.read(_STDIN, _FRAME_BYTES).splitlines()
                if not told:
                    return
                self.conditions = Conditions(**json.loads(told[-1]))
            while self._late and self._late[0][0] <= time.monotonic():
                _, target, frame = self._late.popleft()
                self._write(target, frame)

    def _take(self, source: str) -> None:
        frame = os.read(self.ports[source], _FRAME_BYTES)
        if source in self.conditions.cut or self._random.random() < self.conditions.loss:
            return
        self._seen[frame[6:12]] = source
        known = None if frame[0] & _GROUP_BIT else self._seen.get(frame[:6])
        targets = [known] if known else [name for name in self.ports if name != source]
        for target in targets:
            if self.conditions.delay_s:
                self._late.append((time.monotonic() + self.conditions.delay_s, target, frame))
            else:
                self._write(target, frame)

    def _write(self, target: str, frame: bytes) -> None:
        if target in self.conditions.cut:
            return
        try:
            os.write(self.ports[target], frame)
        except (BlockingIOError, OSError):  # its queue is full, or it is down: a switch drops
            return


if __name__ == "__main__":
    switch = Switch(sys.argv[1:])
    print("ready", flush=True)
    switch.run()
