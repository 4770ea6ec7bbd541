"""Hosts of a network on this machine: a namespace each, joined by a bridge. Needs root, `ip` and `tc` (iproute2)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

PREFIX = "w2v2"
COORDINATOR = "10.77.0.1"
"""Address of the driver, which lives on the machine itself."""


def _run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=not check)


class Hosts:
    """Namespaces `w2v2-1`, `w2v2-2`, ... with addresses 10.77.0.11, 10.77.0.12, ...

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.names = [f"{PREFIX}-{number + 1}" for number in range(count)]
        self.close()
        bridge = f"{PREFIX}-br"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{COORDINATOR}/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for number, name in enumerate(self.names):
            outside, inside = f"{name}-o", f"{name}-i"
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
            _run("ip", "link", "set", inside, "netns", name)
            _run("ip", "link", "set", outside, "master", bridge, "up")
            for command in (
                ("addr", "add", f"10.77.0.{11 + number}/24", "dev", inside),
                ("link", "set", inside, "up"),
                ("link", "set", "lo", "up"),
            ):
                _run("ip", "-n", name, *command)

    def start(self, host: int, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a Python program on a host."""
        command = ["ip", "netns", "exec", self.names[host], sys.executable, *arguments]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)

    def interface(self, host: int) -> str:
        """Its network interface."""
        return f"{self.names[host]}-i"

    def shape(self, *rule: str) -> None:
        """Make every host's link slow or lossy, for what it sends and what it is sent; nothing: as it was."""
        for name in self.names:
            for where in (("-n", name, "dev", f"{name}-i"), ("dev", f"{name}-o")):
                space, device = (where[:2], where[2:]) if where[0] == "-n" else ((), where)
                with contextlib.suppress(subprocess.CalledProcessError):
                    _run("tc", *space, "qdisc", "del", *device, "root", check=False)
                if rule:
                    _run("tc", *space, "qdisc", "add", *device, "root", *rule)

    def cut(self, host: int) -> None:
        """Cut a host off: nothing passes, nothing is closed."""
        _run("ip", "link", "set", f"{self.names[host]}-o", "down")

    def heal(self, host: int) -> None:
        """Connect it again."""
        _run("ip", "link", "set", f"{self.names[host]}-o", "up")

    def close(self) -> None:
        """Remove all of it."""
        for name in self.names:
            _run("ip", "netns", "del", name, check=False)
            _run("ip", "link", "del", f"{name}-o", check=False)
        _run("ip", "link", "del", f"{PREFIX}-br", check=False)
