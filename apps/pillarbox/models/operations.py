"""The models for operators: running processes, per-minute counts, replays."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Process(models.Model):
    """A process, as it last reported itself. Its row stays for an hour after the last report."""

    #: Kind, host and process id; unique while it runs.
    name = models.TextField(primary_key=True)
    #: The kind: ``worker`` (also ``pillarbox run``), ``beat`` or ``daphne``.
    kind = models.TextField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    #: Facts about itself: a worker's breaker and last drain, a Daphne's number of sockets.
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class MinuteCounts(models.Model):
    """The counts of one minute, derived from the rows when it was over, and kept longer than they are."""

    starts_at = models.DateTimeField(primary_key=True)
    captured = models.PositiveIntegerField()
    published = models.PositiveIntegerField()
    #: Obsolete rows, whose objects were deleted or moved. Subscribers saw their offsets as skipped.
    obsolete = models.PositiveIntegerField(default=0, db_default=0)
    failed = models.PositiveIntegerField()
    #: The longest time from capture to publishing of the rows published in this minute, in seconds.
    lag = models.FloatField()

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M}"


class Replay(models.Model):
    """
    An operator's decision to announce rows again, with its progress.

    Rows are taken by ascending primary key. Each batch is committed together with the position, so that
    another worker can continue after a crash, and no row is announced twice.
    """

    #: Chosen by the confirmation page, so that a form that is sent twice makes only one replay.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    #: False for a replay of failed rows; True for a resend of published rows as new notifications.
    is_resend = models.BooleanField(default=False)
    #: True if the payload is the object's present state; False if it is as recorded.
    is_current = models.BooleanField(default=False)
    #: True if superseded rows are announced, too.
    with_superseded = models.BooleanField(default=False)
    #: The selected rows: names and values of filters, or primary keys.
    criteria = models.JSONField()
    #: The last primary key when the confirmation page was shown. Later rows are left out.
    last_pk = models.BigIntegerField()
    reason = models.TextField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    #: The username, kept in case the account is deleted.
    by_name = models.TextField()

    created_at = models.DateTimeField(db_default=Now())
    total = models.PositiveIntegerField()
    #: The primary key of the last row examined.
    position = models.BigIntegerField(default=0)
    announced = models.PositiveIntegerField(default=0)
    #: Rows left out because they are superseded.
    superseded = models.PositiveIntegerField(default=0)
    #: Rows that could not be announced: replayed meanwhile, pruned, or their object is gone.
    refused = models.PositiveIntegerField(default=0)
    #: The reasons: each sentence with its number of rows.
    refusals = models.JSONField(default=dict, db_default={})
    #: A sentence that says why it can't continue at the moment; empty if it can.
    blocked_reason = models.TextField(default="", db_default="")
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="pillarbox_replay_one_end",
                condition=Q(finished_at=None) | Q(cancelled_at=None),
            ),
        ]
        indexes = [
            models.Index(
                F("created_at"),
                name="pillarbox_replay_unfinished",
                condition=Q(finished_at=None, cancelled_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} of {self.total} rows by {self.by_name}"

    @property
    def verb(self) -> str:
        """Its name: Replay or Resend."""
        return "Resend" if self.is_resend else "Replay"

    @property
    def examined(self) -> int:
        """The number of its rows that have been announced, superseded or refused."""
        return self.announced + self.superseded + self.refused

    @property
    def is_over(self) -> bool:
        """True if it is finished or cancelled."""
        return self.finished_at is not None or self.cancelled_at is not None
