"""One driver per run, where the storage knows no locks."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from w2v2_ray.errors import StorageError
from w2v2_ray.places.storage import Location, locate
from w2v2_ray.run.names import LOCK_FOLDER
from w2v2_ray.run.remote.lock import RemoteLock


@pytest.fixture
def place(tmp_path: Path) -> Location:
    """A folder stands for the store: listings have its times."""
    return locate(tmp_path / "run")


def put_holder(place: Location, pid: int, host: str, age_s: float = 0.0) -> Path:
    started = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 0.0
    (place / LOCK_FOLDER / "other.json").write_bytes(
        json.dumps({"host": host, "pid": pid, "started": started}).encode()
    )
    path = Path(place.path) / LOCK_FOLDER / "other.json"
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def names(place: Location) -> list[str]:
    return (place / LOCK_FOLDER).names()


def test_a_run_is_held_and_given_back(place: Location):
    lock = RemoteLock(place)
    lock.acquire()
    assert len(names(place)) == 1
    lock.release()
    assert names(place) == []


def test_a_driver_that_shows_a_sign_of_life_is_named(place: Location):
    first = RemoteLock(place)
    first.acquire()
    stop = threading.Event()
    beating = threading.Thread(target=lambda: [first.beat() for _ in iter(lambda: stop.wait(0.2), True)])
    beating.start()
    told: list[str] = []
    try:
        with pytest.raises(StorageError, match=rf"run: process {os.getpid()} on {socket.gethostname()} is training"):
            RemoteLock(place).acquire(told.append)
    finally:
        stop.set()
        beating.join()
    assert "sign of life" in told[0]
    assert len(names(place)) == 1


def test_a_driver_of_this_machine_whose_process_is_gone_is_not_waited_for(place: Location):
    put_holder(place, 2**22 + 1, socket.gethostname())
    told: list[str] = []
    RemoteLock(place).acquire(told.append)
    assert told == []
    assert "other.json" not in names(place)


def test_a_driver_of_another_machine_is_waited_for_once(place: Location):
    path = put_holder(place, 1, "elsewhere")
    told: list[str] = []
    RemoteLock(place, expires_s=1.5).acquire(told.append)
    assert told
    assert not path.exists()


def test_one_that_died_long_ago_is_not(place: Location):
    put_holder(place, 1, "elsewhere", age_s=100.0)
    told: list[str] = []
    RemoteLock(place).acquire(told.append)
    assert told == []


def test_of_drivers_that_come_at_once_at_most_one_starts(place: Location):
    holding: list[RemoteLock] = []
    refused: list[str] = []

    def come() -> None:
        lock = RemoteLock(place, expires_s=3.0)
        try:
            lock.acquire()
            holding.append(lock)
        except StorageError as error:
            refused.append(error.message)
            return
        for _ in range(30):  # as its heart would
            time.sleep(0.1)
            lock.beat()

    drivers = [threading.Thread(target=come) for _ in range(4)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(holding) <= 1
    assert len(holding) + len(refused) == 4
