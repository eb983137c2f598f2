"""Replays for the tests: failed rows, decisions about them, and what was announced again."""

from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import SHARDS, NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import BatchOutcome, carry_out
from pillarbox.stream.numbering import number
from tests.rows import make
from tests.waiting import wait_until

USING = DEFAULT_DB_ALIAS


def decided(by, criteria=None, **values):
    """Return a decision, by default about all failed rows."""
    found = Criteria.parse(criteria or {"state": "failed"})
    defaults = {"by": by, "reason": "fixed", "last": last_pk(using=USING), "using": USING}
    return decide(found, **{**defaults, **values})


def carried_out(replay):
    """Return a decision that has been carried out."""
    assert BatchOutcome.OVER is carry_out(replay.pk, using=USING)
    replay.refresh_from_db()
    assert replay.is_over
    assert replay.total == replay.examined
    return replay


def finish(replay):
    """Carry a decision out completely, even while other processes take turns."""
    wait_until(lambda: carry_out(replay.pk, using=USING) is BatchOutcome.OVER, "it is carried out")


def fail():
    """Make the pending rows failed."""
    for shard in range(SHARDS):
        number(shard, using=USING)
    NotificationOutbox.objects.pending().update(failed_at=Now(), error_type="E")


def failed(offset, **values):
    """Return a failed row of an unregistered type."""
    return make(offset, failed_at=Now(), error_type="E", object_type="thing", **values)


def again():
    """Return original and stream of the rows announced again, in order."""
    rows = NotificationOutbox.objects.pending().order_by("pk")
    return list(rows.values_list("repeats", flat=True))
