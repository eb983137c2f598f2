"""The outbox. A constraint, not code elsewhere, forbids each row that must not exist."""

import uuid
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from ..conditions import PENDING, UNRENDERED
from .indexes import INDEXES
from .shards import SHARDS

#: The states by which operators select rows: the names of methods of `OutboxQuerySet`.
STATES = ("pending", "retrying", "published", "obsolete", "failed", "unreplayed")
#: The event of the row that a trigger writes for a TRUNCATE of a type's table. The row is never numbered.
TRUNCATE = "TRUNCATE"


class OutboxQuerySet(models.QuerySet["NotificationOutbox"]):
    """Rows of the outbox, selected by state."""

    def pending(self) -> Self:
        """Return the rows that are neither published nor failed."""
        return self.filter(PENDING.q)

    def retrying(self) -> Self:
        """Return the pending rows with a failed attempt, which are tried again."""
        is_tried = Q(offset__isnull=False, claims__gt=0) | UNRENDERED.q
        return self.pending().filter(is_tried, attempts__gt=0)

    def failed(self) -> Self:
        """Return the rows whose attempts are spent. They are kept for an operator."""
        return self.filter(failed_at__isnull=False)

    def unreplayed(self) -> Self:
        """Return the failed rows that no operator has replayed."""
        return self.failed().filter(replayed_at=None)

    def published(self) -> Self:
        """Return the rows that the channel layer accepted and whose payloads subscribers see."""
        return self.filter(published_at__isnull=False, obsolete_at=None)

    def obsolete(self) -> Self:
        """Return rows whose objects were gone or elsewhere, or that were erased. They show as skipped."""
        return self.filter(published_at__isnull=False, obsolete_at__isnull=False)


class NotificationOutbox(models.Model):
    """One notification, on one stream, from its capture until it is pruned."""

    stream = models.TextField()
    # PostgreSQL parses each CHECK for each INSERT, which is a fifth of the cost of a capture. So the integers
    # are not PositiveIntegerFields, and rules about the same columns are one constraint.
    shard = models.SmallIntegerField()
    offset = models.BigIntegerField(null=True, editable=False)
    #: The number of the transaction that gave the offset. A shard's rows are published in this order.
    numbering = models.BigIntegerField(default=0, db_default=0, editable=False)
    #: The head of `RIGHTS` when the row got its offset. Ends of rights that were committed before the row, or
    #: with it, have offsets up to this one.
    stamp = models.BigIntegerField(default=0, db_default=0, editable=False)

    event_id = models.UUIDField(default=uuid.uuid4)
    event = models.CharField(max_length=100)
    object_type = models.CharField(max_length=100)
    #: A primary key as text, or a value by which `lookup` finds objects. Its length is the project's choice.
    object_id = models.TextField()
    #: The JSON that subscribers see; None until the row is rendered.
    payload = models.JSONField(null=True)
    #: Columns of the object as the change left them. Dropped when the payload is rendered.
    image = models.JSONField(null=True, editable=False)
    #: True if the row announces a change in all streams of an object, of which only its own is known yet. A
    #: DELETE of this kind doesn't concern the own stream, and its object may be of another type.
    is_everywhere = models.BooleanField(default=False, db_default=False, editable=False)
    #: A lookup of the objects' model that finds them by ``object_id``; empty if that is a primary key. A row
    #: with a lookup is never numbered: rendering replaces it by a row for each object found.
    lookup = models.TextField(default="", db_default="", editable=False)
    #: If `is_everywhere`: the collections that the object left. An item without owner, ``project.tickets:``,
    #: means that the object was in no such collection before, or that it entered another one.
    left_streams = ArrayField(models.TextField(), null=True, editable=False)
    #: The transaction that wrote the row, if a trigger did.
    transaction = models.BigIntegerField(null=True, editable=False)
    #: True if this change moved the object, changed who may see it, or deleted it; catch-up never crosses it.
    is_move = models.BooleanField(default=False, db_default=False, editable=False)

    created_at = models.DateTimeField(db_default=Now())
    available_at = models.DateTimeField(db_default=Now())
    #: When the row's object was found to be gone or elsewhere, or the row was erased. It has no payload.
    obsolete_at = models.DateTimeField(null=True, editable=False)
    claims = models.IntegerField(default=0, db_default=0)
    attempts = models.IntegerField(default=0, db_default=0)
    published_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)

    error_type = models.TextField(default="", db_default="")
    error_message = models.TextField(default="", db_default="")
    error_traceback = models.TextField(default="", db_default="")
    #: A digest of the error's type and message. It is the same for all rows that failed for the same cause.
    error_fingerprint = models.TextField(default="", db_default="")

    replayed_at = models.DateTimeField(null=True)
    # Indexed in `INDEXES`, for rows with a value only.
    replayed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
    )
    replayed_as = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    #: The row whose recorded payload this one repeats. The content is as old as that row.
    repeats = models.BigIntegerField(null=True, editable=False)

    objects = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name = "notification"
        permissions = [
            ("replay_notificationoutbox", "Can replay failed notifications"),
            ("resend_notificationoutbox", "Can resend published notifications"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "offset"],
                name="pillarbox_position",
                condition=Q(offset__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["replayed_as"],
                name="pillarbox_replayed_as",
                condition=Q(replayed_as__isnull=False),
            ),
            models.CheckConstraint(
                name="pillarbox_shard", condition=Q(shard__gte=0, shard__lt=SHARDS)
            ),
            models.CheckConstraint(
                name="pillarbox_offset_from_one", condition=Q(offset=None) | Q(offset__gte=1)
            ),
            models.CheckConstraint(
                name="pillarbox_published_is_whole",
                condition=Q(published_at=None)
                | Q(failed_at=None, offset__isnull=False)
                & (Q(payload__isnull=False) | Q(obsolete_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="pillarbox_image_until_rendered",
                condition=Q(image__isnull=True) | Q(payload__isnull=True, obsolete_at=None),
            ),
            models.CheckConstraint(
                name="pillarbox_attempt_was_claimed",
                condition=Q(attempts__gte=0, claims__gte=F("attempts")),
            ),
            models.CheckConstraint(
                name="pillarbox_failure_has_cause", condition=Q(failed_at=None) | ~Q(error_type="")
            ),
            models.CheckConstraint(
                name="pillarbox_replayed_was_failed",
                condition=Q(replayed_at=None) | Q(failed_at__isnull=False),
            ),
        ]
        indexes = INDEXES

    def __str__(self) -> str:
        return f"{self.event} on {self.stream}"

    @property
    def state(self) -> str:
        """The row's state: pending, published, obsolete or failed."""
        if self.published_at is not None:
            return "published" if self.obsolete_at is None else "obsolete"
        return "pending" if self.failed_at is None else "failed"


OUTBOX = NotificationOutbox._meta.db_table
#: The sequence of the column `numbering`. It has no model.
NUMBERING_SEQUENCE = "pillarbox_numbering"
