"""Clients that lose their sockets, their servers or their patience: whoever resumes has everything."""

import asyncio
import json
import os
import random

import pytest
from django.contrib.auth import get_user_model

from apps.outbox.models import NotificationOutbox
from tests.followers import name_of
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import heard
from tests.rig.proxy import Proxy
from tests.sockets import in_thread
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


#: Another seed, other faults: `FAULTS_SEED=7 python -m pytest tests/journeys`.
SEED = int(os.environ.get("FAULTS_SEED", "1"))


async def test_through_a_bad_line(site, project, streams, client):
    """
    Who is cut off, reset, stalled and refused again and again has what who stayed has.
    """
    chance = random.Random(SEED)
    await in_thread(site.start, "worker", "beat", "daphne")
    async with Proxy(f"ws://127.0.0.1:{site.daphne_port}") as line:
        stayer, resumers = client(), [client(line.port) for _ in range(3)]
        async with following(stayer, *resumers):
            async with writing(site, project, rate=80, longest=20_000):
                for _ in range(30):
                    await harm(line, chance)
                while (
                    cut := min(one.sockets for one in resumers)
                ) <= 5:  # pragma: no cover  # if slow
                    await harm(line, chance)
                    await until(lambda cut=cut: all(one.sockets > cut for one in resumers))
            rows = await all_is_there(streams, stayer, *resumers)
    sockets = [resumer.sockets for resumer in resumers]
    print(f"{rows} notifications, over {sockets} sockets")
    assert 1 == stayer.sockets


async def harm(line, chance):
    """Do something to a line, and make it good after a while."""
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
    With worker and beat stopped the position check numbers what is committed, and sends it.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=20):
            await heard(one, 20)
            for name in ("beat", "worker"):
                await in_thread(site.stop, name)
            await heard(one, 40)
        rows = await all_is_there(streams, one)
    unpublished = NotificationOutbox.objects.filter(published_at=None, stream__in=streams)
    without = await in_thread(unpublished.count)
    print(f"{rows} notifications, {without} of them without workers")
    assert without > 0


async def test_daphne_killed(site, project, streams, client):
    """
    Twice, under load: each of twenty clients comes back, and has everything.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    clients = [client() for _ in range(20)]
    async with following(*clients):
        async with writing(site, project, rate=40):
            for turn in (1, 2):
                await heard(clients[0], 20)
                await in_thread(site.kill, "daphne")
                await in_thread(site.start, "daphne")
                await until(lambda turn=turn: all(one.sockets > turn for one in clients))
                for one in clients:
                    await heard(one, 1)
        rows = await all_is_there(streams, *clients)
    print(f"{rows} notifications for each of {len(clients)}")


async def test_a_member_is_removed(site, demo, project, streams, client):
    """
    Under load, by the ORM: soon nothing comes any more but the word that it is so, and others go on.
    """
    colleague = await in_thread(get_user_model().objects.create_user, "colleague")
    await in_thread(project.members.add, colleague)
    # Nobody asks again in time: what says it is the push.
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
        "DAPHNE_REALTIME": json.dumps({"REAUTHORISE_SECONDS": 3600}),
    }
    await in_thread(site.start, "worker", "beat", "daphne")
    removed, stays = client(), client(user=colleague)
    async with following(removed, stays):
        async with writing(site, project, rate=40):
            await heard(removed, 40)
            await in_thread(project.members.remove, demo)
            await until(lambda: len(removed.follower.words) == len(streams))
            await heard(stays, 80)
        await all_is_there(streams, stays)
    # What comes after the word would have failed in the follower: it stands nowhere any more.
    assert {name_of(subject) for subject in streams.values()} == {
        name_of(word) for word in removed.follower.words
    }
    assert {("unsubscribed", "revoked", False)} == {
        (word["type"], word["reason"], word["resubscribe"]) for word in removed.follower.words
    }
    assert 1 == removed.sockets
