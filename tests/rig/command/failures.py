"""Errors that keep a run from being run, so that there is nothing to judge."""

import subprocess

import psycopg
import redis

from ..keeper import KeeperError
from ..processes import EndedError

#: A full disk is among them. Their messages are for the person at the terminal.
FAILURES = (
    EndedError,
    KeeperError,
    OSError,
    psycopg.Error,
    redis.RedisError,
    subprocess.SubprocessError,
)


def failure_in(error: Exception) -> Exception:
    """Return the first such failure in an error, which may be a group. Raises the error if it is a bug."""
    if (found := _found(error)) is None:
        raise error
    return found


def _found(error: Exception) -> Exception | None:
    if isinstance(error, ExceptionGroup):
        return next(filter(None, map(_found, error.exceptions)), None)
    return error if isinstance(error, FAILURES) else None
