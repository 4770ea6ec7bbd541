"""Ctrl-C, once, ends what runs: also what swallows it, and what never comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from w2v2_ray.orchestration.interrupt import INTERRUPTED, one_interrupt_is_enough


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_raises_and_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), one_interrupt_is_enough():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is before


def test_what_swallows_the_interrupt_is_reminded():
    def swallow() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        threading.Event().wait(60)

    with pytest.raises(KeyboardInterrupt), one_interrupt_is_enough(remind_s=0.05):
        swallow()


def test_who_has_noticed_is_not_disturbed_while_putting_things_in_order():
    with one_interrupt_is_enough(remind_s=0.05) as noticed:
        try:
            interrupt()
        except KeyboardInterrupt:
            noticed()
        assert not threading.Event().wait(0.3)


def test_what_never_comes_back_is_left():
    left = threading.Event()
    status: list[int] = []

    def leave(code: int) -> None:
        status.append(code)
        left.set()

    with one_interrupt_is_enough(remind_s=60, give_up_s=0.05, leave=leave):
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        assert left.wait(60)
    assert status == [INTERRUPTED]


def test_another_thread_and_another_handler_are_left_alone():
    def body() -> None:
        with one_interrupt_is_enough():
            found.append(signal.getsignal(signal.SIGINT))

    found: list[object] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with one_interrupt_is_enough():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)


def test_the_status_of_an_interrupted_command_is_130():
    code = (
        "import os, signal\nfrom w2v2_ray.cli.app import app\nfrom w2v2_ray.cli import jobs\n"
        "import w2v2_ray.spec.published as published\n"
        "published.published_specs = lambda folder: os.kill(os.getpid(), signal.SIGINT)\napp(['jobs'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == INTERRUPTED
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
