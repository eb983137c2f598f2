"""Tests of clients that lose sockets, servers or rights: a client that resumes misses nothing."""

import asyncio
import json
import os
import random

import pytest
from django.contrib.auth import get_user_model

from pillarbox.models import RIGHTS, NotificationOutbox
from tests.communicators import in_thread
from tests.followers import name_of
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import receives
from tests.rig.proxy import Proxy
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


#: Each seed causes other faults: `FAULTS_SEED=7 python -m pytest tests/journeys`.
SEED = int(os.environ.get("FAULTS_SEED", "1"))


async def test_through_a_bad_line(site, project, streams, client):
    """
    Clients that are cut off, reset, stalled and refused again and again receive the same as one that stays.
    """
    chance = random.Random(SEED)
    await in_thread(site.start, "worker", "beat", "daphne")
    async with Proxy(f"ws://127.0.0.1:{site.daphne_port}") as line:
        stayer, resumers = client(), [client(line.port) for _ in range(3)]
        async with following(stayer, *resumers):
            async with writing(site, project, rate=80, longest=20_000):
                for _ in range(30):
                    await cause_fault(line, chance)
                while (
                    cut := min(one.sockets for one in resumers)
                ) <= 5:  # pragma: no cover  # if slow
                    line.cut()
                    await until(lambda cut=cut: all(one.sockets > cut for one in resumers))
            rows = await all_is_there(streams, stayer, *resumers)
    sockets = [resumer.sockets for resumer in resumers]
    print(f"{rows} notifications, over {sockets} sockets")
    assert 1 == stayer.sockets


async def cause_fault(line, chance):
    """Cause a fault of a line, and undo it after a while."""
    match chance.choice(("stall", "refuse", "end")):
        case "stall":
            line.stall()
        case "refuse":
            await line.refuse()
    await asyncio.sleep(chance.uniform(0, 0.4))
    chance.choice((line.cut, line.reset, line.resume))()
    line.resume()
    await line.accept()


async def test_without_workers(site, project, streams, client):
    """
    With worker and beat stopped, the position check numbers committed rows and sends them.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=20):
            await receives(one, 20)
            for name in ("beat", "worker"):
                await in_thread(site.stop, name)
            await receives(one, 40)
        rows = await all_is_there(streams, one)
    unpublished = NotificationOutbox.objects.filter(published_at=None, stream__in=streams)
    without = await in_thread(unpublished.count)
    print(f"{rows} notifications, {without} of them without workers")
    assert without > 0


async def test_daphne_killed(site, project, streams, client):
    """
    Daphne is killed twice under load. Each of twenty clients reconnects and misses nothing.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    clients = [client() for _ in range(20)]
    async with following(*clients):
        async with writing(site, project, rate=40):
            for turn in (1, 2):
                await receives(clients[0], 20)
                await in_thread(site.kill, "daphne")
                await in_thread(site.start, "daphne")
                await until(lambda turn=turn: all(one.sockets > turn for one in clients))
                for one in clients:
                    await receives(one, 1)
        rows = await all_is_there(streams, *clients)
    print(f"{rows} notifications for each of {len(clients)}")


async def test_a_member_is_removed(site, demo, project, streams, client):
    """
    A member is removed under load. Its client receives `unsubscribed` and nothing more; others continue.
    """
    colleague = await in_thread(get_user_model().objects.create_user, "colleague")
    await in_thread(project.members.add, colleague)
    # As if the right had begun long ago: a recent start of a right hides earlier rows.
    await in_thread(NotificationOutbox.objects.filter(stream=RIGHTS).delete)
    # No re-authorisation in time: only the row with the end of the right can end the subscription.
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
        "DAPHNE_PILLARBOX": json.dumps({"REAUTHORISE_SECONDS": 3600}),
    }
    await in_thread(site.start, "worker", "beat", "daphne")
    removed, stays = client(), client(user=colleague)
    async with following(removed, stays):
        async with writing(site, project, rate=40):
            await receives(removed, 40)
            await in_thread(project.members.remove, demo)
            await until(lambda: len(removed.follower.ended) == len(streams))
            await receives(stays, 80)
        await all_is_there(streams, stays)
    # The follower would have failed on any frame after `unsubscribed`.
    assert {name_of(subject) for subject in streams.values()} == {
        name_of(frame) for frame in removed.follower.ended
    }
    assert {("unsubscribed", "revoked", False)} == {
        (frame["type"], frame["reason"], frame["resubscribe"]) for frame in removed.follower.ended
    }
    assert 1 == removed.sockets
