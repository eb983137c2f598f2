"""The tables of an operator: what runs, what each minute brought, what was decided."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Instance(models.Model):
    """A running instance of a process type, as it last reported itself."""

    #: Unique while it runs: the kind, the host and the process id.
    name = models.TextField(primary_key=True)
    #: The Procfile's word: ``worker``, ``beat``, ``daphne``.
    kind = models.TextField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    #: What it says of itself, JSON: a worker its breaker and last drain, Daphne its sockets.
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class Minute(models.Model):
    """What a minute brought, counted when it was over; derived from the rows, and kept a little longer."""

    starts_at = models.DateTimeField(primary_key=True)
    captured = models.PositiveIntegerField()
    published = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    #: The longest time from capture to publishing among the rows published in it, in seconds.
    lag = models.FloatField()

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M}"


class Replay(models.Model):
    """
    An operator's decision to announce rows again, and how far it has been carried out.

    Rows are taken by ascending primary key; each batch is inserted together with where it ended, so that
    a killed worker's replay goes on, and no row is announced twice for it.
    """

    #: Given to the confirmation page: a form sent twice decides once.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    #: Of failed rows it is a replay; a resend is of published ones, each as a new notification.
    is_resend = models.BooleanField(default=False)
    #: Whether the payload is the object's present state, not what was recorded.
    is_current = models.BooleanField(default=False)
    #: Whether rows followed by newer ones of the same object are announced, too.
    with_superseded = models.BooleanField(default=False)
    #: Which rows, JSON: the filters' names and values, or primary keys.
    criteria = models.JSONField()
    #: No row that came later than the confirmation page.
    last_pk = models.BigIntegerField()
    reason = models.TextField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    #: Who it was, should the account be gone.
    by_name = models.TextField()

    created_at = models.DateTimeField(db_default=Now())
    total = models.PositiveIntegerField()
    #: The primary key of the last row that was looked at.
    position = models.BigIntegerField(default=0)
    announced = models.PositiveIntegerField(default=0)
    #: Rows left out because newer ones of their object exist.
    superseded = models.PositiveIntegerField(default=0)
    #: Rows that could not be announced: replayed meanwhile, pruned, their object gone.
    refused = models.PositiveIntegerField(default=0)
    #: Why, JSON: a sentence, and how many rows it is about.
    refusals = models.JSONField(default=dict, db_default={})
    #: What keeps it from going on at the moment, in a sentence; empty while nothing does.
    hindrance = models.TextField(default="", db_default="")
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="replay_one_end", condition=Q(finished_at=None) | Q(cancelled_at=None)
            ),
        ]
        indexes = [
            models.Index(
                F("created_at"),
                name="replay_unfinished",
                condition=Q(finished_at=None, cancelled_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} of {self.total} rows by {self.by_name}"

    @property
    def verb(self) -> str:
        """What it is called: a replay, or a resend."""
        return "Resend" if self.is_resend else "Replay"

    @property
    def looked_at(self) -> int:
        """How many of its rows have been dealt with, one way or the other."""
        return self.announced + self.superseded + self.refused

    @property
    def is_over(self) -> bool:
        """Whether it is finished or cancelled."""
        return self.finished_at is not None or self.cancelled_at is not None
