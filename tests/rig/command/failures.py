"""Errors that prevent a run, so that there is no history to check."""

import subprocess

import psycopg
import redis

from ..keeper import KeeperError
from ..processes import EndedError

#: Errors of the machine, a full disk for example. Their messages are shown without a traceback.
FAILURES = (
    EndedError,
    KeeperError,
    OSError,
    psycopg.Error,
    redis.RedisError,
    subprocess.SubprocessError,
)


def failure_in(error: Exception) -> Exception:
    """Return the first failure of the machine in an error or a group. Raises the error if it is a bug."""
    if (found := _found(error)) is None:
        raise error
    return found


def _found(error: Exception) -> Exception | None:
    if isinstance(error, ExceptionGroup):
        return next(filter(None, map(_found, error.exceptions)), None)
    return error if isinstance(error, FAILURES) else None
