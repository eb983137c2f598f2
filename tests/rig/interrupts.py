"""Ctrl-C and similar signals: handled at once, but not while a process is being started or stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

#: Sent by Ctrl-C, by `kill`, and by a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """
    Call the handler for signals within the block, except for those that this program was started to ignore.

    Works in the main thread only.
    """
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def interruptible() -> AbstractContextManager[None]:
    """Raise KeyboardInterrupt on each of the signals within the block."""
    return handled(signal.default_int_handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay signals that arrive within the block until it ends."""
    arrived: list[int] = []
    try:
        with handled(lambda number, _: arrived.append(number)):
            yield
    finally:
        for number in arrived[:1]:
            signal.raise_signal(number)
