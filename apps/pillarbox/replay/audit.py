"""Entries in the admin's log for the actions of operators."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps

from ..models import NotificationOutbox, Replay, Stream

ADDITION, CHANGE = 1, 2


def log(replay: Replay, message: str, *, is_new: bool = False) -> None:
    """Log an action on a replay, if the admin is installed and the operator still has an account."""
    _log(replay.by_id, [replay], ADDITION if is_new else CHANGE, message, replay._state.db)


def log_rows(replay: Replay, pks: Iterable[int]) -> None:
    """Log on each of the rows that the replay announced it again, with the reason."""
    rows = NotificationOutbox.objects.using(replay._state.db).filter(pk__in=pks)
    message = f"{replay.verb}: {replay.reason}"
    _log(replay.by_id, list(rows.defer("payload")), CHANGE, message, replay._state.db)


def log_on_stream(stream: str, message: str, by_pk: Any, *, using: str) -> None:
    """Log an action on a stream, if a user is given and the admin is installed."""
    _log(by_pk, [Stream(name=stream)], CHANGE, message, using)


def _log(user_pk: Any, objects: list[Any], flag: int, message: str, using: str | None) -> None:
    if user_pk is None or not objects or not apps.is_installed("django.contrib.admin"):
        return
    entries: Any = apps.get_model("admin", "LogEntry")._default_manager.db_manager(using)
    entries.log_actions(user_pk, objects, flag, message)
