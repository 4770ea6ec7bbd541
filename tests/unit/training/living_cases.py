"""Crews of processes that train one job and are killed on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from engine_worlds import _PRELOAD
from trainer_cases import TeacherTask

from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.kinds import parse_job
from w2v2_ray.team.coordinator import Coordinator
from w2v2_ray.team.member import Member
from w2v2_ray.training.hooks import NoHooks
from w2v2_ray.training.session import start_session

SECRET = "of-this-test"
WAIT_S = 120.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Harm(NoHooks):
    """Kills its process at an update's end, asks to leave at one, or slows it down.

    Args:
        how: `end` (update at whose end to die), `leave` (update to leave at), `pause_s` (an update's extra time).
    """

    def __init__(self, how: Mapping[str, Any]) -> None:
        self._how = how
        self._update = 0

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        self._update = update
        time.sleep(self._how.get("pause_s", 0.0))
        if self._how.get("end") == update:
            die()

    def must_leave(self) -> bool:
        return self._how.get("leave") == self._update + 1

    def leave(self, update: int) -> None:
        os._exit(0)


def live(job: dict[str, Any], address: tuple[str, int], name: str, how: dict[str, Any]) -> None:
    """Be one worker of a crew."""
    spec = parse_job(job)
    assert isinstance(spec, TrainJob)
    run = RunFolder(Path(spec.storage_path) / spec.name)
    try:

        def join() -> Member:
            return Member(address, SECRET, name, {"pid": os.getpid()}, 5.0)

        if how.get("teacher"):
            from w2v2_ray.training.objectives.pretraining import task

            task.PretrainTask = TeacherTask  # type: ignore[misc]
        session = start_session(spec, run, hooks=Harm(how), join=join)
        _harm(session, how)
        session.trainer.train()
        session.close()
    except BaseException:
        (run.path / f"problem-{name}.txt").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def _harm(session: Any, how: dict[str, Any]) -> None:
    """Die in the midst of computing, reducing, sending a state, saving, or deciding."""
    crew = session.living
    if "compute" in how:
        add = session.engine.add
        left = [how["compute"]]

        def adds(*given: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                die()
            add(*given)

        session.engine.add = adds
    if "reduce" in how:
        reduce, count = crew._team._reduce, [how["reduce"]]

        def reduces(part: Any) -> None:
            count[0] -= 1
            if count[0] == 0:
                die()
            reduce(part)

        crew._team._reduce = reduces
    if "give" in how:
        crew._team._give = lambda transfer: die()
    if "take" in how:
        crew._team._take = lambda *given: die()
    if "save" in how:
        save = session.trainer._checkpoints.save

        def saves(update: int, *given: Any) -> None:
            save(update, *given)
            if update == how["save"]:
                die()

        session.trainer._checkpoints.save = saves
    if "measure" in how:
        crew.measure = lambda *given: die()
    if "finish" in how:
        session.trainer._checkpoints.finish = lambda *given: die()


class LivingWorld:
    """A coordinator and worker processes for one job.

    Args:
        job: What they train.
        first: Workers that begin together.
    """

    def __init__(self, job: TrainJob, first: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.run = RunFolder(Path(job.storage_path) / job.name)
        self.run.create()
        self._job = job.model_dump(mode="json")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self.coordinator = Coordinator(
            SECRET, first=first, least=1, most=99, silence_s=5.0, begin_s=60.0, tell=self._tell
        )
        self._address = self.coordinator.start()
        self.workers: list[BaseProcess] = []

    def _tell(self, name: str, **details: Any) -> None:
        self.events.append({"event": name, "at": time.monotonic(), **details})

    def add(self, **how: Any) -> BaseProcess:
        """Start a worker.

        Args:
            how: What is to happen to it.
        """
        name = f"w{len(self.workers)}"
        worker = self._context.Process(target=live, args=(self._job, self._address, name, how), daemon=True)
        worker.start()
        self.workers.append(worker)
        return worker

    def wait_for(self, members: int, position: int = 0) -> None:
        """Wait until so many are in and so many sums are made."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            there, at = self.coordinator.ask(lambda roster: (len(roster.members), roster.position))
            if there >= members and at >= position:
                return
            self.check()
            time.sleep(0.01)
        raise AssertionError(f"{members} members at {position} never came")

    def wait_for_coming(self, workers: int) -> None:
        """Wait until so many have called, so that their order is known."""
        deadline = time.monotonic() + WAIT_S
        while self.coordinator.ask(lambda roster: len(roster.workers)) < workers and time.monotonic() < deadline:
            self.check()
            time.sleep(0.01)

    def wait_for_member(self, name: str) -> None:
        """Wait until a worker is in and has made a sum."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            entry = self.coordinator.ask(lambda roster: roster.workers.get(name))
            if entry is not None and entry.member and entry.position > 0:
                return
            self.check()
            time.sleep(0.01)

    def wait(self) -> list[int | None]:
        """Wait until all have ended; returns how."""
        for worker in self.workers:
            worker.join(WAIT_S)
        self.check()
        return [worker.exitcode for worker in self.workers]

    def check(self) -> None:
        """Fail with what a worker failed with."""
        for problem in sorted(self.run.path.glob("problem-*.txt")):
            raise AssertionError(problem.read_text())

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.coordinator.close()

    def __enter__(self) -> LivingWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
