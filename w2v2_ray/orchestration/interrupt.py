"""Ctrl-C, once: what holds it up, such as a library that swallows it, is reminded and in the end cut short."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
_REMIND_S = 6.0
_GIVE_UP_S = 20.0


@contextmanager
def one_interrupt_is_enough(
    remind_s: float = _REMIND_S, give_up_s: float = _GIVE_UP_S, leave: Callable[[int], Any] = os._exit
) -> Iterator[Callable[[], None]]:
    """See that the first SIGINT ends the block within seconds; outside the main thread, do nothing.

    It raises KeyboardInterrupt, as ever, and again after `remind_s`, in case what it was raised in has swallowed it:
    whoever catches it, to put things in order, calls what the block is given, and is not disturbed. After `give_up_s`
    the process ends with status 130; Ray's processes end with their driver.

    Args:
        remind_s: Seconds after the signal.
        give_up_s: Seconds after the signal.
        leave: Ends the process.
    """
    before = signal.getsignal(signal.SIGINT)
    # A process that was started in the background ignores the signal, and its handlers are its own affair.
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield lambda: None
        return
    timers = [
        # To the main thread's own handler: a signal sent to the process could wake another thread.
        threading.Timer(remind_s, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)),
        threading.Timer(give_up_s, lambda: leave(INTERRUPTED)),
    ]

    def interrupt(number: int, frame: Any) -> None:
        for timer in timers:
            if not timer.is_alive() and not timer.finished.is_set():
                timer.daemon = True
                timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield timers[0].cancel
    finally:
        signal.signal(signal.SIGINT, before)
        for timer in timers:
            timer.cancel()
