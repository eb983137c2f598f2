"""Claims for the tests, as if each but the last were of workers that died."""

from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import Claim
from pillarbox.relay import claim, claimed_rows
from pillarbox.stream.locks import publishing_lock

USING = DEFAULT_DB_ALIAS


def later(seconds=60):
    return Now() + timedelta(seconds=seconds)


def claimed(shard=3, *, tried=False, limit=None):
    """Claim rows after making the last claim old; return their primary keys."""
    Claim.objects.update(claimed_at=later(-60))
    claim.claim(shard, using=USING, tried=tried, limit=limit)
    return [row.pk for row in loaded(shard)]


def loaded(shard=3, longest=10**9):
    """Return the rows of the current claim as they would be published."""
    pks = Claim.objects.filter(shard=shard).values_list("rows", flat=True).first() or []
    return claimed_rows.load(pks, using=USING, longest=longest)


def settled(shard=3, *, tried=False):
    """Claim rows and settle them; return their primary keys."""
    claimed(shard, tried=tried)
    with publishing_lock(shard, using=USING):
        rows = loaded(shard)
        claimed_rows.settle(rows, using=USING)
        claimed_rows.release(shard, using=USING)
    return [row.pk for row in rows]
