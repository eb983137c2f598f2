"""All that the README says of the protocol, said by a real Daphne to a client that knows nothing else."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import termios
from contextlib import asynccontextmanager

import psutil
import pytest
import websockets
from django.db import connection, transaction
from django.db.models import F
from django.test import Client as Browser
from rest_framework.authtoken.models import Token

from apps.outbox.conf import outbox_settings
from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime.announce import announce
from apps.tickets.models import Project, Ticket
from tests.processes import PATIENCE, Site, wait_until
from tests.protocol import Protocol
from tests.sockets import (
    collection,
    database_away,
    drain,
    fail,
    in_thread,
    rename,
    rename_table,
    subject,
)
from tests.workers.clients import BareSocket
from workers.relay import Relay

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

PATH = "/ws/notifications/"
OWN = {"object_type": "me", "id": "me"}
#: Small enough to be reached.
LIMITS = {
    "COMMAND_BYTES": 2000,
    "COMMANDS_PER_SECOND": 20,
    "MALFORMED_FRAMES": 3,
    "SUBSCRIPTIONS": 5,
    "SOCKETS_PER_USER": 3,
    "SNAPSHOT_ROWS": 2,
    "HEARTBEAT_SECONDS": 2,
    "POSITION_CHECK_SECONDS": 0.5,
    "SLOW_SECONDS": 1,
    "RECONNECT_MIN_MS": 700,
    "RECONNECT_MAX_MS": 9000,
}


def serve(site):
    """Start Daphne with these limits."""
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
        "DAPHNE_REALTIME": json.dumps(LIMITS),
    }
    site.start("daphne")


@pytest.fixture(scope="module")
def server(tmp_path_factory, django_db_setup):
    with Site(tmp_path_factory.mktemp("server")) as site:
        serve(site)
        yield site


@pytest.fixture
def site(server):
    """One Daphne for all; nothing goes wrong in it that it would have to log, and it is left at rest."""
    said = len(server.log("daphne"))
    yield server
    said = server.log("daphne")[said:]
    assert "Traceback" not in said or "A subscription failed" in said  # which somebody wanted
    process = psutil.Process(server.running["daphne"].pid)
    wait_until(lambda: not _has_clients(process), "all clients are gone")
    # Or it might stand in the way of emptying the tables.
    wait_until(lambda: not _is_reading(), "Daphne reads nothing")


def _has_clients(process):
    states = {it.status for it in process.net_connections("tcp4") if it.laddr.port != 0}
    return psutil.CONN_ESTABLISHED in states


def _is_reading():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'daphne' AND state <> 'idle'"
            " AND datname = current_database()"
        )
        return cursor.rowcount


@pytest.fixture(scope="module")
def protocol():
    return Protocol()


class Client:
    """A socket of the library, whose every frame is looked at."""

    def __init__(self, connection, protocol):
        self.socket, self.protocol = connection, protocol

    async def send(self, frame):
        await self.socket.send(json.dumps(frame))

    async def hear(self):
        """Return the next frame, whatever it is."""
        async with asyncio.timeout(PATIENCE):
            return self.protocol.look_at(await self.socket.recv())

    async def receive(self):
        """Return the next frame that is no heartbeat."""
        while (frame := await self.hear())["type"] == "ping":
            pass
        return frame

    async def ask(self, frame):
        await self.send(frame)
        return await self.receive()

    async def closed(self):
        """Return the code with which the server ends the socket, whatever it says before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.hear()
        except websockets.ConnectionClosed:
            code = self.socket.close_code
        self.protocol.look_at_close(code)
        return code


@pytest.fixture
def connect(site, protocol):
    """Open a socket with any headers."""

    @asynccontextmanager
    async def connect(**options):
        url = f"ws://127.0.0.1:{site.daphne_port}{PATH}"
        async with websockets.connect(url, **options) as opened:
            yield Client(opened, protocol)

    return connect


@pytest.fixture
def enter(connect):
    """Open a socket with a user's token, past its hello."""

    @asynccontextmanager
    async def enter(user, **options):
        async with connect(additional_headers=await headers_of(user), **options) as client:
            assert "hello" == (await client.hear())["type"]
            yield client

    return enter


async def headers_of(user):
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    return {"Authorization": f"Token {token.key}"}


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


class TestConnect:
    async def test_hello_has_the_limits_in_force(self, connect, demo):
        """
        Who one is, and what may be done, as the settings of the process have it.
        """
        async with connect(additional_headers=await headers_of(demo)) as client:
            hello = await client.hear()
        assert hello.pop("server_time").endswith("Z")
        assert {
            "type": "hello",
            "protocol": 1,
            "user": "demo",
            "limits": {
                "subscriptions": 5,
                "command_bytes": 2000,
                "commands_per_second": 20,
                "retention_seconds": outbox_settings().RETENTION_SECONDS,
            },
            "heartbeat_seconds": 2,
            "reconnect": {"min_ms": 700, "max_ms": 9000},
        } == hello

    @pytest.mark.parametrize(
        ("code", "options"),
        [
            (4401, {}),
            (4401, {"additional_headers": {"Authorization": "Token none"}}),
            (4403, {"origin": "http://evil.example"}),
            (4403, {"additional_headers": {"Cookie": "sessionid=any"}}),
        ],
    )
    async def test_a_refusal_is_a_code_without_hello(self, connect, code, options):
        """
        Without a user, or from elsewhere, the socket is accepted and closed.
        """
        async with connect(**options) as client:
            with pytest.raises(websockets.ConnectionClosed):
                await client.hear()
            assert code == await client.closed()

    async def test_with_the_database_away(self, connect, demo):
        """
        Who can't be told from anybody else is told to come back.
        """
        headers = await headers_of(demo)
        async with database_away("daphne"), connect(additional_headers=headers) as client:
            assert 4500 == await client.closed()

    async def test_too_many_sockets(self, connect, enter, demo):
        """
        One more than a user may have is refused; the others stay.
        """
        async with enter(demo) as one, enter(demo), enter(demo):
            async with connect(additional_headers=await headers_of(demo)) as client:
                assert 4429 == await client.closed()
            assert {"type": "pong"} == await one.ask({"action": "ping"})


class TestSubscribe:
    async def test_bare_and_full(self, enter, demo, ticket):
        """
        A bare frame subscribes; a ref, number or string, comes back; subscribing again changes nothing.
        """
        async with enter(demo) as client:
            answer = await client.ask(subject(ticket))
            epoch = answer["epoch"]
            expected = {"type": "subscribed", **subject(ticket), "epoch": epoch, "offset": 1}
            assert expected == answer
            for ref in (7, -(2**63) + 1, 2**63 - 1, "seven", "", "ü" * 64):
                command = {"action": "subscribe", "ref": ref, **subject(ticket)}
                assert {**expected, "ref": ref} == await client.ask(command)

    async def test_a_snapshot_is_the_object_as_it_is(self, enter, demo, ticket):
        """
        The answer has what REST shows.
        """
        async with enter(demo) as client:
            answer = await client.ask({**subject(ticket), "snapshot": True})
        browser = Browser()
        await in_thread(browser.force_login, demo)
        shown = await in_thread(browser.get, f"/api/tickets/{answer['id']}/")
        assert shown.json() == answer["payload"]

    async def test_a_collection_comes_in_pages(self, enter, demo, project, ticket):
        """
        Behind the answer, with its ref and index, the last one done; other answers come in between.
        """
        for title in "ab":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        entries = [{**collection(project), "snapshot": True}, OWN]
        async with enter(demo) as client:
            await client.send({"ref": 8, "subscriptions": entries})
            answer, *others = [await client.receive() for _ in range(4)]
        pages = [frame for frame in others if frame["type"] == "snapshot"]
        (other,) = [frame for frame in others if frame["type"] == "subscribed"]
        named = {"ref": 8, "index": 0, **collection(project)}
        assert {"type": "subscribed", **named, **position(answer)} == answer
        assert [("snapshot", False), ("snapshot", True)] == [(p["type"], p["done"]) for p in pages]
        assert all(named.items() <= page.items() for page in pages)
        titles = [item["title"] for page in pages for item in page["items"]]
        assert [ticket.title, "a", "b"] == titles
        assert ("subscribed", 8, 1, 0) == tuple(
            other[key] for key in ("type", "ref", "index", "offset")
        )

    async def test_resuming(self, enter, demo, ticket):
        """
        What was missed follows if it is all there; else the present, and nothing old.
        """
        async with enter(demo) as client:
            since = position(await client.ask(subject(ticket)))
        for title in ("one", "two"):
            await rename(ticket, title)
        async with enter(demo) as client:
            answer = await client.ask({**subject(ticket), "ref": 1, "since": since})
            assert {
                "type": "subscribed",
                "ref": 1,
                **subject(ticket),
                **since,
                "recovered": True,
            } == answer
            frames = [await client.receive() for _ in range(2)]
            assert [(2, "one"), (3, "two")] == [
                (frame["offset"], frame["payload"]["title"]) for frame in frames
            ]
        for lost in ({**since, "offset": 99}, {**since, "epoch": "another"}):
            async with enter(demo) as client:
                answer = await client.ask({**subject(ticket), "since": lost})
                assert (False, 3, "two") == (
                    answer["recovered"],
                    answer["offset"],
                    answer["payload"]["title"],
                )
                assert {"type": "pong"} == await client.ask({"action": "ping"})


class TestNotifications:
    async def test_on_the_object_and_in_the_collection(self, enter, demo, project, ticket):
        """
        One change, one event_id; each stream has its own positions, and the collection's says its name.
        """
        async with enter(demo) as client:
            stands = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await rename(ticket, "Changed")
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
            for stand, frame in zip(stands, frames, strict=True):
                assert ("UPDATE_TICKET", "Changed") == (frame["type"], frame["payload"]["title"])
                assert subject(ticket).items() <= frame.items()
                assert (stand["epoch"], stand["offset"] + 1) == (frame["epoch"], frame["offset"])
            assert collection(project) == frames[1]["subscription"]
            assert frames[0]["event_id"] == frames[1]["event_id"]

            added = await in_thread(Ticket.objects.create, project=project, title="New")
            await drain()
            frame = await client.receive()
            assert ("CREATE_TICKET", subject(added)["id"]) == (frame["type"], frame["id"])

    async def test_on_the_users_own_stream(self, enter, demo, other):
        """
        What is announced to a user reaches that user, and nobody else who subscribes to ``me``.
        """

        def tell(user, number):
            with transaction.atomic():
                announce(user, "EXPORT_DONE", {"number": number})

        async with enter(demo) as client:
            await client.ask(OWN)
            await in_thread(tell, other, 1)
            await in_thread(tell, demo, 2)
            await drain()
            frame = await client.receive()
        assert ("EXPORT_DONE", {"number": 2}, 1) == (
            frame["type"],
            frame["payload"],
            frame["offset"],
        )
        assert OWN.items() <= frame.items()

    async def test_a_failed_row_is_skipped(self, settings, enter, demo, project, ticket):
        """
        Its offset comes without what is in it, on the object's stream and on the collection's.
        """
        settings.OUTBOX = {**settings.OUTBOX, "MAX_ATTEMPTS": 1}
        async with enter(demo) as client:
            stands = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await in_thread(fail, ticket, "Never shown")
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
        for stand, frame in zip(stands, frames, strict=True):
            assert ("skipped", stand["offset"] + 1) == (frame["type"], frame["offset"])
        assert collection(project) == frames[1]["subscription"]


class TestResynced:
    """Continuity is lost on a socket that is there: it is told why, and goes on from the present."""

    async def test_pruned(self, enter, demo, ticket):
        """
        What lies between is no longer kept.
        """
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            await in_thread(_lose, ticket)
            frame = await client.receive()
            assert ("resynced", "pruned", 2) == (frame["type"], frame["reason"], frame["offset"])
            assert "Lost" == frame["payload"]["title"]
            await rename(ticket, "After")
            assert 3 == (await client.receive())["offset"]

    async def test_another_epoch(self, enter, demo, project, ticket):
        """
        After a restore; of a collection all objects come, in pages that answer nothing.
        """
        for title in "ab":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        async with enter(demo) as client:
            before = await client.ask(collection(project))
            await in_thread(Stream.objects.filter(name__startswith="project.tickets:").delete)
            frame, *pages = [await client.receive() for _ in range(3)]
        assert {
            "type": "resynced",
            **collection(project),
            "epoch": frame["epoch"],
            "offset": 0,
            "reason": "epoch",
        } == frame
        assert before["epoch"] != frame["epoch"]
        assert [False, True] == [page["done"] for page in pages]
        assert not {"ref", "index"} & set(pages[0])

    async def test_moved(self, enter, demo, ticket):
        """
        The object went to where others may see it.
        """
        elsewhere = await in_thread(Project.objects.create, name="Elsewhere")
        await in_thread(elsewhere.members.add, demo)
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            ticket.project = elsewhere
            await rename(ticket, "Moved")
            frame = await client.receive()
        assert ("resynced", "moved", "Moved") == (
            frame["type"],
            frame["reason"],
            frame["payload"]["title"],
        )


def _lose(ticket):
    """Change a ticket; nobody can ever see how, only that there was something."""
    with transaction.atomic():
        ticket.title = "Lost"
        ticket.save()
        stream = f"ticket:{ticket.pk}"
        NotificationOutbox.objects.filter(stream=stream, offset=None).delete()
        Stream.objects.filter(name=stream).update(head=F("head") + 1)
    with Relay(using="default") as relay:
        relay.drain()


class TestUnsubscribed:
    async def test_on_request(self, enter, demo, ticket):
        """
        With the command's ref; nothing comes any more. Asking for it again is no mistake.
        """
        about = {"action": "unsubscribe", "ref": 9, **subject(ticket)}
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            for _ in range(2):
                assert {
                    "type": "unsubscribed",
                    "ref": 9,
                    **subject(ticket),
                    "reason": "requested",
                } == await client.ask(about)
            await client.ask(OWN)
            await rename(ticket, "Unseen")
            with_own = await in_thread(_announce_and_drain, demo)
            assert with_own == (await client.receive())["type"]

    async def test_by_a_deletion(self, enter, demo, project, ticket):
        """
        After the notification, which has the id alone; the collection goes on.
        """
        about = subject(ticket)
        async with enter(demo) as client:
            await client.ask(about)
            await client.ask(collection(project))
            await in_thread(ticket.delete)
            await drain()
            frames = [await client.receive() for _ in range(3)]
        own = [frame for frame in frames if "subscription" not in frame]
        assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in own]
        assert {"id": about["id"]} == own[0]["payload"]
        assert {"type": "unsubscribed", **about, "reason": "deleted", "resubscribe": False} == (
            own[1]
        )
        (of_all,) = [frame for frame in frames if "subscription" in frame]
        assert "DELETE_TICKET" == of_all["type"]

    async def test_by_a_lost_right(self, enter, demo, project, ticket):
        """
        Who is taken out of the project is told, and from then on there is no such object.
        """
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            await in_thread(project.members.clear)
            await drain()
            assert {
                "type": "unsubscribed",
                **subject(ticket),
                "reason": "revoked",
                "resubscribe": False,
            } == await client.receive()
            assert "not_found" == (await client.ask(subject(ticket)))["code"]


def _announce_and_drain(user):
    with transaction.atomic():
        announce(user, "EXPORT_DONE", {})
    with Relay(using="default") as relay:
        relay.drain()
    return "EXPORT_DONE"


class TestHeartbeat:
    async def test_both_ask_and_both_answer(self, enter, demo):
        """
        A client's ping is answered, with its ref; the server's comes by itself, and a pong needs no answer.
        """
        async with enter(demo) as client:
            assert {"type": "pong"} == await client.ask({"action": "ping"})
            assert {"type": "ping"} == await client.hear()
            await client.send({"action": "pong"})
            assert {"type": "pong", "ref": "r"} == await client.ask({"action": "ping", "ref": "r"})

    async def test_who_says_nothing_is_closed(self, site, protocol, demo):
        """
        Neither a frame nor a WebSocket pong for twice the time.
        """

        def listen(headers):
            with BareSocket(site.daphne_port, PATH, **headers) as silent:
                for frame in silent.frames():
                    if frame.data.startswith(b"{"):
                        protocol.look_at(frame.data.decode())
                return silent.close.code

        code = await asyncio.to_thread(listen, await headers_of(demo))
        protocol.look_at_close(code)
        assert 4408 == code


class TestErrors:
    async def test_each_answers_its_command(self, enter, demo, other, ticket, project):
        """
        In one command each entry has its own; DRF says what is wrong; the temporary ones say that they are.
        """
        answers = {}
        async with enter(demo) as client:
            for raw in ("[", "[]", b"{}"):
                await client.socket.send(raw)
                answers["malformed"] = await client.receive()
                await client.ask({"action": "ping"})  # in its senses
            answers["invalid"] = await client.ask({"ref": 7, "object_type": "ticket"})
            entries = [{}, subject(ticket), 3, {"object_type": "ghost", "id": "x"}]
            await client.send({"ref": 8, "subscriptions": entries})
            several = [await client.receive() for _ in entries]
            async with database_away("daphne"):
                answers["unavailable"] = await client.ask({"ref": 9, **collection(project)})
            await in_thread(rename_table, "outbox_stream", "gone")
            answers["internal"] = await client.ask({"ref": 10, **collection(project)})
            await in_thread(rename_table, "gone", "outbox_stream")
            assert "subscribed" == (await client.ask(collection(project)))["type"]
        async with enter(other) as client:
            answers["not_found"] = await client.ask({"ref": "n", **subject(ticket)})
        details = {code: answer.pop("detail") for code, answer in answers.items()}
        assert all(details.values())
        error = {"type": "error", "temporary": False}
        assert {
            "malformed": {**error, "code": "malformed"},
            "invalid": {
                **error,
                "ref": 7,
                "code": "invalid",
                "errors": {"id": ["This field is required."]},
            },
            "unavailable": {**error, "ref": 9, "code": "unavailable", "temporary": True},
            "internal": {**error, "ref": 10, "code": "internal"},
            "not_found": {**error, "ref": "n", "code": "not_found"},
        } == answers
        assert [("invalid", 0), (None, 1), ("invalid", 2), ("invalid", 3)] == [
            (frame.get("code"), frame["index"]) for frame in several
        ]
        assert {8} == {frame["ref"] for frame in several}

    async def test_as_many_subscriptions_as_may_be(self, enter, demo, project, ticket):
        """
        One more is refused; those that are there go on.
        """
        tickets = [
            await in_thread(Ticket.objects.create, project=project, title=title) for title in "abcd"
        ]
        await drain()
        async with enter(demo) as client:
            for one in (ticket, *tickets):
                assert "subscribed" == (await client.ask(subject(one)))["type"]
            answer = await client.ask(OWN)
            assert ("limit", False) == (answer["code"], answer["temporary"])
            await rename(ticket, "Still there")
            assert "Still there" == (await client.receive())["payload"]["title"]

    async def test_who_heeds_a_rate_limit_goes_on(self, enter, demo):
        """
        It says after how long; who waits for so long is answered.
        """
        async with enter(demo) as client:
            answers = [{}]
            while "code" not in answers[-1]:
                answers.append(await client.ask({"action": "ping", "ref": len(answers)}))
            *_, refusal = answers
            assert ("rate_limited", len(answers) - 1, True) == tuple(
                refusal[key] for key in ("code", "ref", "temporary")
            )
            assert len(answers) > LIMITS["SUBSCRIPTIONS"] + LIMITS["COMMANDS_PER_SECOND"]
            await asyncio.sleep(refusal["retry_after_ms"] / 1000)  # as it is told
            assert {"type": "pong"} == await client.ask({"action": "ping"})


class TestClosed:
    @pytest.mark.parametrize("is_session", [True, False], ids=["logout", "deactivation"])
    async def test_a_session_that_ends(self, connect, site, demo, is_session):
        """
        A logout ends the sockets of that session; a disabled user has none.
        """
        browser = Browser()
        await in_thread(browser.force_login, demo)
        cookie = f"sessionid={browser.cookies['sessionid'].value}"
        options = {"additional_headers": {"Cookie": cookie}, "origin": "http://localhost:8000"}
        async with connect(**options) as client:
            assert "demo" == (await client.hear())["user"]
            demo.is_active = False
            await in_thread(browser.logout if is_session else demo.save)
            await drain()
            assert 4401 == await client.closed()

    @pytest.mark.parametrize(
        ("code", "message", "is_text"),
        [(1007, b'"\xff"', True), (1009, "x" * 2001, None), (1009, ["x" * 1500] * 2, None)],
        ids=["not UTF-8", "too large", "too large in pieces"],
    )
    async def test_what_no_command_can_be(self, enter, demo, code, message, is_text):
        """
        The WebSocket protocol has codes of its own for it.
        """
        async with enter(demo) as client:
            await client.socket.send(message, text=is_text)
            assert code == await client.closed()

    async def test_what_no_client_says(self, site, protocol, demo):
        """
        A frame that is none, here with an opcode that nobody has, ends the socket.
        """

        def babble(headers):
            with BareSocket(site.daphne_port, PATH, **headers) as client:
                hello = next(client.frames())
                client.connection.sendall(b"\x83\x80\x00\x00\x00\x00")
                for _ in client.frames():
                    pass
                return hello.data.decode(), client.close.code

        hello, code = await asyncio.to_thread(babble, await headers_of(demo))
        assert "hello" == protocol.look_at(hello)["type"]
        protocol.look_at_close(code)
        assert 1002 == code

    async def test_nonsense_again_and_again(self, enter, demo):
        """
        A valid command in between starts the count anew.
        """
        async with enter(demo) as client:
            for frame in ("[", "[", '{"action": "ping"}', "[", "["):
                await client.socket.send(frame)
                await client.receive()
            await client.socket.send("[")
            assert "malformed" == (await client.receive())["code"]
            assert 4400 == await client.closed()

    @pytest.mark.parametrize(
        "command", [{"action": "ping"}, {"object_type": "ghost"}], ids=["valid", "invalid"]
    )
    async def test_commands_without_end(self, enter, demo, command):
        """
        Who goes on although each command is refused is closed, whether its commands are valid or not.
        """
        async with enter(demo) as client:
            with pytest.raises(websockets.ConnectionClosed):
                for _ in range(1000):
                    await client.ask(command)
            assert 4429 == await client.closed()

    async def test_commands_without_waiting(self, enter, demo):
        """
        So is who doesn't wait for answers.
        """
        async with enter(demo) as client:
            for _ in range(500):
                await client.send({"action": "ping"})
            assert 4429 == await client.closed()

    async def test_a_slow_reader(self, enter, demo, ticket):
        """
        Who takes nothing is cut off, and can still read what was sent before, and why no more came.
        """
        ticket.description = "x" * 2_000_000  # some of these are more than the connection holds
        await rename(ticket, "Long")
        async with enter(demo, max_queue=1, max_size=None, ping_interval=None) as client:
            connection = client.socket.transport.get_extra_info("socket")
            # Else the kernel may make room for all of it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            for _ in range(8):
                await client.send({**subject(ticket), "snapshot": True})
            await _stall(client.socket, connection)
            assert 4503 == await client.closed()

    async def test_a_restart(self, site, enter, demo):
        """
        On SIGTERM each socket is told to come back, and within which time.
        """
        said = len(site.log("daphne"))
        async with enter(demo) as client:
            daphne = site.running["daphne"]
            os.kill(daphne.pid, signal.SIGTERM)
            assert 1012 == await client.closed()
            window = {"min_ms": 700, "max_ms": 9000}
            assert {"reconnect": window} == json.loads(client.socket.close_reason)
        assert 0 == await in_thread(daphne.wait, PATIENCE)
        assert "Traceback" not in site.log("daphne")[said:]
        await in_thread(site.start, "daphne")

    async def test_a_day_is_over(self, tmp_path, protocol, demo):
        """
        Daphne ends every socket some time; here its day has a second.
        """
        with Site(tmp_path) as site:
            site.commands = {
                "daphne": site.commands["daphne"].replace("-m workers.daphne", SHORT_DAY)
            }
            await in_thread(serve, site)
            url = f"ws://127.0.0.1:{site.daphne_port}{PATH}"
            async with websockets.connect(url, additional_headers=await headers_of(demo)) as opened:
                assert 1000 == await Client(opened, protocol).closed()
            assert "Traceback" not in site.log("daphne")


async def _stall(client, connection):
    """Take nothing until nothing has come for longer than a server waits; but show that one is there."""
    held, quiet = b"", 0.0
    while quiet < LIMITS["SLOW_SECONDS"] + 1.5:
        await client.pong()
        await asyncio.sleep(0.1)
        before, held = held, fcntl.ioctl(connection, termios.FIONREAD, bytes(4))
        quiet = quiet + 0.1 if held == before != bytes(4) else 0


SHORT_DAY = "-m workers.daphne --websocket_timeout 1"


def test_all_that_is_documented_is_so(request, protocol):
    """
    Each frame, field, reason, error code and close code of the README was seen above; nothing else was.
    """
    classes = [vars(request.module)[name] for name in dir(request.module) if "Test" in name]
    expected = {name for cls in classes for name in vars(cls) if name.startswith("test_")}
    if expected - {getattr(item, "originalname", "") for item in request.session.items}:
        pytest.skip("Only the whole module has seen everything.")
    assert protocol.documented == protocol.seen
