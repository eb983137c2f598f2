"""What a decision to announce rows again would be about, before it is made."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import OperationalError, connections, transaction
from django.db.models import Count, Max, Min, Q
from psycopg.errors import QueryCanceled

from .criteria import Criteria
from .exceptions import CriteriaError
from .models import NotificationOutbox
from .replay import announceable, last_pk
from .verdicts import Verdict, candidates, verdicts

#: So many rows, the oldest, are looked at closely, and so many of them are shown; so many groups are.
TRIED, SHOWN, GROUPS = 500, 10, 12
ANNOUNCED = "Announced"
#: Counting may take so long.
PATIENCE_MS = 10_000


class Cause(NamedTuple):
    """Rows that failed of the same cause, and the error of the last one."""

    fingerprint: str
    error_type: str
    error_message: str
    rows: int


class Kind(NamedTuple):
    """Rows of one event."""

    event: str
    object_type: str
    rows: int


class Outcome(NamedTuple):
    """What would become of rows, and of how many: as recorded, and as they are now."""

    words: str
    recorded: int
    current: int


class Shown(NamedTuple):
    """A row, and why it would not be announced as recorded, and as it is now; empty if it would."""

    row: NotificationOutbox
    recorded: str
    current: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """Rows that match, and what would become of the oldest of them."""

    #: Failed rows, or published ones for a resend.
    total: int
    #: How many of them were replayed before.
    replayed: int
    #: Rows that were named and are not failed, or not published.
    others: int
    #: The last row there is.
    last: int
    causes: Sequence[Cause]
    kinds: Sequence[Kind]
    #: How many of the oldest were looked at; and how many of these would be announced, or not, and why.
    tried: int
    recorded: Mapping[str, int]
    current: Mapping[str, int]
    shown: Sequence[Shown]

    @property
    def outcomes(self) -> list[Outcome]:
        """What would become of the rows that were looked at; first of all, how many would be announced."""
        reasons = [reason for reason in {**self.recorded, **self.current} if reason]
        return [
            Outcome(reason or ANNOUNCED, self.recorded.get(reason, 0), self.current.get(reason, 0))
            for reason in ["", *reasons]
        ]


def preview(criteria: Criteria, *, is_resend: bool, using: str) -> Preview:
    """Return what a decision would be about. Raises CriteriaError if there are too many rows to count."""
    try:
        with transaction.atomic(using=using):
            with connections[using].cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)]
                )
            return _preview(criteria, is_resend, using)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise CriteriaError("rows", "there are too many to count. Narrow it down.") from None
        raise


def _preview(criteria: Criteria, is_resend: bool, using: str) -> Preview:
    last = last_pk(using=using)
    rows = announceable(criteria, is_resend=is_resend, using=using).filter(pk__lte=last)
    counted = rows.aggregate(total=Count("pk"), replayed=Count("pk", filter=~Q(replayed_at=None)))
    oldest = rows.filter(replayed_at=None).order_by("pk").values_list("pk", flat=True)[:TRIED]
    batch = candidates(list(oldest), using=using)
    recorded, current = (
        verdicts(batch, is_current=is_current, with_superseded=False, using=using, is_trial=True)
        for is_current in (False, True)
    )
    causes = rows.exclude(error_fingerprint="").values_list("error_fingerprint")
    kinds = rows.values_list("event", "object_type").annotate(rows=Count("pk"))
    return Preview(
        **counted,
        others=max(0, len(criteria.pks) - counted["total"]),
        last=last,
        causes=[
            Cause._make(found)
            for found in causes.annotate(
                Max("error_type"), Min("error_message"), rows=Count("pk")
            ).order_by("-rows")[:GROUPS]
        ],
        kinds=[Kind._make(found) for found in kinds.order_by("-rows", "event")[:GROUPS]],
        tried=len(batch),
        recorded=_counted(recorded),
        current=_counted(current),
        shown=_shown(recorded, current, using),
    )


def _counted(found: Sequence[Verdict]) -> dict[str, int]:
    return dict(Counter(verdict.reason for verdict in found).most_common())


def _shown(recorded: Sequence[Verdict], current: Sequence[Verdict], using: str) -> list[Shown]:
    pairs = list(zip(recorded, current, strict=True))[:SHOWN]
    rows = NotificationOutbox.objects.using(using).defer("payload")
    found = rows.in_bulk([verdict.pk for verdict, _ in pairs])
    return [
        Shown(row=found[one.pk], recorded=one.reason, current=other.reason)
        for one, other in pairs
        if one.pk in found
    ]
