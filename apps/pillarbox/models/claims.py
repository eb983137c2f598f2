"""The rows that processes work on, by shard: claims of publishers, and records of renderers."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .shards import SHARDS


class Claim(models.Model):
    """
    The rows of a shard that a worker has claimed.

    The claim is committed before the rows are published, and cleared when their outcome is recorded. If a
    claim has rows while nobody holds the shard's publishing lock, a worker died with them.
    """

    shard = models.PositiveSmallIntegerField(primary_key=True)
    rows = ArrayField(models.BigIntegerField(), default=list)
    claimed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="pillarbox_claim_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of shard {self.shard}"


class Rendering(models.Model):
    """
    The rows of a shard that a process is rendering.

    The record is committed before the project's code runs. If it isn't renewed, the process has died.
    """

    shard = models.PositiveSmallIntegerField(primary_key=True)
    rows = ArrayField(models.BigIntegerField(), default=list)
    #: The number of the batch, which distinguishes it from all others of the shard.
    turn = models.BigIntegerField(default=0, db_default=0)
    #: When the process last renewed the record.
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="pillarbox_rendering_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of shard {self.shard}"


CLAIMS, RENDERINGS = Claim._meta.db_table, Rendering._meta.db_table
