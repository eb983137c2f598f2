"""A person's decision to announce failed rows again."""

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models.functions import Now

from .bell import ring_on_commit
from .exceptions import NotReplayableError
from .models import NotificationOutbox


def replay(pk: int, *, by: AbstractBaseUser, using: str) -> NotificationOutbox:
    """
    Announce a failed row again, as recorded, and return the new row.

    It has the same ``event_id`` and will get a new offset, so that it reaches whoever is subscribed.
    The failed row keeps its error and records by whom it was replayed, and as what.
    Raises NotReplayableError if the row is not failed, was replayed before, or is gone.
    """
    with transaction.atomic(using=using):
        rows = NotificationOutbox.objects.using(using)
        row = rows.select_for_update().filter(pk=pk).first()
        if row is None or row.failed_at is None:
            raise NotReplayableError(f"Row {pk} is not a failed row.")
        if row.replayed_at is not None:
            raise NotReplayableError(f"Row {pk} was replayed before, as row {row.replayed_as_id}.")
        again = rows.create(
            stream=row.stream,
            shard=row.shard,
            event_id=row.event_id,
            event=row.event,
            object_type=row.object_type,
            object_id=row.object_id,
            payload=row.payload,
            is_move=row.is_move,
        )
        rows.filter(pk=pk).update(replayed_at=Now(), replayed_by=by.pk, replayed_as=again)
        ring_on_commit(using)
    return again
