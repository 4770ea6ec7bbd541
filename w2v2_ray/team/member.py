"""A worker's line to the coordinator, kept by a thread of its own so that pings are answered while it computes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from w2v2_ray.team.wire import Expelled, Message, TeamOver, decode, encode

_GONE = 1 << 60
_ADMISSION_S = 1.0


class Member:
    """One worker's membership.

    Args:
        address: Of the coordinator.
        secret: The run's.
        name: This worker's; no other ever has it.
        about: What the coordinator should tell of it, plain JSON.
        silence_s: When nothing is heard of the coordinator for so long, it is taken for gone: this worker may be the
            one that was cut off, and must not go on.

    Raises:
        Expelled: From every method, once the coordinator is gone or has given this worker up.
        TeamOver: Likewise, for a newcomer, when there is nothing left to do.
    """

    def __init__(
        self, address: tuple[str, int], secret: str, name: str, about: dict[str, Any], silence_s: float = 10.0
    ) -> None:
        self.name = name
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._announced = 0
        self._go: Message | None = None
        self._words: dict[str, Any] = {}
        self._values: dict[str, str] = {}
        self._waiting = 0
        self._over = False
        try:
            self._socket = socket.create_connection(address, timeout=silence_s)
        except OSError as error:
            raise Expelled(f"{address[0]}:{address[1]}: the coordinator does not answer ({error})") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(silence_s)
        self.host = self._socket.getsockname()[0]
        """This worker's address on the network that leads to the coordinator."""
        threading.Thread(target=self._listen, name="w2v2-ray-member", daemon=True).start()
        self.say("hello", secret=secret, name=name, about=about)

    @property
    def announced(self) -> int:
        """The newest epoch."""
        return self._announced

    @property
    def others_wait(self) -> bool:
        """Whether workers wait to be let in."""
        return self._waiting > 0

    def say(self, kind: str, **content: Any) -> None:
        """Tell the coordinator."""
        try:
            with self._sending:
                self._socket.sendall(encode(kind, **content))
        except OSError:
            self._lose()
            self.check()

    def check(self) -> None:
        """Go no further when given up."""
        if self._over:
            raise TeamOver
        if self._announced == _GONE:
            raise Expelled(f"{self.name}: the team goes on without this worker, or its driver is gone")

    def wait_for_epoch(self, after: int) -> int:
        """Wait until an epoch after this one is announced."""
        with self._news:
            self._news.wait_for(lambda: self._announced > after)
        self.check()
        return self._announced

    def wait_for_admission(self, epoch: int) -> None:
        """Wait until those that ask to be let in have been, or have gone."""
        with self._news:
            self._news.wait_for(lambda: self._announced != epoch or not self._waiting, _ADMISSION_S)

    def wait_for_go(self, epoch: int) -> Message | None:
        """Wait until all of an epoch are ready; None when it is over before."""
        with self._news:
            self._news.wait_for(lambda: self._announced != epoch or self._started(epoch))
            go = self._go
        self.check()
        return go if self._announced == epoch else None

    def _started(self, epoch: int) -> bool:
        return self._go is not None and self._go["epoch"] == epoch

    def heard(self, key: str) -> bool:
        """Whether a word has been said."""
        return key in self._words

    def word(self, key: str) -> Any:
        """A word that has been said."""
        return self._words[key]

    def wait_for_word(self, key: str, epoch: int) -> bool:
        """Wait for a word, but not longer than an epoch lives; whether it has been said."""
        with self._news:
            self._news.wait_for(lambda: key in self._words or self._announced != epoch)
        self.check()
        return key in self._words

    def wait_for_value(self, key: str, epoch: int, timeout_s: float) -> str | None:
        """A value that another member put, or None when the epoch is over before."""
        self.say("get", key=key)
        with self._news:
            self._news.wait_for(lambda: key in self._values or self._announced != epoch, timeout_s)
            found = self._values.pop(key, None)
        self.check()
        return found

    def close(self) -> None:
        """Leave without a word."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        # An answer to a ping may find the line closed: whoever waits for something is told of that, not this thread.
        lost = (OSError, ValueError, Expelled, TeamOver)
        with contextlib.suppress(*lost), self._socket.makefile("rb") as lines:
            for line in lines:
                self._take(decode(line))
        self._lose()

    def _take(self, message: Message) -> None:
        if message["kind"] == "ping":
            self.say("pong")
            return
        with self._news:
            match message["kind"]:
                case "prepare":
                    self._announced = max(self._announced, message["epoch"])
                    self._values = {}
                case "go":
                    self._go = message
                case "word":
                    self._words[message["key"]] = message["value"]
                case "value":
                    self._values[message["key"]] = message["value"]
                case "waiting":
                    self._waiting = message["count"]
                case "over":
                    self._over, self._announced = True, _GONE
            self._news.notify_all()

    def _lose(self) -> None:
        with self._news:
            self._announced = _GONE
            self._news.notify_all()


def patient_member(
    address: tuple[str, int], secret: str, name: str, about: dict[str, Any], silence_s: float, patience_s: float
) -> Member:
    """A member whose coordinator may be busy when it first calls."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return Member(address, secret, name, about, silence_s)
        except Expelled:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)
