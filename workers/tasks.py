"""The tasks. They carry nothing: what there is to do is in the outbox."""

from functools import lru_cache

from django.db import DEFAULT_DB_ALIAS

from apps.outbox.retention import prune

from . import bell
from .app import app
from .relay import Relay


@app.task(name="outbox.drain")
def drain() -> None:
    """Publish what is due."""
    bell.clear()
    _relay().drain()


@app.task(name="outbox.prune")
def prune_outbox() -> None:
    """Delete published rows past their retention."""
    prune(using=DEFAULT_DB_ALIAS)


@lru_cache
def _relay() -> Relay:
    # One for each process, so that its connections to the channel layer outlive the task.
    return Relay(using=DEFAULT_DB_ALIAS)
