"""Hosts of a network on this machine: a namespace each, joined by a bridge. Needs root, `ip` and `tc` (iproute2)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PREFIX = "w2v2"
COORDINATOR = "10.77.0.1"
"""Address of the driver, which lives on the machine itself."""


def _run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=not check)


class Hosts:
    """Namespaces `w2v2-1`, `w2v2-2`, ... with addresses 10.77.0.11, 10.77.0.12, ...

    Args:
        count: How many.
        switched: Join them by `network_switch.py`, which can lose and delay frames where the kernel has no `netem`,
            instead of a bridge of the kernel, which is faster.
    """

    def __init__(self, count: int, switched: bool = False) -> None:
        self.names = [f"{PREFIX}-{number + 1}" for number in range(count)]
        self._switch: subprocess.Popen[str] | None = None
        self._conditions: dict[str, Any] = {}
        self.close()
        for name in self.names:
            _run("ip", "netns", "add", name)
        if switched:
            self._join_by_switch()
        else:
            self._join_by_bridge()
        for number, name in enumerate(self.names):
            inside = self.interface(number)
            for command in (
                ("addr", "add", f"10.77.0.{11 + number}/24", "dev", inside),
                ("link", "set", inside, "up"),
                ("link", "set", "lo", "up"),
            ):
                _run("ip", "-n", name, *command)

    def _join_by_bridge(self) -> None:
        bridge = f"{PREFIX}-br"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{COORDINATOR}/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for number, name in enumerate(self.names):
            outside, inside = f"{name}-o", self.interface(number)
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
            _run("ip", "link", "set", inside, "netns", name)
            _run("ip", "link", "set", outside, "master", bridge, "up")

    def _join_by_switch(self) -> None:
        here = f"{PREFIX}-br"
        inside = [self.interface(number) for number in range(len(self.names))]
        program = str(Path(__file__).parent / "network_switch.py")
        self._switch = subprocess.Popen(
            [sys.executable, program, here, *inside], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._switch.stdout is None or self._switch.stdout.readline() != "ready\n":
            raise RuntimeError("the switch did not start; is there a /dev/net/tun?")
        for name, device in zip(self.names, inside, strict=True):
            _run("ip", "link", "set", device, "netns", name)
        _run("ip", "addr", "add", f"{COORDINATOR}/24", "dev", here)
        _run("ip", "link", "set", here, "up")

    def start(self, host: int, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a Python program on a host."""
        command = ["ip", "netns", "exec", self.names[host], sys.executable, *arguments]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)

    def interface(self, host: int) -> str:
        """Its network interface."""
        return f"{self.names[host]}-i"

    def shape(self, *rule: str) -> None:
        """Make every host's link slow, for what it sends and what it is sent; nothing: as it was."""
        for name in self.names:
            for where in (("-n", name, "dev", f"{name}-i"), ("dev", f"{name}-o")):
                space, device = (where[:2], where[2:]) if where[0] == "-n" else ((), where)
                with contextlib.suppress(subprocess.CalledProcessError):
                    _run("tc", *space, "qdisc", "del", *device, "root", check=False)
                if rule:
                    _run("tc", *space, "qdisc", "add", *device, "root", *rule)

    def disturb(self, **conditions: Any) -> None:
        """Tell the switch what happens to frames: `loss`, `delay_s`; nothing: as it was."""
        self._conditions = conditions
        self._tell(cut=[])

    def cut(self, host: int) -> None:
        """Cut a host off: nothing passes, nothing is closed."""
        if self._switch is not None:
            self._tell(cut=[self.interface(host)])
        else:
            _run("ip", "link", "set", f"{self.names[host]}-o", "down")

    def heal(self, host: int) -> None:
        """Connect it again."""
        if self._switch is not None:
            self._tell(cut=[])
        else:
            _run("ip", "link", "set", f"{self.names[host]}-o", "up")

    def _tell(self, cut: list[str]) -> None:
        if self._switch is None or self._switch.stdin is None:
            raise RuntimeError("only a switch loses and delays; make the hosts with switched=True")
        self._switch.stdin.write(json.dumps({**self._conditions, "cut": cut}) + "\n")
        self._switch.stdin.flush()

    def close(self) -> None:
        """Remove all of it."""
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        for name in self.names:
            _run("ip", "netns", "del", name, check=False)
            _run("ip", "link", "del", f"{name}-o", check=False)
        _run("ip", "link", "del", f"{PREFIX}-br", check=False)
