"""A test of erasures while real workers render and publish: nothing comes back, and no offset is lost."""

import asyncio

import pytest

from apps.tickets.models import Ticket
from pillarbox.live import erase
from pillarbox.models import NotificationOutbox
from pillarbox.stream.history import head
from tests.communicators import collection, in_thread
from tests.journeys.test_journeys import ask, connect, receive
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CHANGES = 150
TITLES = [f"Number {number}" for number in range(CHANGES)]


def change(erased, kept):
    """Change both tickets again and again, and then anonymise one."""
    for title in TITLES:
        erased.title, kept.title = f"secret {title}", title
        erased.save()
        kept.save()
    erased.title = "anonymous"
    erased.save()


async def erase_until_done(changing, ticket):
    """Erase a ticket again and again while it is changed, and once more; return how many rows in all."""
    erased = 0
    while not changing.done():
        erased += (await in_thread(erase, "ticket", ticket.pk)).erased
    done = await in_thread(erase, "ticket", ticket.pk)
    assert 0 == done.left
    return erased + done.erased


async def frames_between(socket, first, last):
    """Return the notifications of a stream that follow one offset, up to another one."""
    frames = [await receive(socket) for _ in range(last - first)]
    assert list(range(first + 1, last + 1)) == [frame["offset"] for frame in frames]
    return frames


async def test_erased_while_workers_publish(site, demo, project, ticket, relay):
    """
    A client that stays gets each offset, in order, and all changes of the other ticket. So does one that
    resumes, which sees nothing of the erased ticket from before it was anonymised.
    """
    kept = await in_thread(Ticket.objects.create, project=project, title="Kept")
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "beat", "daphne")
    stays = await connect(site, demo)
    since = await ask(stays, collection(project))
    changing = asyncio.create_task(in_thread(change, ticket, kept))
    assert await erase_until_done(changing, ticket) > 0
    pending = NotificationOutbox.objects.pending()
    await in_thread(wait_until, lambda: not pending.exists(), "all rows are settled")
    titles = await in_thread(
        lambda: list(pending.model.objects.values_list("payload__title", flat=True))
    )
    assert "secret" not in str(titles)
    last = (await in_thread(head, f"project.tickets:{project.pk}", using="default")).offset
    resumes = await connect(site, demo)
    position = {"epoch": since["epoch"], "offset": since["offset"]}
    assert (await ask(resumes, {**collection(project), "since": position}))["recovered"]
    for socket in (stays, resumes):
        frames = await frames_between(socket, since["offset"], last)
        titles = [frame.get("payload", {}).get("title", frame["type"]) for frame in frames]
        assert TITLES == [title for title in titles if title.startswith("Number")]
        await socket.close()
    assert set(titles).difference(TITLES) <= {"anonymous", "skipped"}
