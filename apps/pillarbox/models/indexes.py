"""The indexes of the outbox. Each is partial: a full index would be written with every row."""

from django.db import models
from django.db.models import F, Q

from ..conditions import PENDING, UNRENDERED
from .shards import RIGHTS_SHARD

INDEXES = [
    models.Index("shard", "id", name="pillarbox_unnumbered", condition=Q(offset=None)),
    models.Index("shard", "id", name="pillarbox_unrendered", condition=UNRENDERED.q),
    models.Index(
        "shard",
        "id",
        name="pillarbox_rendered",
        condition=Q(offset=None) & ~UNRENDERED.q,
    ),
    models.Index(
        "shard",
        "stream",
        name="pillarbox_unrenderable",
        condition=UNRENDERED.q & Q(claims__gt=0),
    ),
    models.Index(
        "shard",
        "numbering",
        "offset",
        "id",
        name="pillarbox_untried",
        condition=PENDING.q & Q(offset__isnull=False, claims=0),
    ),
    models.Index(
        "shard",
        "stream",
        name="pillarbox_tried",
        condition=PENDING.q & Q(offset__isnull=False, claims__gt=0),
    ),
    models.Index(
        F("published_at"),
        name="pillarbox_published",
        condition=Q(published_at__isnull=False),
    ),
    models.Index(
        F("replayed_by"),
        name="pillarbox_replayed_by",
        condition=Q(replayed_by__isnull=False),
    ),
    models.Index(
        F("failed_at").desc(), name="pillarbox_failed", condition=Q(failed_at__isnull=False)
    ),
    # Covers the count of failures by cause, so that no traceback is read.
    models.Index(
        fields=["error_fingerprint", "failed_at"],
        include=["replayed_at", "object_type"],
        name="pillarbox_cause",
        condition=Q(failed_at__isnull=False),
    ),
    models.Index(
        "id",
        name="pillarbox_replayable",
        condition=Q(failed_at__isnull=False, replayed_at=None),
    ),
    models.Index("stream", "id", name="pillarbox_moves", condition=Q(is_move=True)),
    models.Index(
        "object_type",
        "lookup",
        "object_id",
        name="pillarbox_rights",
        condition=Q(shard=RIGHTS_SHARD),
    ),
]
