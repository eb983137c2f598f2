"""Tests from a save to a socket, through the real processes. Nothing is faked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
import websockets
from django.conf import settings
from django.test import Client
from rest_framework.authtoken.models import Token

from pillarbox.models import NotificationOutbox
from pillarbox.types import hashids
from tests.communicators import fail, in_thread, subject
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


async def connect(site, user):
    """Open a WebSocket to the real Daphne, and receive its hello."""
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    socket = await websockets.connect(
        f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/",
        additional_headers={"Authorization": f"Token {token.key}"},
    )
    assert "hello" == (await receive(socket))["type"]
    return socket


async def receive(socket):
    async with asyncio.timeout(PATIENCE):
        return json.loads(await socket.recv())


async def ask(socket, frame):
    await socket.send(json.dumps(frame))
    return await receive(socket)


def patch(site, token, ticket, **changes):
    """Change a ticket over REST in the real web process, and return the answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}/api/tickets/{hashids.encode('ticket', ticket.pk)}/",
        data=json.dumps(changes).encode(),
        headers={"Authorization": f"Token {token}", "Content-Type": "application/json"},
        method="PATCH",
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


async def test_a_change_reaches_the_socket_however_it_is_made(site, demo, admin, ticket, relay):
    """
    The subscriber receives changes by REST, admin and shell as REST shows them, without a sweep.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "web", "worker", "daphne")
    socket = await connect(site, demo)
    assert 1 == (await ask(socket, subject(ticket)))["offset"]

    token = await in_thread(lambda: Token.objects.get(user=demo).key)
    shown = await in_thread(patch, site, token, ticket, title="Over REST")
    frame = await receive(socket)
    assert ("UPDATE_TICKET", 2, shown) == (frame["type"], frame["offset"], frame["payload"])

    await in_thread(_save_in_the_admin, admin, ticket)
    assert "In the admin" == (await receive(socket))["payload"]["title"]

    code = f"t = Ticket.objects.get(pk={ticket.pk}); t.title = 'In a shell'; t.save()"
    shell = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    await in_thread(
        lambda: subprocess.run(shell, cwd=settings.BASE_DIR, env=site.environment, check=True)
    )
    frame = await receive(socket)
    assert ("In a shell", 4) == (frame["payload"]["title"], frame["offset"])
    await socket.close()


async def test_a_new_name_reaches_the_sockets_that_show_it(
    site, demo, other, project, ticket, relay
):
    """
    A user's new name reaches the subscribers of the project and of the tickets that show it.
    """
    await in_thread(project.members.add, other)
    ticket.assignee = other
    await in_thread(ticket.save)
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "daphne")
    socket = await connect(site, demo)
    await ask(socket, subject(ticket))
    name = {"object_type": "project", "id": hashids.encode("project", project.pk)}
    assert "subscribed" == (await ask(socket, name))["type"]
    other.username = "grace"
    await in_thread(other.save)
    frames = [await receive(socket) for _ in range(2)]
    await socket.close()
    shown = {frame["type"]: frame["payload"] for frame in frames}
    assert {"UPDATE_PROJECT", "UPDATE_TICKET"} == set(shown)
    assert {"demo", "grace"} == {*shown["UPDATE_PROJECT"]["members"]}  # in any order
    assert "grace" == shown["UPDATE_TICKET"]["assignee"]


def _save_in_the_admin(admin, ticket):
    client = Client()
    client.force_login(admin)
    url = f"/admin/tickets/ticket/{ticket.pk}/change/"
    form = client.get(url).context["adminform"].form
    values = {name: value for name, value in form.initial.items() if value is not None}
    answer = client.post(url, {**values, "title": "In the admin"})
    assert 302 == answer.status_code, answer.content.decode()


async def test_a_rolled_back_change_is_never_sent(site, demo, ticket):
    """
    A change that is rolled back sends nothing; the next committed one has the next offset.
    """
    await in_thread(site.start, "worker", "daphne")
    socket = await connect(site, demo)
    code = (
        "from django.db import transaction\n"
        f"ticket = Ticket.objects.get(pk={ticket.pk})\n"
        "with transaction.atomic():\n"
        "    ticket.title = 'Rolled back'\n"
        "    ticket.save()\n"
        "    transaction.set_rollback(True)\n"
        "ticket.title = 'Committed'\n"
        "ticket.save()\n"
    )
    answer = await ask(socket, {"object_type": "project.tickets", "id": _project_id(ticket)})
    await in_thread(
        lambda: subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", code],
            cwd=settings.BASE_DIR,
            env=site.environment,
            check=True,
        )
    )
    titles = []
    while "Committed" not in titles:
        frame = await receive(socket)
        assert answer["offset"] + len(titles) + 1 == frame["offset"]
        titles.append(frame["payload"]["title"])
    assert "Rolled back" not in titles
    await socket.close()


def _project_id(ticket):
    return hashids.encode("project", ticket.project_id)


async def test_rows_written_while_all_processes_were_down(site, demo, ticket, relay):
    """
    Rows that were committed while no process ran are published once one runs.
    """
    for number in range(20):
        ticket.title = f"Number {number}"
        await in_thread(ticket.save)
    await in_thread(site.start, "daphne")
    socket = await connect(site, demo)
    offset = (await ask(socket, subject(ticket)))["offset"]
    await in_thread(site.start, "worker", "beat")
    frames = []
    while not frames or "Number 19" != frames[-1]["payload"]["title"]:
        frames.append(await receive(socket))
    assert list(range(offset + 1, offset + 22)) == [frame["offset"] for frame in frames]
    assert "CREATE_TICKET" == frames[0]["type"]
    await socket.close()


async def test_a_killed_worker_loses_nothing(site, demo, ticket):
    """
    If the worker is killed in the middle and started again, each change arrives once, in order.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    socket = await connect(site, demo)
    offset = (await ask(socket, subject(ticket)))["offset"]
    for number in range(60):
        if number in (20, 40):
            await in_thread(site.kill, "worker")
        if number in (30, 50):
            await in_thread(site.start, "worker")
        ticket.title = f"Number {number}"
        await in_thread(ticket.save)
    frames = []
    while not frames or "Number 59" != frames[-1]["payload"]["title"]:
        frames.append(await receive(socket))
    offsets = [frame["offset"] for frame in frames]
    assert list(range(offset + 1, offset + 1 + len(offsets))) == offsets
    titles = [frame["payload"]["title"] for frame in frames if frame["type"] == "UPDATE_TICKET"]
    assert [f"Number {number}" for number in range(60)] == titles
    await socket.close()


async def test_a_failed_row_is_replayed_from_the_admin(site, settings, demo, admin, ticket, relay):
    """
    An operator replays a failed row, and the subscriber receives it with a new offset.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
    await in_thread(fail, ticket, "Changed")
    await in_thread(site.start, "worker", "daphne")
    socket = await connect(site, demo)
    position = await ask(socket, subject(ticket))
    failed = await in_thread(
        lambda: NotificationOutbox.objects.failed().get(
            stream=f"ticket:{ticket.pk}", event="UPDATE_TICKET"
        )
    )

    def replay():
        client = Client()
        client.force_login(admin)
        page = client.post(
            "/admin/pillarbox/notificationoutbox/",
            {"action": "replay_failed", "_selected_action": [failed.pk]},
            follow=True,
        )
        hidden = page.context["form"].initial
        decision = {**hidden, "payload": "recorded", "reason": "it is registered again"}
        return client.post(f"/admin/pillarbox/replay/confirm/?pks={failed.pk}", decision)

    assert 302 == (await in_thread(replay)).status_code
    frame = await receive(socket)
    assert (position["offset"] + 1, str(failed.event_id), "Changed") == (
        frame["offset"],
        frame["event_id"],
        frame["payload"]["title"],
    )
    await socket.close()


class TestDaphne:
    async def test_refusals_have_codes(self, site, demo, ticket):
        """
        A client without a user, from a foreign origin, or with too large a frame receives a close code.
        """
        await in_thread(site.start, "daphne")
        url = f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/"
        for code, options in ((4401, {}), (4403, {"origin": "http://evil.example"})):
            async with websockets.connect(url, **options) as socket:
                with pytest.raises(websockets.ConnectionClosed):
                    await receive(socket)
                assert code == socket.close_code
        socket = await connect(site, demo)
        await socket.send(json.dumps({"action": "ping", "ref": "x" * 20_000}))
        with pytest.raises(websockets.ConnectionClosed):
            await receive(socket)
        assert 1009 == socket.close_code

    async def test_a_wrong_address_is_refused(self, site):
        """
        A wrong address is refused in the handshake, without an exception in the log.
        """
        await in_thread(site.start, "daphne")
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://127.0.0.1:{site.daphne_port}/ws/elsewhere/")
        assert "Traceback" not in site.log("daphne")

    async def test_a_restart_is_announced(self, site, demo):
        """
        On SIGTERM each client receives the close code for reconnecting, and the process ends.
        """
        await in_thread(site.start, "daphne")
        socket = await connect(site, demo)
        process = site.running["daphne"]
        os.kill(process.pid, signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed):
            await receive(socket)
        assert 1012 == socket.close_code
        assert 0 == await in_thread(process.wait, PATIENCE)
        assert "Traceback" not in site.log("daphne")
