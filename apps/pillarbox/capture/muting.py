"""Muting: changes in a block are not announced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from .triggers.names import MUTED

SET = "SELECT current_setting(%(name)s, true), set_config(%(name)s, %(value)s, true)"


@contextmanager
def muted(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """
    Announce none of the changes in the block. Changes before and after it are announced.

    The block is a transaction, or a savepoint in the caller's. An exception rolls it back like `atomic`.
    """
    connection = connections[using]
    with transaction.atomic(using=using):
        before = _set(connection, "on")
        yield
        if not connection.needs_rollback:  # a rollback restores the setting
            _set(connection, before)


def _set(connection: Any, value: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(SET, {"name": MUTED, "value": value})
        before, _ = cursor.fetchone()
    return before or ""
