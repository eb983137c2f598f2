"""The notifications of a block of a test."""

from types import TracebackType
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db.models import Max

from ..models import RIGHTS, NotificationOutbox
from ..types.registry import object_type
from .drains import render_and_number
from .overrides import patient_settings


class Notification(NamedTuple):
    """A notification on one stream, as its subscribers are sent it."""

    stream: str
    event: str
    object_type: str
    #: The public id of the object.
    id: str
    payload: Any


class announced:  # noqa: N801  # called like a function
    """
    A block whose notifications are found: `with` or, in an async test, `async with`.

    The target is a list of notifications in the order of the changes, without ends of rights. It is filled
    at the end of the block, and stays empty if the block raises.
    Raises NotDrainedError as `drain` does.
    """

    def __init__(self) -> None:
        self._found: list[Notification] = []
        self._last = 0

    def __enter__(self) -> list[Notification]:
        # Earlier rows are rendered first, because their follow-ups would count as the block's.
        with patient_settings():
            render_and_number()
        self._last = NotificationOutbox.objects.aggregate(last=Max("pk", default=0))["last"]
        return self._found

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            with patient_settings():
                render_and_number()
            self._found += map(_notification, self._rows())

    async def __aenter__(self) -> list[Notification]:
        return await sync_to_async(self.__enter__)()

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await sync_to_async(self.__exit__)(error_type, error, traceback)

    def _rows(self) -> Any:
        rows = NotificationOutbox.objects.filter(
            pk__gt=self._last, offset__isnull=False, obsolete_at=None
        )
        return rows.exclude(stream=RIGHTS).order_by("pk")


def _notification(row: NotificationOutbox) -> Notification:
    public_id = object_type(row.object_type).public_id(row.object_id)
    return Notification(row.stream, row.event, row.object_type, public_id, row.payload)
