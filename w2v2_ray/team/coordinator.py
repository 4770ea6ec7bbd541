"""The one place that decides who is in a team. It runs on a thread of the driver.

A member is alive while its connection is open and it answers pings. What a stranger can do on the port: open
connections, each of which is closed after `HELLO_S` seconds unless it proves the secret that the driver gave its
workers through Ray. Messages are not encrypted; they hold names, positions and addresses, and no data or weights.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from w2v2_ray.team.roster import Roster
from w2v2_ray.team.wire import HELLO_S, LINE_BYTES, Message, decode, encode, is_hello

T = TypeVar("T")

PING_S = 0.25
_FAREWELL_S = 1.0


@dataclass
class _Line:
    """A worker's connection.

    Attributes:
        writer: To it.
        heard: When it last said something, monotonic seconds.
        wants: Names of values that it asked for before they were there.
    """

    writer: asyncio.StreamWriter
    heard: float
    wants: set[str] = field(default_factory=set)


class Coordinator:
    """Listens, keeps the roster, and tells members what changed.

    Args:
        secret: What workers must know.
        first: Workers that the first epoch waits for.
        least: With fewer the team waits.
        most: No more are let in; others are spares that wait for a place.
        silence_s: A worker that says nothing for so long is given up.
        begin_s: The first epoch waits so long for all its workers, from the first one's coming.
        host: Address to listen on.
        tell: Told what happened; called on the coordinator's thread.
    """

    def __init__(
        self,
        secret: str,
        *,
        first: int,
        least: int,
        most: int,
        silence_s: float,
        begin_s: float,
        host: str = "127.0.0.1",
        tell: Callable[..., None] = lambda name, **details: None,
    ) -> None:
        self._secret = secret
        self._silence_s = silence_s
        self._begin_s = begin_s
        self._host = host
        self._tell = tell
        self._lines: dict[str, _Line] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._values: dict[str, str] = {}
        self.roster = Roster(first, least, most, self._send, tell)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="w2v2-ray-coordinator", daemon=True)
        self._started: threading.Event = threading.Event()
        self._stop = asyncio.Event()
        self.port = 0

    def start(self) -> tuple[str, int]:
        """Listen.

        Returns:
            Address and port for the workers.
        """
        self._thread.start()
        self._started.wait()
        return self._host, self.port

    def close(self) -> None:
        """Stop; members find their connections closed."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=5.0)

    def ask(self, question: Callable[[Roster], T]) -> T:
        """Put a question to the roster, or change it, from another thread."""

        async def answer() -> T:
            return question(self.roster)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(timeout=10.0)

    def expel(self, name: str, why: str) -> None:
        """Give a worker up."""
        self._loop.call_soon_threadsafe(self._drop, name, why)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, self._host, 0, limit=LINE_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        pings = asyncio.ensure_future(self._ping())
        await self._stop.wait()
        server.close()  # from Python 3.12 on, to leave its context would wait for all connections to end
        pings.cancel()
        # More than once: somebody may come meanwhile, or not have said yet who it is.
        while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for writer in list(self._writers):
                writer.transport.abort()  # whoever reads from it finds its end
            _, left = await asyncio.wait(tasks, timeout=_FAREWELL_S)
            for task in left:
                task.cancel()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = None
        why = "closed its connection"
        self._writers.add(writer)
        try:
            hello = decode(await asyncio.wait_for(reader.readline(), HELLO_S))
            if not is_hello(hello, self._secret) or hello["name"] in self._lines:
                return
            name = str(hello["name"])
            self._lines[name] = _Line(writer, time.monotonic())
            self._welcome(name, hello.get("about", {}))
            while line := await reader.readline():
                if name not in self._lines:
                    return
                self._lines[name].heard = time.monotonic()
                self._hear(name, decode(line))
        except (TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            why = f"lost its connection ({type(error).__name__})"
        finally:
            if name is not None:
                self._drop(name, why)
            self._writers.discard(writer)
            writer.close()

    def _welcome(self, name: str, about: dict[str, Any]) -> None:
        if not self.roster.workers:
            self._loop.call_later(self._begin_s, lambda: self.roster.begin(now=True))
        self.roster.joins(name, about)

    def _hear(self, name: str, message: Message) -> None:
        roster = self.roster
        match message["kind"]:
            case "ready":
                roster.ready(name, message)
            case "stepped":
                roster.stepped(name, message["position"])
            case "failed":
                roster.failed(name, message["epoch"], message["why"])
            case "admit":
                roster.admits()
            case "word":
                roster.says(message["key"], message["value"])
            case "put":
                self._put(message["key"], message["value"])
            case "get":
                self._get(name, message["key"])
            case "end":
                roster.ends(name)
            case "leave":
                self._drop(name, "leaves in good order", told="left")

    def _put(self, key: str, value: str) -> None:
        """Keep a value with which members find each other; those of older epochs are forgotten."""
        current = f"{self.roster.epoch}/"
        if not key.startswith(current):
            return
        if self._values and not next(iter(self._values)).startswith(current):
            self._values = {}
        self._values[key] = value
        for name, line in self._lines.items():
            if key in line.wants:
                line.wants.discard(key)
                self._send(name, {"kind": "value", "key": key, "value": value})

    def _get(self, name: str, key: str) -> None:
        if key in self._values:
            self._send(name, {"kind": "value", "key": key, "value": self._values[key]})
        else:
            self._lines[name].wants = {k for k in self._lines[name].wants if k.split("/")[0] == key.split("/")[0]}
            self._lines[name].wants.add(key)

    def _send(self, name: str, message: Message) -> None:
        line = self._lines.get(name)
        if line is not None and not line.writer.is_closing():
            line.writer.write(encode(**message))

    def _drop(self, name: str, why: str, told: str = "lost") -> None:
        line = self._lines.pop(name, None)
        if line is None:
            return
        line.writer.close()
        entry = self.roster.workers.get(name)
        if entry is not None and not entry.ended:
            self._tell(told, worker=name, reason=why, **entry.about)
        self.roster.leaves(name, why)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            now = time.monotonic()
            for name, line in list(self._lines.items()):
                if now - line.heard > self._silence_s:
                    self._drop(name, f"has not answered for {self._silence_s:g} s", told="silent")
                else:
                    self._send(name, {"kind": "ping"})
