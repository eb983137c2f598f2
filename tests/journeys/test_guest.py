"""A journey through the Celery of a project with a configuration of its own, for tasks of its own."""

import pytest

from pillarbox.models import NotificationOutbox, Process
from pillarbox.relay import celery_wake_ups
from tests.communicators import in_thread
from tests.journeys.clients import following
from tests.waiting import until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CELERY = "exec celery --quiet -A tests.journeys.guest.app"
SAVE = "t = Ticket.objects.get(pk={}); t.title = '{}'; t.save()"


@pytest.fixture
def guest(site):
    """Return the site, with the project's Celery."""
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.journeys.guest.settings",
        "C_FORCE_ROOT": "1",  # else root's worker would refuse pickle
    }
    site.commands |= {
        "worker": f"{CELERY} worker -Q pillarbox --concurrency 1 --loglevel INFO",
        "beat": f"{CELERY} beat --schedule {site.log_folder}/schedule --loglevel WARNING",
    }
    return site


async def test_saves_and_sweeps_are_published(guest, client, ticket):
    """
    Saves wake a worker, and beat's sweeps find rows without a wake-up. Worker and beat are reported.
    """
    await in_thread(guest.start, "worker", "daphne")
    one = client()
    async with following(one):
        # This process has requested one, by a queue without the prefix of the project's transport options.
        celery_wake_ups.clear_request()
        for title in ("Once", "Again"):
            await in_thread(guest.manage, "shell", "-v0", "-c", SAVE.format(ticket.pk, title))
            await shows(one, title)
        await in_thread(guest.start, "beat")
        for title in ("Swept", "Swept again"):
            ticket.title = title
            await in_thread(ticket.save)
            await shows(one, title)
    await in_thread(wait_until, reports, "the worker's child and beat report")


async def shows(client, title):
    """Wait until a worker has published a title, and a client has it. (Daphne sends overdue rows itself.)"""
    published = NotificationOutbox.objects.filter(payload__title=title, published_at__isnull=False)
    await in_thread(wait_until, published.all().exists, f"{title} is published")
    await until(lambda: title in [frame["payload"]["title"] for frame in client.received_frames])


def reports():
    kinds = Process.objects.exclude(kind="daphne").values_list("kind", flat=True)
    return ["beat", "worker"] == sorted(kinds)
