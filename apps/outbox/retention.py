"""How long published rows are kept."""

from datetime import timedelta

from django.db.models.functions import Now

from .conf import outbox_settings
from .models import NotificationOutbox


def prune(*, using: str) -> int:
    """
    Delete published rows older than ``RETENTION_SECONDS``; return how many.

    In small transactions, so that nobody waits for it. Pending and failed rows are never touched.
    """
    conf = outbox_settings()
    rows = NotificationOutbox.objects.using(using)
    age = timedelta(seconds=conf.RETENTION_SECONDS)
    old = rows.published().filter(published_at__lt=Now() - age).order_by("published_at")
    pruned = 0
    while pks := list(old.values_list("pk", flat=True)[: conf.PRUNE_ROWS]):
        rows.filter(pk__in=pks).delete()
        pruned += len(pks)
    return pruned
