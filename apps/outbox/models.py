"""The tables. What must never be is a constraint here, not an ``if`` elsewhere."""

import hashlib
import uuid
import zlib
from typing import Self

from django.conf import settings
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

#: Streams are spread over this many shards. A constant: it is stored in each row.
SHARDS = 16

PENDING = Q(published_at=None, failed_at=None)


def shard_of(stream: str) -> int:
    """Return the shard of a stream; the same for ever, in every process."""
    return zlib.crc32(stream.encode()) % SHARDS


class StreamQuerySet(models.QuerySet["Stream"]):
    def with_epoch(self) -> Self:
        """Each stream with what its `epoch` needs to know of the cluster."""
        cluster = (
            "(SELECT system_identifier::text FROM pg_control_system()) || '/' ||"
            " (SELECT timeline_id::text FROM pg_control_checkpoint()) || '/' ||"
            " '{}'::regclass::oid::text"
        )
        table = self.model._meta.db_table
        mark = RawSQL(cluster.format(table), (), output_field=models.TextField())  # noqa: S611  # constants
        return self.annotate(cluster=mark)


class Stream(models.Model):
    """A named, ordered, append-only sequence of notifications."""

    name = models.TextField(primary_key=True)
    shard = models.PositiveSmallIntegerField()
    head = models.PositiveBigIntegerField(default=0, db_default=0)
    incarnation = models.UUIDField(default=uuid.uuid4, db_default=RandomUUID())

    cluster: str

    objects = StreamQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="stream_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def epoch(self) -> str:
        """
        The mark of this incarnation of the stream: another after a restore or a failover.

        Needs `StreamQuerySet.with_epoch`.
        """
        mark = f"{self.cluster}/{self.incarnation}"
        return hashlib.blake2s(mark.encode(), digest_size=8).hexdigest()


class OutboxQuerySet(models.QuerySet["NotificationOutbox"]):
    def pending(self) -> Self:
        """Rows that are neither published nor failed."""
        return self.filter(PENDING)

    def due(self, shard: int) -> Self:
        """
        Numbered, pending rows of a shard whose time has come; each stream's in order, quiet streams first.

        Rows behind one of their stream that waits for its next attempt are not due: a stream keeps
        its order through retries, and no other stream waits.
        """
        pending = self.pending().filter(shard=shard, offset__isnull=False)
        retrying = pending.filter(attempts__gt=0, available_at__gt=Now())
        return (
            pending.filter(available_at__lte=Now())
            .exclude(stream__in=retrying.values("stream"))
            .order_by("offset", "id")
        )

    def failed(self) -> Self:
        """Rows whose attempts are spent: kept for a person to look at."""
        return self.filter(failed_at__isnull=False)

    def published(self) -> Self:
        """Rows that the channel layer took: the history clients resume from."""
        return self.filter(published_at__isnull=False)


class NotificationOutbox(models.Model):
    """One notification, on one stream, from its capture until it is pruned."""

    stream = models.TextField()
    shard = models.PositiveSmallIntegerField()
    offset = models.PositiveBigIntegerField(null=True, editable=False)

    event_id = models.UUIDField(default=uuid.uuid4)
    event = models.CharField(max_length=100)
    object_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=100)
    payload = models.JSONField()

    created_at = models.DateTimeField(db_default=Now())
    available_at = models.DateTimeField(db_default=Now())
    claims = models.PositiveIntegerField(default=0, db_default=0)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    published_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)

    error_type = models.TextField(default="", db_default="")
    error_message = models.TextField(default="", db_default="")
    error_traceback = models.TextField(default="", db_default="")

    replayed_at = models.DateTimeField(null=True)
    replayed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    replayed_as = models.OneToOneField(
        "self", on_delete=models.SET_NULL, null=True, related_name="replay_of"
    )

    objects = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name = "notification"
        permissions = [("replay_notificationoutbox", "Can replay failed notifications")]
        constraints = [
            models.UniqueConstraint(fields=["stream", "offset"], name="outbox_position"),
            models.CheckConstraint(name="outbox_shard", condition=Q(shard__lt=SHARDS)),
            models.CheckConstraint(
                name="outbox_offset_from_one", condition=Q(offset=None) | Q(offset__gte=1)
            ),
            models.CheckConstraint(
                name="outbox_one_outcome", condition=Q(published_at=None) | Q(failed_at=None)
            ),
            models.CheckConstraint(
                name="outbox_outcome_after_number", condition=PENDING | Q(offset__isnull=False)
            ),
            models.CheckConstraint(
                name="outbox_failure_has_cause", condition=Q(failed_at=None) | ~Q(error_type="")
            ),
            models.CheckConstraint(
                name="outbox_replayed_was_failed",
                condition=Q(replayed_at=None) | Q(failed_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index("shard", "id", name="outbox_unnumbered", condition=Q(offset=None)),
            models.Index(
                "shard",
                "offset",
                "id",
                name="outbox_pending",
                condition=PENDING & Q(offset__isnull=False),
            ),
            models.Index(
                "shard",
                "stream",
                name="outbox_retrying",
                condition=PENDING & Q(offset__isnull=False, attempts__gt=0),
            ),
            models.Index(
                F("published_at"), name="outbox_published", condition=Q(published_at__isnull=False)
            ),
            models.Index(
                F("failed_at").desc(), name="outbox_failed", condition=Q(failed_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} on {self.stream}"

    @property
    def state(self) -> str:
        """The row's state, in a word: pending, published or failed."""
        if self.published_at is not None:
            return "published"
        return "pending" if self.failed_at is None else "failed"
