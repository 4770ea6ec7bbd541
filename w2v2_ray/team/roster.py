"""Who is in a team, and when a change of it is settled: the coordinator's decisions without its sockets.

Every change of membership begins a new epoch. Members answer `prepare` with where they stand; when all have, `go` tells
everybody all answers, from which each works out by itself what is missing of the update and who computes it. Any
further change begins the next epoch, so that a member that dies meanwhile holds nobody up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from w2v2_ray.team.wire import Message

BEGINS = "begins"
"""Why an epoch is one in which nobody goes on from anybody."""
NO_STATE = -1
"""Position of a worker that has no weights yet."""


@dataclass
class Entry:
    """One worker of the roster.

    Attributes:
        name: Its name; no other ever has it.
        about: What it said of itself, such as its node.
        member: It has been let in; it waits otherwise.
        position: Sums that it has taken part in, as of its last word.
        ended: It has nothing left to do.
    """

    name: str
    about: dict[str, Any]
    member: bool = False
    position: int = NO_STATE
    ended: bool = False


@dataclass
class Roster:
    """The coordinator's memory.

    Args:
        first: Workers that the first epoch waits for.
        least: With fewer the team waits.
        most: No more are let in; others wait for a place.
        send: Sends a message to a worker by name.
        tell: Told what happened, for events: a name and details.
    """

    first: int
    least: int
    most: int
    send: Callable[[str, Message], None]
    tell: Callable[..., None]
    epoch: int = 0
    workers: dict[str, Entry] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)
    over: bool = False
    _ready: dict[str, Message] = field(default_factory=dict)
    _gone: list[str] = field(default_factory=list)
    _since: float | None = None

    @property
    def members(self) -> list[str]:
        """Names of those that are in, the longest-serving first."""
        return [name for name, entry in self.workers.items() if entry.member]

    @property
    def waiting(self) -> list[str]:
        """Names of those that wait to be let in."""
        return [name for name, entry in self.workers.items() if not entry.member]

    @property
    def next_in(self) -> list[str]:
        """Of those that wait, the ones that there is a place for."""
        return self.waiting[: max(0, self.most - len(self.members))]

    @property
    def position(self) -> int:
        """Sums made; `NO_STATE` while nobody has weights."""
        return max((entry.position for entry in self.workers.values()), default=NO_STATE)

    def joins(self, name: str, about: dict[str, Any]) -> None:
        """A worker has come. It is let in at once while the team begins, else when a member asks for it."""
        self.workers[name] = Entry(name, about)
        if self.over:
            self.send(name, {"kind": "over"})
            return
        for key, value in self.words.items():
            self.send(name, {"kind": "word", "key": key, "value": value})
        if not self.members:
            self.begin()
        elif len(self.members) < self.least:
            self._new_epoch(f"{_list(self.next_in)} joins", admit=self.next_in)
        else:
            self._announce()

    def begin(self, *, now: bool = False) -> None:
        """Begin the first epoch once there are enough, or with those there are."""
        enough = self.least if now or self.epoch else max(self.first, self.least)
        if not self.members and len(self.waiting) >= enough:
            self._new_epoch(BEGINS, admit=self.next_in)

    def admits(self) -> None:
        """A member asks for those that wait: it is where their state can be sent."""
        if self.next_in:
            self._new_epoch(f"{_list(self.next_in)} joins", admit=self.next_in)

    def leaves(self, name: str, why: str) -> Entry | None:
        """A worker has gone; returns what was known of it."""
        entry = self.workers.pop(name, None)
        if entry is None:
            return None
        if entry.member and not entry.ended and not self.over:
            self._gone.append(name)
            if self.members:
                self._new_epoch(f"{name} {why}")
            else:
                self.begin()
        return entry

    def ready(self, name: str, message: Message) -> None:
        """A member says where it stands."""
        if message["epoch"] != self.epoch or name not in self.members:
            return
        self.workers[name].position = message["position"]
        self._ready[name] = message
        members = self.members
        if len(self._ready) < len(members):
            return
        can_be_sent = all(self._ready[member]["open"] for member in members)
        strangers = [member for member in members if self.workers[member].position == NO_STATE]
        if 0 < len(strangers) < len(members) and not can_be_sent:
            for stranger in strangers:  # the others have gone on to where no state can be sent
                self.workers[stranger].member = False
            self._new_epoch(f"{_list(strangers)} waits for the next update")
            return
        if len(members) < self.least and can_be_sent:
            if self.next_in:
                self._new_epoch(f"{_list(self.next_in)} joins", admit=self.next_in)
            return  # fewer than the job's least: wait for more
        go = {
            "kind": "go",
            "epoch": self.epoch,
            "members": members,
            "standing": [[self._ready[m]["position"], self._ready[m]["done"]] for m in members],
        }
        for member in members:
            self.send(member, go)

    def failed(self, name: str, epoch: int, why: str) -> None:
        """A member could not work with the others of an epoch."""
        if epoch == self.epoch and name in self.members:
            self._new_epoch(f"{name}: {why}")

    def stepped(self, name: str, position: int) -> None:
        """A member has another sum behind it."""
        self.workers[name].position = position
        if self._since is not None:
            paused_s, self._since = time.monotonic() - self._since, None
            self.tell("going_on", epoch=self.epoch, workers=len(self.members), paused_s=round(paused_s, 3))

    def says(self, key: str, value: Any) -> None:
        """A word for all; the first one counts."""
        value = self.words.setdefault(key, value)
        for name in self.workers:
            self.send(name, {"kind": "word", "key": key, "value": value})

    def ends(self, name: str) -> None:
        """A member has nothing left to do."""
        self.workers[name].ended = True
        self.over = True
        for newcomer in self.waiting:
            self.send(newcomer, {"kind": "over"})

    def _new_epoch(self, why: str, admit: Collection[str] = ()) -> None:
        for name in admit:
            self.workers[name].member = True
        self.epoch += 1
        self._ready = {}
        self._since = time.monotonic() if self._since is None else self._since
        gone, self._gone = self._gone, []
        joined = {name: self.workers[name].about for name in sorted(admit)}
        self.tell("team", epoch=self.epoch, workers=len(self.members), joined=joined, gone=gone, reason=why[:300])
        for name in self.members:
            self.send(name, {"kind": "prepare", "epoch": self.epoch})
        self._announce()

    def _announce(self) -> None:
        for name in self.members:
            self.send(name, {"kind": "waiting", "count": len(self.next_in)})


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
