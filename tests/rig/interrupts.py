"""Ctrl-C and similar signals: obeyed at once, but not while something is being started or stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

#: Ctrl-C, an operator's kill, and a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """
    Handle the signals this way within the block, except those that this program was started to ignore.

    In the main thread only.
    """
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def interruptible() -> AbstractContextManager[None]:
    """Have each of the signals raise KeyboardInterrupt within the block."""
    return handled(signal.default_int_handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off signals that arrive within the block until it ends."""
    came: list[int] = []
    try:
        with handled(lambda number, _: came.append(number)):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)
