"""Daphne as its clients and applications find it: a real process, with sockets that misbehave."""

import json
import os
import signal
import socket
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice

import pytest
from websockets.frames import Opcode

from tests.ports import answers
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until
from tests.workers.clients import BareSocket

COMMAND = (
    "exec python -m tests.workers.serving --bind 127.0.0.1 --port $DAPHNE_PORT"
    " --ping-interval 1 --ping-timeout 1"  # Daphne's own, which end a socket without a code
    " tests.workers.obeying:application"
)
#: More than the buffers of a connection hold.
MANY, LARGE = 1000, 50_000


WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Daphne:
    """
    A process with an application that treats its sockets as they say.

    Clients that end have as long for it as a test waits, unless the test says otherwise.
    """

    def __init__(self, site, *, farewell=PATIENCE, close=PATIENCE, **realtime):
        site.commands = {"daphne": COMMAND}
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
            "DAPHNE_REALTIME": json.dumps(realtime),
            "FAREWELL_SECONDS": str(farewell),
            "CLOSE_SECONDS": str(close),
        }
        site.start("daphne")
        self.port, self.process = site.daphne_port, site.running["daphne"]

    def get(self, path, body=None):
        """Return what the application answers: to a socket's path, what that socket did."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_for(self, path, condition, what):
        """Return what a socket did, once it is as it should be."""

        def look():
            journal = self.get(path)
            return journal if condition(journal) else None

        return wait_until(look, what)

    def stalled(self, path):
        """Return what a socket did, once the application waits for the client."""
        return self.wait_for(path, lambda journal: journal["turns"] > 25, f"{path} stalls")


@pytest.fixture
def serve(tmp_path):
    """Start Daphne, with settings; nothing goes wrong in it that it would have to log."""
    with Site(tmp_path) as site:
        yield partial(Daphne, site)
        assert "Traceback" not in site.log("daphne")


class TestSlowReader:
    def test_send_waits_until_the_client_reads(self, serve):
        """
        An application that sends more than the connection holds waits; once it is read, it goes on.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.order("send", frames=MANY, size=LARGE)
            assert daphne.stalled("/slow")["sent"] < MANY
            assert list(range(MANY)) == client.numbers(MANY)
            daphne.wait_for("/slow", lambda journal: journal["sent"] == MANY, "all is sent")

    def test_giving_up_is_harmless(self, serve):
        """
        An application may stop waiting: the frame it sent arrives, once, and so does what it sends later.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.order("send", frames=MANY, size=LARGE, seconds=0.2)
            sent = daphne.wait_for("/slow", lambda journal: journal["late"], "it gives up")["sent"]
            assert sent < MANY
            client.order("send", frames=3, size=10)
            assert [*range(sent + 1), 0, 1, 2] == client.numbers(sent + 4)

    def test_a_lost_connection_is_not_waited_for(self, serve):
        """
        An application that waits for a client goes on when that client is gone, and hears of it.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/gone") as client:
            client.order("send", frames=MANY, size=LARGE)
            daphne.stalled("/gone")
        assert 1006 == daphne.wait_for("/gone", lambda it: "ended" in it, "it ends")["ended"]

    def test_the_close_code_comes_behind_what_was_sent(self, serve):
        """
        A client that reads on in time sees all that was sent to it, and then the close code.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.order("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            # Autobahn would have waited for a second.
            journal = daphne.wait_for("/slow", lambda it: it["late"] and it["idle"] > 1.5, "late")
            assert list(range(journal["sent"] + 1)) == client.numbers()
            assert 4503 == client.close.code

    def test_who_never_reads_is_dropped(self, serve):
        """
        A closed socket with an unread rest ends after a while, whoever closed it; another is left alone.
        """
        daphne = serve(farewell=2)
        with (
            BareSocket(daphne.port, "/ours") as ours,
            BareSocket(daphne.port, "/theirs") as theirs,
            BareSocket(daphne.port, "/idle") as idle,
        ):
            theirs.order("send", frames=MANY, size=LARGE)
            daphne.stalled("/theirs")
            ours.order("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            daphne.wait_for("/ours", lambda journal: journal["late"], "it is closed")
            theirs.leave()
            for path in ("/ours", "/theirs"):
                daphne.wait_for(path, lambda journal: "ended" in journal, f"{path} ends")
            idle.order("send", frames=1, size=1)
            assert Opcode.TEXT is next(idle.frames()).opcode  # and no ping came before

    def test_its_pings_are_not_answered(self, serve):
        """
        Pongs don't pile up for a client that doesn't read; once it does, it has its pongs again.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.order("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            client.ping(100)
            daphne.get("/slow")  # it has seen the pings when it answers
            opcodes = Counter(frame.opcode for frame in islice(client.frames(), MANY))
            assert {Opcode.TEXT: MANY} == opcodes
            daphne.wait_for("/slow", lambda journal: journal["sent"] == MANY, "all is sent")
            client.ping(1)
            client.order("send", frames=1, size=1)
            assert [Opcode.PONG, Opcode.TEXT] == [
                frame.opcode for frame in islice(client.frames(), 2)
            ]


class TestFrames:
    def test_may_be_longer_than_a_client_s(self, serve):
        """
        The limit of commands is the client's: the application sends what it likes.
        """
        daphne = serve(COMMAND_BYTES=1000)
        with BareSocket(daphne.port, "/long") as client:
            client.order("send", frames=2, size=300_000)
            assert [0, 1] == client.numbers(2)


class TestHeartbeat:
    def test_only_who_is_silent_is_closed(self, serve):
        """
        A client of which nothing is heard is closed with 4408; a pong, or any frame, is enough.
        """
        daphne = serve(HEARTBEAT_SECONDS=1)
        replies = {
            "/pongs": BareSocket.answer,
            "/unasked": BareSocket.pong,
            "/frames": lambda client: client.say("{}"),
        }
        with ThreadPoolExecutor() as pool:
            silent = pool.submit(outlives_a_ping, daphne.port, "/silent", lambda client: None)
            assert all(
                pool.map(partial(can_live, daphne.port), *zip(*replies.items(), strict=True))
            )
            assert not silent.result()


def can_live(port, path, reply):
    """Return whether a client lives that replies to pings. It tries again: a busy machine may be too late."""
    return any(outlives_a_ping(port, path, reply) for _ in range(5))


def outlives_a_ping(port, path, reply):
    """Reply to pings; return whether another one comes, and not the close."""
    with BareSocket(port, path) as client:
        pings = 0
        for frame in client.frames():
            if frame.opcode is Opcode.PING:
                reply(client)
                pings += 1
            if pings == 2:
                return True
        assert 4408 == client.close.code
        return False


class TestFlood:
    def test_is_closed(self, serve):
        """
        Twice as many frames as a client has subscriptions may wait; who sends more is heard no more.
        """
        daphne = serve(SUBSCRIPTIONS=5)
        with BareSocket(daphne.port, "/fits") as fits, BareSocket(daphne.port, "/floods") as floods:
            for path, client, frames in (("/fits", fits, 9), ("/floods", floods, 100)):
                client.order("hold")
                daphne.wait_for(path, lambda journal: journal.get("holds"), f"{path} holds")
                client.order("send", frames=1, size=1)
                for _ in range(frames):
                    client.say("{}")
            assert floods.can_read()
            daphne.get("/release")
            assert [0] == fits.numbers(1)
            for path in ("/fits", "/floods"):
                daphne.wait_for(path, lambda journal: journal["received"] == 9, f"{path} is read")
            floods.say("{}")
            assert [] == floods.numbers()
            assert 4429 == floods.close.code
            floods.answer()
            journal = daphne.wait_for("/floods", lambda journal: "ended" in journal, "it ends")
            assert 9 == journal["received"]


class TestHandshake:
    def test_half_a_request_is_not_waited_for(self, serve):
        """
        A connection ends when its request, the first or the next, isn't there in time, however it dawdles.
        """
        daphne = serve(HANDSHAKE_SECONDS=1)
        heads = [(b"", b""), (b"GET / HT", b""), (b"GET / HTTP/1.1\r\nA: ", b"a")]
        cases = [*heads, *((WHOLE + head, drop) for head, drop in heads[1:])]
        with ThreadPoolExecutor() as pool:
            assert all(pool.map(partial(is_ended, daphne.port), *zip(*cases, strict=True)))

    def test_others_have_their_time(self, serve):
        """
        A connection may idle between requests, a body may be slow to come, and an answer too.
        """
        daphne = serve(HANDSHAKE_SECONDS=1)
        request = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        with (
            asking(daphne.port, request % b"/" + b"12345") as idles,
            asking(daphne.port, request % b"/" + b"1") as uploads,
            asking(daphne.port, request % b"/slowly" + b"12345") as waits,
        ):
            assert b'"body": 5' in read_until(idles, b"}")
            assert is_ended(daphne.port, b"", b"")  # which came after them
            daphne.get("/release")
            idles.sendall(request % b"/" + b"12345")
            uploads.sendall(b"2345")
            for client in (idles, uploads, waits):
                assert b'"body": 5' in read_until(client, b"}")


def connection(port):
    """Return a connection that is waited for as long as a test waits."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def asking(port, head):
    """Return a connection that begins like this at once: its time runs from the beginning."""
    client = connection(port)
    client.sendall(head)
    return client


def read_until(client, end):
    received = b""
    while end not in received:
        more = client.recv(10_000)
        assert more, received
        received += more
    return received


def is_ended(port, head, drop):
    """Return whether the server ends a connection that begins like this, and into which something drops."""
    with asking(port, head) as client:
        client.settimeout(0.1)
        return wait_until(lambda: is_closed(client, drop), "the server ends it")


def is_closed(client, drop):
    """Return whether the server has ended a connection; else drop something into it."""
    try:
        with suppress(TimeoutError):
            if not client.recv(10_000):
                return True
        client.sendall(drop)
    except ConnectionError:  # pragma: no cover  # timing decides whether an end is a reset
        return True
    return False


class TestEnd:
    def test_a_restart_says_when_to_come_back(self, serve):
        """
        On SIGTERM a socket is told in which window to come back, and nobody is let in any more.
        """
        daphne = serve(RECONNECT_MIN_MS=700, RECONNECT_MAX_MS=9000)
        with BareSocket(daphne.port, "/reads") as reads, BareSocket(daphne.port, "/slow") as slow:
            slow.order("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert [] == reads.numbers()
            assert 1012 == reads.close.code
            window = {"min_ms": 700, "max_ms": 9000}
            assert {"reconnect": window} == json.loads(reads.close.reason)
            reads.answer()
            wait_until(lambda: not answers(daphne.port), "nobody is let in")
            assert daphne.process.poll() is None  # the other one has its time
        assert 0 == daphne.process.wait(PATIENCE)

    def test_who_does_not_read_is_not_waited_for(self, serve):
        """
        On SIGTERM clients have a while to end; then the server ends without them.
        """
        daphne = serve(close=0.1)
        with BareSocket(daphne.port, "/slow") as slow:
            slow.order("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert 0 == daphne.process.wait(PATIENCE)

    def test_a_close_that_is_being_read_is_not_cut(self, serve):
        """
        Who is reading the rest before its close code when SIGTERM comes gets it all.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.order("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            sent = daphne.wait_for("/slow", lambda journal: journal["late"], "it is closed")["sent"]
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert list(range(sent + 1)) == client.numbers()
            assert 4503 == client.close.code
            client.answer()
            assert 0 == daphne.process.wait(PATIENCE)
