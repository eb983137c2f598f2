"""The tables. What must never be is a constraint here, not an ``if`` elsewhere."""

import hashlib
import uuid
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from .operations import Instance, Minute, Replay

__all__ = [
    "SHARDS",
    "STATES",
    "Claim",
    "Instance",
    "Minute",
    "NotificationOutbox",
    "Rendering",
    "Replay",
    "Stream",
    "shard_of",
]

#: What a row may be, as operators ask for it: the names of methods below.
STATES = ("pending", "retrying", "published", "failed", "unreplayed")

#: Streams are spread over this many shards. A constant: it is stored in each row.
SHARDS = 16

PENDING = Q(published_at=None, failed_at=None)
#: Rows that have neither a payload nor a reason for having none.
UNRENDERED = Q(payload__isnull=True, obsolete_at=None, failed_at=None)


def shard_of(stream: str) -> int:
    """Return the shard of a stream; the same for ever, in every process."""
    # PostgreSQL has the same digest, for the triggers.
    return hashlib.md5(stream.encode(), usedforsecurity=False).digest()[0] % SHARDS


class Stream(models.Model):
    """A named, ordered, append-only sequence of notifications."""

    name = models.TextField(primary_key=True)
    shard = models.PositiveSmallIntegerField()
    head = models.PositiveBigIntegerField(default=0, db_default=0)
    incarnation = models.UUIDField(default=uuid.uuid4, db_default=RandomUUID())

    class Meta:
        constraints = [
            models.CheckConstraint(name="stream_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return self.name


class Claim(models.Model):
    """
    The rows of a shard that a worker has in hand.

    Committed before they are published, and emptied with what became of them: what stands here while
    nobody publishes the shard is what a dead worker left.
    """

    shard = models.PositiveSmallIntegerField(primary_key=True)
    rows = ArrayField(models.BigIntegerField(), default=list)
    claimed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="claim_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of shard {self.shard}"


class Rendering(models.Model):
    """
    The rows of a shard that a process is rendering.

    Committed before the project's code runs: rows that stand here while nobody renders them are those of a
    process that died.
    """

    shard = models.PositiveSmallIntegerField(primary_key=True)
    rows = ArrayField(models.BigIntegerField(), default=list)
    #: Counts the batches: whose it is, however alike two batches are.
    turn = models.BigIntegerField(default=0, db_default=0)
    #: When the process said last that it is there.
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="rendering_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of shard {self.shard}"


class OutboxQuerySet(models.QuerySet["NotificationOutbox"]):
    def pending(self) -> Self:
        """Rows that are neither published nor failed."""
        return self.filter(PENDING)

    def retrying(self) -> Self:
        """Pending rows of which an attempt failed: they are tried again."""
        return self.pending().filter(offset__isnull=False, claims__gt=0, attempts__gt=0)

    def failed(self) -> Self:
        """Rows whose attempts are spent: kept for a person to look at."""
        return self.filter(failed_at__isnull=False)

    def unreplayed(self) -> Self:
        """Failed rows that nobody has announced again."""
        return self.failed().filter(replayed_at=None)

    def published(self) -> Self:
        """Rows that the channel layer took: the history clients resume from."""
        return self.filter(published_at__isnull=False)


class NotificationOutbox(models.Model):
    """One notification, on one stream, from its capture until it is pruned."""

    stream = models.TextField()
    shard = models.PositiveSmallIntegerField()
    offset = models.PositiveBigIntegerField(null=True, editable=False)
    #: Which numbering gave the offset. Rows are published in this order, whatever their streams.
    numbering = models.BigIntegerField(default=0, db_default=0, editable=False)

    event_id = models.UUIDField(default=uuid.uuid4)
    event = models.CharField(max_length=100)
    object_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=100)
    #: What subscribers see; None until the row is rendered.
    payload = models.JSONField(null=True)
    #: Columns of the object as the change left them; dropped when the payload is rendered.
    image = models.JSONField(null=True, editable=False)
    #: Whether the row is about an object in all its streams, of which only its own is known so far.
    is_everywhere = models.BooleanField(default=False, db_default=False, editable=False)
    #: The transaction that wrote the row, if a trigger did.
    transaction = models.BigIntegerField(null=True, editable=False)
    #: Whether the object was elsewhere, or not for the same eyes, before: no reader goes back across it.
    is_move = models.BooleanField(default=False, db_default=False, editable=False)

    created_at = models.DateTimeField(db_default=Now())
    available_at = models.DateTimeField(db_default=Now())
    #: When the row was found to be about an object that is gone or elsewhere: it is never shown.
    obsolete_at = models.DateTimeField(null=True, editable=False)
    claims = models.PositiveIntegerField(default=0, db_default=0)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    published_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)

    error_type = models.TextField(default="", db_default="")
    error_message = models.TextField(default="", db_default="")
    error_traceback = models.TextField(default="", db_default="")
    #: Rows that failed of the same cause have the same: a digest of the error's type and words.
    error_fingerprint = models.TextField(default="", db_default="")

    replayed_at = models.DateTimeField(null=True)
    # Indexed below, where they are set: an index of nothing but NULL would be written with every row.
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
    #: The row whose payload this one repeats, announced again as it was recorded: as old is what it says.
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
                name="outbox_position",
                condition=Q(offset__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["replayed_as"],
                name="outbox_replayed_as",
                condition=Q(replayed_as__isnull=False),
            ),
            models.CheckConstraint(name="outbox_shard", condition=Q(shard__lt=SHARDS)),
            models.CheckConstraint(
                name="outbox_offset_from_one", condition=Q(offset=None) | Q(offset__gte=1)
            ),
            models.CheckConstraint(
                name="outbox_one_outcome", condition=Q(published_at=None) | Q(failed_at=None)
            ),
            models.CheckConstraint(
                name="outbox_outcome_after_number",
                condition=Q(published_at=None) | Q(offset__isnull=False),
            ),
            models.CheckConstraint(
                name="outbox_published_after_rendering",
                condition=Q(published_at=None) | ~UNRENDERED,
            ),
            models.CheckConstraint(
                name="outbox_image_until_rendered",
                condition=Q(image__isnull=True) | Q(payload__isnull=True, obsolete_at=None),
            ),
            models.CheckConstraint(
                name="outbox_attempt_was_claimed", condition=Q(claims__gte=F("attempts"))
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
            models.Index("shard", "id", name="outbox_unrendered", condition=UNRENDERED),
            models.Index(
                "shard",
                "numbering",
                "offset",
                "id",
                name="outbox_untried",
                condition=PENDING & Q(offset__isnull=False, claims=0),
            ),
            models.Index(
                "shard",
                "stream",
                name="outbox_tried",
                condition=PENDING & Q(offset__isnull=False, claims__gt=0),
            ),
            models.Index(
                F("published_at"), name="outbox_published", condition=Q(published_at__isnull=False)
            ),
            models.Index(
                F("replayed_by"), name="outbox_replayed_by", condition=Q(replayed_by__isnull=False)
            ),
            models.Index(
                F("failed_at").desc(), name="outbox_failed", condition=Q(failed_at__isnull=False)
            ),
            # Failures are counted by it alone, however long their tracebacks.
            models.Index(
                fields=["error_fingerprint", "failed_at"],
                include=["replayed_at", "object_type"],
                name="outbox_cause",
                condition=Q(failed_at__isnull=False),
            ),
            models.Index(
                "id",
                name="outbox_replayable",
                condition=Q(failed_at__isnull=False, replayed_at=None),
            ),
            models.Index("stream", "id", name="outbox_moves", condition=Q(is_move=True)),
        ]

    def __str__(self) -> str:
        return f"{self.event} on {self.stream}"

    @property
    def state(self) -> str:
        """The row's state, in a word: pending, published, obsolete or failed."""
        if self.published_at is not None:
            return "published" if self.obsolete_at is None else "obsolete"
        return "pending" if self.failed_at is None else "failed"
