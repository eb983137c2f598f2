"""The contents of the dashboard: overall status, figures, causes of failures, charts."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import transaction
from django.urls import reverse

from ..database import CONNECTION_ERRORS, limit_statements
from ..formats import one_line
from ..replay.permissions import may_replay
from .causes import causes
from .charts import chart
from .diagnosis import diagnose
from .facts import facts
from .figures import figures, process_lines
from .minute_counts import counts

#: Intervals at which the page reads the panel, and the charts, which change once a minute.
PANEL_SECONDS, CHARTS_SECONDS = 3, 20
#: The most causes shown in the panel, and on the page of all causes.
FIRST_CAUSES, MOST_CAUSES = 5, 500
#: Slower reads are cancelled, so that the list below still appears and the database isn't kept busy.
READ_SECONDS = 3.0

REPLAY = "admin:pillarbox_replay_confirm"
Context = dict[str, Any]


def panel(user: AbstractUser | AnonymousUser, *, using: str) -> Context:
    """Return the panel's context. ``user`` decides whether it links to replays."""
    return _within_time(lambda: _panel(user, using), using)


def charts(*, using: str) -> Context:
    """Return the charts of the last hour and day."""
    return _within_time(lambda: _charts(using), using)


def all_causes(user: AbstractUser | AnonymousUser, *, using: str) -> Context:
    """Return the causes of all failed rows."""
    return _within_time(lambda: _causes(user, MOST_CAUSES, using), using)


def _panel(user: AbstractUser | AnonymousUser, using: str) -> Context:
    found = facts(using=using)
    return {
        "diagnosis": diagnose(found),
        "figures": figures(found),
        "processes": process_lines(found.reports),
        **_causes(user, FIRST_CAUSES, using),
    }


def _charts(using: str) -> Context:
    hour, day = (counts(buckets=n, minutes=m, using=using) for n, m in ((60, 1), (96, 15)))
    return {"charts": [chart("hour", "Last hour", 1, hour), chart("day", "Last day", 15, day)]}


def _causes(user: AbstractUser | AnonymousUser, most: int, using: str) -> Context:
    """Return causes, whether there are more, and the URL for replays if the user may replay."""
    found = causes(using=using, most=most + 1)
    return {
        "causes": found[:most],
        "has_more": len(found) > most,
        "replay_url": reverse(REPLAY) if may_replay(user) else None,
    }


def _within_time(read: Callable[[], Context], using: str) -> Context:
    """Return what ``read`` returns; or, if the database fails or is too slow, one line that says why."""
    try:
        with transaction.atomic(using=using):
            limit_statements(READ_SECONDS, using=using)
            return read()
    except CONNECTION_ERRORS as error:
        return {"unreadable": one_line(error)}
