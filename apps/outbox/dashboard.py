"""What an operator sees above the outbox: the verdict, the numbers behind it, the causes, the charts."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import OperationalError, connections, transaction
from django.urls import reverse

from .backlog import backlog
from .causes import causes
from .charts import chart
from .health import judge
from .instances import known
from .minutes import brought, rates
from .running import running
from .tiles import lines, tiles

#: The panel asks for itself so often; the charts, which change once a minute.
PANEL_SECONDS, CHARTS_SECONDS = 3, 20
#: Causes shown in the panel, and on the page of their own.
FIRST_CAUSES, MOST_CAUSES = 5, 500
#: What takes longer than this must not keep anybody from the list below, or the database busy.
READ_MS = 3000

REPLAY = "admin:outbox_replay_confirm"
Context = dict[str, Any]


def panel(user: AbstractUser | AnonymousUser, *, using: str) -> Context:
    """Return what the panel shows to somebody who may see it."""
    return _within_time(lambda: _panel(user, using), using)


def charts(*, using: str) -> Context:
    """Return the charts of the last hour and day."""
    return _within_time(lambda: _charts(using), using)


def all_causes(user: AbstractUser | AnonymousUser, *, using: str) -> Context:
    """Return the causes of all failed rows."""
    return _within_time(lambda: _causes(user, MOST_CAUSES, using), using)


def _panel(user: AbstractUser | AnonymousUser, using: str) -> Context:
    waiting, flow, instances = backlog(using=using), rates(using=using), known(using=using)
    runs = running(instances)
    return {
        "verdict": judge(waiting, flow, runs),
        "tiles": tiles(waiting, flow, runs),
        "lines": lines(instances),
        **_causes(user, FIRST_CAUSES, using),
    }


def _charts(using: str) -> Context:
    hour, day = (brought(buckets=n, minutes=m, using=using) for n, m in ((60, 1), (96, 15)))
    return {"charts": [chart("hour", "Last hour", 1, hour), chart("day", "Last day", 15, day)]}


def _causes(user: AbstractUser | AnonymousUser, most: int, using: str) -> Context:
    """Return causes, with whether there are more, and where they are replayed by who may."""
    found = causes(using=using, most=most + 1)
    return {
        "causes": found[:most],
        "has_more": len(found) > most,
        "replay_url": reverse(REPLAY)
        if user.has_perm("outbox.replay_notificationoutbox")
        else None,
    }


def _within_time(read: Callable[[], Context], using: str) -> Context:
    """Return what is read; or why it could not be, in a line."""
    try:
        with transaction.atomic(using=using):
            with connections[using].cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(READ_MS)])
            return read()
    except OperationalError as error:
        return {"unreadable": " ".join(str(error).split())}
