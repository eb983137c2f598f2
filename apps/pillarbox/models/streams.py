"""The table of streams."""

import uuid

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q

from .shards import SHARDS


class Stream(models.Model):
    """A named, ordered, append-only sequence of notifications."""

    name = models.TextField(primary_key=True)
    shard = models.PositiveSmallIntegerField()
    head = models.PositiveBigIntegerField(default=0, db_default=0)
    incarnation = models.UUIDField(default=uuid.uuid4, db_default=RandomUUID())

    class Meta:
        constraints = [
            models.CheckConstraint(name="pillarbox_stream_shard", condition=Q(shard__lt=SHARDS)),
        ]

    def __str__(self) -> str:
        return self.name


STREAMS = Stream._meta.db_table
