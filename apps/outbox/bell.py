"""The bell: asks a worker to look, once per transaction. It may fail freely."""

from collections.abc import Callable
from functools import lru_cache

from django.db import connections, transaction
from django.utils.module_loading import import_string

from .conf import outbox_settings


def ring_on_commit(using: str) -> None:
    """
    Ring the bell after the commit of the transaction open on ``using``; once, if asked twice.

    Whether it will ring is read off the connection's pending callbacks: they are what a rolled-back
    savepoint drops. A callback that is pending outlives the caller's savepoint, or ends with it.
    """
    ring = _ring(using)
    pending = connections[using].run_on_commit
    if not any(callback is ring for _, callback, *_ in pending):
        transaction.on_commit(ring, using=using, robust=True)


@lru_cache
def _ring(using: str) -> Callable[[], None]:
    """Return the callback of a database: the same one each time, so that it is recognised."""

    def ring() -> None:
        if path := outbox_settings().BELL:
            import_string(path)(using)

    return ring
