"""Previews of replays and resends: the rows that match, and what would become of the oldest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, Max, Min, Q

from ..database import CONNECTION_ERRORS, is_statement_cancelled, limit_statements
from ..exceptions import CriteriaError
from ..models import NotificationOutbox
from .candidates import candidates
from .criteria import Criteria
from .decisions import announceable, last_pk
from .eligibility import Eligibility, assess

#: The oldest rows whose eligibility is assessed, the rows shown, and the groups shown.
TRIED, SHOWN, GROUPS = 500, 10, 12
ANNOUNCED = "Announced"
#: The longest time for counting.
COUNTING_SECONDS = 10.0


class CauseCount(NamedTuple):
    """The number of matching rows with one cause, and an error of it."""

    fingerprint: str
    error_type: str
    error_message: str
    rows: int


class EventCount(NamedTuple):
    """The number of matching rows with one event."""

    event: str
    object_type: str
    rows: int


class Outcome(NamedTuple):
    """One possible outcome, with the number of rows that would have it, as recorded and current."""

    words: str
    recorded: int
    current: int


class Shown(NamedTuple):
    """A row, and why it would not be announced as recorded or current; empty if it would."""

    row: NotificationOutbox
    recorded: str
    current: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """The matching rows, and what would become of the oldest of them."""

    #: Matching failed rows, or published ones for a resend.
    total: int
    #: How many of them were replayed before.
    replayed: int
    #: Rows selected by primary key that are gone, not failed, or, for a resend, not published.
    others: int
    #: The primary key of the last row in the outbox.
    last: int
    causes: Sequence[CauseCount]
    events: Sequence[EventCount]
    #: How many of the oldest rows were assessed; then rows by reason, the empty reason for announced.
    tried: int
    recorded: Mapping[str, int]
    current: Mapping[str, int]
    shown: Sequence[Shown]

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes of the assessed rows, with those that would be announced first."""
        reasons = [reason for reason in {**self.recorded, **self.current} if reason]
        return [
            Outcome(reason or ANNOUNCED, self.recorded.get(reason, 0), self.current.get(reason, 0))
            for reason in ["", *reasons]
        ]


def preview(criteria: Criteria, *, is_resend: bool, using: str) -> Preview:
    """Return the preview of a replay or resend. Raises CriteriaError if there are too many rows to count."""
    try:
        with transaction.atomic(using=using):
            limit_statements(COUNTING_SECONDS, using=using)
            return _preview(criteria, is_resend, using)
    except CONNECTION_ERRORS as error:
        if is_statement_cancelled(error):
            raise CriteriaError("rows", "too many to count. Add filters.") from None
        raise


def _preview(criteria: Criteria, is_resend: bool, using: str) -> Preview:
    last = last_pk(using=using)
    rows = announceable(criteria, is_resend=is_resend, using=using).filter(pk__lte=last)
    counted = rows.aggregate(total=Count("pk"), replayed=Count("pk", filter=~Q(replayed_at=None)))
    oldest = rows.filter(replayed_at=None).order_by("pk").values_list("pk", flat=True)[:TRIED]
    batch = candidates(list(oldest), using=using)
    recorded, current = (
        assess(batch, is_current=is_current, with_superseded=False, using=using, is_trial=True)
        for is_current in (False, True)
    )
    causes = rows.exclude(error_fingerprint="").values_list("error_fingerprint")
    events = rows.values_list("event", "object_type").annotate(rows=Count("pk"))
    return Preview(
        **counted,
        others=max(0, len(criteria.pks) - counted["total"]),
        last=last,
        causes=[
            CauseCount._make(found)
            for found in causes.annotate(
                Max("error_type"), Min("error_message"), rows=Count("pk")
            ).order_by("-rows")[:GROUPS]
        ],
        events=[EventCount._make(found) for found in events.order_by("-rows", "event")[:GROUPS]],
        tried=len(batch),
        recorded=_counted(recorded),
        current=_counted(current),
        shown=_shown(recorded, current, using),
    )


def _counted(found: Sequence[Eligibility]) -> dict[str, int]:
    return dict(Counter(each.reason for each in found).most_common())


def _shown(
    recorded: Sequence[Eligibility], current: Sequence[Eligibility], using: str
) -> list[Shown]:
    pairs = list(zip(recorded, current, strict=True))[:SHOWN]
    rows = NotificationOutbox.objects.using(using).defer("payload")
    found = rows.in_bulk([each.pk for each, _ in pairs])
    return [
        Shown(row=found[one.pk], recorded=one.reason, current=other.reason)
        for one, other in pairs
        if one.pk in found
    ]
