"""Tests of our Daphne: a real process, with clients that misbehave."""

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

from tests.bare_sockets import BareSocket
from tests.ports import answers
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until

COMMAND = (
    "exec python -m tests.server.serving --bind 127.0.0.1 --port $DAPHNE_PORT"
    " --ping-interval 1 --ping-timeout 1"  # Daphne's own, which end a socket without a code
    " tests.server.scripted_application:application"
)
#: The command of the Procfile.
STRICT = COMMAND.replace("tests.server.serving", "pillarbox.server").replace(
    "config.asgi", "tests.server.scripted_application"
)
#: Frames and their size: more than the buffers of a connection hold.
MANY, LARGE = 1000, 50_000


WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = (
    b"GET /later HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = b"\x89\x80mask"
EMPTY_TEXT = b"\x81\x80mask"


class Daphne:
    """
    A Daphne process whose application executes its clients' commands.

    The close timeout and the shutdown timeout are as long as a test waits, unless they are given.
    """

    def __init__(
        self, site, *, command=COMMAND, close_timeout=PATIENCE, shutdown=PATIENCE, **options
    ):
        site.commands = {"daphne": command}
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
            "DAPHNE_PILLARBOX": json.dumps(options),
            "CLOSE_TIMEOUT_SECONDS": str(close_timeout),
            "SHUTDOWN_SECONDS": str(shutdown),
        }
        site.start("daphne")
        self.port, self.process = site.daphne_port, site.running["daphne"]

    def get(self, path, body=None):
        """Return the application's response: the journal of the socket at this path."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_for(self, path, condition, what):
        """Return a socket's journal once it meets the condition; ``what`` describes that."""

        def look():
            journal = self.get(path)
            return journal if condition(journal) else None

        return wait_until(look, what)

    def stalled(self, path):
        """Return a socket's journal once the application waits for its client to read."""
        return self.wait_for(path, lambda journal: journal["turns"] > 25, f"{path} stalls")


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts Daphne with settings. Its log must show no traceback afterwards."""
    with Site(tmp_path) as site:
        yield partial(Daphne, site)
        assert "Traceback" not in site.log("daphne")


class TestSlowReader:
    def test_send_waits_until_the_client_reads(self, serve):
        """
        An application that sends more than the buffers hold waits until the client reads.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.send_command("send", frames=MANY, size=LARGE)
            assert daphne.stalled("/slow")["sent"] < MANY
            assert list(range(MANY)) == client.numbers(MANY)
            daphne.wait_for("/slow", lambda journal: journal["sent"] == MANY, "all is sent")

    def test_a_cancelled_send_loses_nothing(self, serve):
        """
        If an application cancels a waiting send, its frame still arrives once, and later frames follow it.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.send_command("send", frames=MANY, size=LARGE, seconds=0.2)
            sent = daphne.wait_for("/slow", lambda journal: journal["late"], "it gives up")["sent"]
            assert sent < MANY
            client.send_command("send", frames=3, size=10)
            assert [*range(sent + 1), 0, 1, 2] == client.numbers(sent + 4)

    def test_a_lost_connection_is_not_waited_for(self, serve):
        """
        An application that waits for a client continues when the connection is lost, and gets the disconnect.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/gone") as client:
            client.send_command("send", frames=MANY, size=LARGE)
            daphne.stalled("/gone")
        assert 1006 == daphne.wait_for("/gone", lambda it: "ended" in it, "it ends")["ended"]

    def test_the_close_code_follows_the_sent_frames(self, serve):
        """
        A client that reads on within the close timeout receives all sent frames, and then the close code.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.send_command("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            # Autobahn would have waited for a second.
            journal = daphne.wait_for("/slow", lambda it: it["late"] and it["idle"] > 1.5, "late")
            assert list(range(journal["sent"] + 1)) == client.numbers()
            assert 4503 == client.close.code

    def test_a_closing_client_that_never_reads_is_dropped(self, serve):
        """
        A closing socket with unread frames ends after the close timeout, whichever side closed it.
        An open socket stays.
        """
        daphne = serve(close_timeout=2)
        with (
            BareSocket(daphne.port, "/ours") as ours,
            BareSocket(daphne.port, "/theirs") as theirs,
            BareSocket(daphne.port, "/idle") as idle,
        ):
            theirs.send_command("send", frames=MANY, size=LARGE)
            daphne.stalled("/theirs")
            ours.send_command("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            daphne.wait_for("/ours", lambda journal: journal["late"], "it is closed")
            theirs.send_close()
            for path in ("/ours", "/theirs"):
                daphne.wait_for(path, lambda journal: "ended" in journal, f"{path} ends")
            idle.send_command("send", frames=1, size=1)
            assert Opcode.TEXT is next(idle.frames()).opcode  # and no ping came before

    def test_gets_no_pongs(self, serve):
        """
        A client that doesn't read gets no pongs, so none fill the memory. Once it reads, it gets pongs again.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.send_command("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            client.send_pings(100)
            daphne.get("/slow")  # it has seen the pings when it answers
            opcodes = Counter(frame.opcode for frame in islice(client.frames(), MANY))
            assert {Opcode.TEXT: MANY} == opcodes
            daphne.wait_for("/slow", lambda journal: journal["sent"] == MANY, "all is sent")
            client.send_pings(1)
            client.send_command("send", frames=1, size=1)
            assert [Opcode.PONG, Opcode.TEXT] == [
                frame.opcode for frame in islice(client.frames(), 2)
            ]


class TestFrames:
    def test_of_the_server_may_be_longer(self, serve):
        """
        The size limit applies to the client's frames, not to those of the application.
        """
        daphne = serve(COMMAND_BYTES=1000)
        with BareSocket(daphne.port, "/long") as client:
            client.send_command("send", frames=2, size=300_000)
            assert [0, 1] == client.numbers(2)


class TestHeartbeat:
    def test_only_a_silent_client_is_closed(self, serve):
        """
        A client that sends nothing is closed with 4408. A pong, or any other frame, prevents it.
        """
        daphne = serve(HEARTBEAT_SECONDS=1)
        replies = {
            "/pongs": BareSocket.send_answers,
            "/unasked": BareSocket.send_pong,
            "/frames": lambda client: client.send_text("{}"),
        }
        with ThreadPoolExecutor() as pool:
            silent = pool.submit(outlives_a_ping, daphne.port, "/silent", lambda client: None)
            assert all(
                pool.map(partial(survives, daphne.port), *zip(*replies.items(), strict=True))
            )
            assert not silent.result()


def survives(port, path, reply):
    """Return whether a client with this reply to pings stays open. Tries again: the machine may be slow."""
    return any(outlives_a_ping(port, path, reply) for _ in range(5))


def outlives_a_ping(port, path, reply):
    """Reply to a ping; return whether another ping follows, and not the close."""
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
        Twice as many frames as a client may have subscriptions are queued. At more, the socket is closed.
        """
        daphne = serve(SUBSCRIPTIONS=5)
        with BareSocket(daphne.port, "/fits") as fits, BareSocket(daphne.port, "/floods") as floods:
            for path, client, frames in (("/fits", fits, 9), ("/floods", floods, 40)):
                client.send_command("hold")
                daphne.wait_for(path, lambda journal: journal.get("holds"), f"{path} holds")
                client.send_command("send", frames=1, size=1)
                for _ in range(frames):
                    client.send_text("{}")
            assert floods.can_read()
            daphne.get("/release")
            assert [0] == fits.numbers(1)
            for path in ("/fits", "/floods"):
                daphne.wait_for(path, lambda journal: journal["received"] == 9, f"{path} is read")
            floods.send_text("{}")
            assert [] == floods.numbers()
            assert 4429 == floods.close.code
            floods.send_answers()
            journal = daphne.wait_for("/floods", lambda journal: "ended" in journal, "it ends")
            assert 9 == journal["received"]

    @pytest.mark.parametrize(
        "send", [BareSocket.send_pings, BareSocket.send_pongs, BareSocket.send_fragments]
    )
    def test_of_control_frames_and_fragments_is_closed(self, serve, send):
        """
        The rate limit applies to them, too. Above it, the socket is closed with 4429, and not read.
        """
        daphne = serve(close_timeout=10, SUBSCRIPTIONS=50)
        with BareSocket(daphne.port, "/fits") as fits, BareSocket(daphne.port, "/floods") as floods:
            send(fits, 90)
            with suppress(ConnectionError, TimeoutError):
                floods.connection.settimeout(1)
                while True:  # reading nothing, until the connection is full
                    send(floods, 10_000)
            floods.connection.settimeout(PATIENCE)
            assert {Opcode.PONG, Opcode.CLOSE} >= {frame.opcode for frame in floods.frames()}
            assert 4429 == floods.close.code
            fits.send_pong()
            assert "ended" not in daphne.get("/fits")
            daphne.wait_for("/floods", lambda journal: "ended" in journal, "it ends")

    @pytest.mark.parametrize(
        ("frames", "close_timeout", "ended"), [(10, PATIENCE, 4400), (100, 1, 1006)]
    )
    def test_of_frames_after_a_close_is_not_read(self, serve, frames, close_timeout, ended):
        """
        After too many frames, the server stops reading, and misses even the client's own close.
        """
        daphne = serve(close_timeout=close_timeout, SUBSCRIPTIONS=5)
        with BareSocket(daphne.port, "/closed") as client:
            client.send_command("send", frames=0, size=0, code=4400)
            assert [Opcode.CLOSE] == [frame.opcode for frame in client.frames()]
            client.connection.sendall(EMPTY_TEXT * frames)
            client.send_answers()
            journal = daphne.wait_for("/closed", lambda journal: "ended" in journal, "it ends")
            assert ended == journal["ended"]

    def test_of_one_large_frame_is_not_read(self, serve):
        """
        A frame that is too large is not read to its end.
        """
        daphne = serve(close_timeout=10, COMMAND_BYTES=1000)
        with BareSocket(daphne.port, "/large") as client:
            client.protocol.send_text(b"x" * 100_000_000)
            frame = memoryview(b"".join(client.protocol.data_to_send()))
            client.connection.settimeout(1)
            with pytest.raises(TimeoutError):
                while frame:  # pragma: no branch  # the connection is full before
                    frame = frame[client.connection.send(frame[:100_000]) :]
            client.connection.settimeout(PATIENCE)
            assert [Opcode.CLOSE] == [frame.opcode for frame in client.frames()]
            assert 1009 == client.close.code


class TestHandshake:
    def test_early_frames_are_kept(self, serve):
        """
        Frames that arrive before the socket is accepted are read afterwards.
        """
        daphne = serve()
        with asking(daphne.port, HANDSHAKE) as client:
            daphne.wait_for("/later", lambda journal: "asked" in journal, "it waits")
            client.sendall(PING)
            daphne.get("/release")
            assert read_until(client, b"\x8a\x00")

    def test_too_many_early_frames_end_the_connection(self, serve):
        """
        Before a socket is accepted, the server keeps at most as many bytes as a command may have.
        """
        daphne = serve(COMMAND_BYTES=1000)
        with asking(daphne.port, HANDSHAKE) as client:
            daphne.wait_for("/later", lambda journal: "asked" in journal, "it waits")
            client.sendall(WHOLE * 100)
            with suppress(ConnectionError):
                assert b"" == client.recv(1000)

    def test_a_slow_head_ends_the_connection(self, serve):
        """
        A connection ends if the head of its first or a later request takes too long, even if bytes
        keep arriving.
        """
        daphne = serve(HANDSHAKE_SECONDS=1)
        heads = [(b"", b""), (b"GET / HT", b""), (b"GET / HTTP/1.1\r\nA: ", b"a")]
        cases = [*heads, *((WHOLE + head, drop) for head, drop in heads[1:])]
        with ThreadPoolExecutor() as pool:
            assert all(pool.map(partial(is_ended, daphne.port), *zip(*cases, strict=True)))

    def test_the_limit_is_for_heads_only(self, serve):
        """
        A connection may idle between requests, and a body or a response may be slow.
        """
        daphne = serve(HANDSHAKE_SECONDS=1)
        request = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        with (
            asking(daphne.port, request % b"/" + b"12345") as idles,
            asking(daphne.port, request % b"/" + b"1") as uploads,
            asking(daphne.port, request % b"/slowly" + b"12345") as waits,
        ):
            assert b'"body": 5' in read_until(idles, b"}")
            assert is_ended(daphne.port, b"", b"")  # it was opened after them
            daphne.get("/release")
            idles.sendall(request % b"/" + b"12345")
            uploads.sendall(b"2345")
            for client in (idles, uploads, waits):
                assert b'"body": 5' in read_until(client, b"}")


class TestRequests:
    """HTTP requests at the port of the Procfile's Daphne."""

    @pytest.fixture
    def port(self, serve):
        return serve(command=STRICT).port

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/healthz", b'{"alive": true}'),
            ("/healthz?from=balancer", b'{"alive": true}'),
            ("/readyz", b'"channel_layer": "ok"'),
            ("/metrics", b"\nnotifier_channel_layer_up 1.0\n"),
        ],
    )
    def test_probes_are_answered(self, serve, path, body):
        """
        Load balancers and Prometheus are answered without the application, twice on one connection.
        """
        daphne = serve(command=STRICT, METRICS_TOKEN="a-token")
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a-token\r\n\r\n".encode()
        with asking(daphne.port, head) as client:
            for again in (head, b""):
                answer = read_until(client, b"\r\n0\r\n\r\n")
                assert body in answer
                assert b"no-store" in answer
                client.sendall(again)

    @pytest.mark.parametrize(
        "line",
        [
            "GET /",
            "GET /admin/",
            "GET /healthz/",
            "GET /%68ealthz",
            "GET http://a/healthz",
            "POST /healthz",
            "HEAD /ws/notifications/",
        ],
    )
    def test_other_requests_are_refused(self, port, line):
        """
        Any other request gets a 404, and the connection ends, also after a served request.
        """
        refused = f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        for head in (refused, WHOLE.replace(b"/ ", b"/healthz ") + refused + WHOLE):
            with asking(port, head) as client:
                answer = read_to_end(client)
                assert 1 == answer.count(b"HTTP/1.1 404 Not Found")
                assert answer.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        ("path", "header"),
        [
            ("/ws/x", "Content-Length: 300000000"),
            ("/healthz", "Content-Length: 8193"),
            ("/healthz", "Transfer-Encoding: chunked"),
            ("/ws/notifications/", "Upgrade: websocket\r\nContent-Length: 300000000"),
        ],
    )
    def test_a_large_body_is_refused_by_its_head(self, port, path, header):
        """
        The response follows the head, and the connection ends whether or not the client sends the body.
        """
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{header}\r\n\r\n"
        with asking(port, head.encode()) as client:
            assert read_to_end(client).startswith(b"HTTP/1.1 413 ")

    @pytest.mark.parametrize("value", ["/ws", "/\xe9"])
    def test_a_client_cannot_set_the_root_path(self, serve, value):
        """
        The header with the root path is ignored in requests and handshakes. Daphne itself would use it.
        """
        daphne = serve()
        header = f"\r\nDaphne-Root-Path: {value}\r\n".encode("latin1")
        with asking(daphne.port, WHOLE.replace(b"\r\n", header, 1)) as client:
            assert b'{"body": 0}' in read_until(client, b"}")
        with BareSocket(daphne.port, "/root", **{"Daphne-Root-Path": "/ws"}):
            journal = daphne.wait_for("/root", lambda journal: "sent" in journal, "it is there")
            assert "root_path" not in journal


def read_to_end(client):
    """Return all bytes until the server ends the connection."""
    received = b""
    while more := client.recv(10_000):
        received += more
    return received


def connection(port):
    """Return a connection with a long timeout."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def asking(port, head):
    """Return a connection that has sent these bytes, so that its time limit has begun."""
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
    """Return True once the server ends a connection that sent these bytes and keeps sending ``drop``."""
    with asking(port, head) as client:
        client.settimeout(0.1)
        return wait_until(lambda: is_closed(client, drop), "the server ends it")


def is_closed(client, drop):
    """Return whether the server has ended a connection; if not, send ``drop``."""
    try:
        with suppress(TimeoutError):
            if not client.recv(10_000):
                return True
        client.sendall(drop)
    except ConnectionError:  # pragma: no cover  # depends on timing
        return True
    return False


class TestShutdown:
    def test_clients_get_the_window_for_reconnects(self, serve):
        """
        On SIGTERM each socket is closed with 1012 and the window for reconnects. New connections are refused.
        """
        daphne = serve(RECONNECT_MIN_MS=700, RECONNECT_MAX_MS=9000)
        with BareSocket(daphne.port, "/reads") as reads, BareSocket(daphne.port, "/slow") as slow:
            slow.send_command("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert [] == reads.numbers()
            assert 1012 == reads.close.code
            window = {"min_ms": 700, "max_ms": 9000}
            assert {"reconnect": window} == json.loads(reads.close.reason)
            reads.send_answers()
            wait_until(lambda: not answers(daphne.port), "connections are refused")
            assert daphne.process.poll() is None  # the other client may still read
        assert 0 == daphne.process.wait(PATIENCE)

    def test_waits_for_slow_clients_only_for_a_while(self, serve):
        """
        After the shutdown timeout, the server ends even if a client hasn't read its close.
        """
        daphne = serve(shutdown=0.1)
        with BareSocket(daphne.port, "/slow") as slow:
            slow.send_command("send", frames=MANY, size=LARGE)
            daphne.stalled("/slow")
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert 0 == daphne.process.wait(PATIENCE)

    def test_an_earlier_close_is_still_read(self, serve):
        """
        A client that is still reading before its close code at SIGTERM receives everything.
        """
        daphne = serve()
        with BareSocket(daphne.port, "/slow") as client:
            client.send_command("send", frames=MANY, size=LARGE, seconds=0.2, code=4503)
            sent = daphne.wait_for("/slow", lambda journal: journal["late"], "it is closed")["sent"]
            os.kill(daphne.process.pid, signal.SIGTERM)
            assert list(range(sent + 1)) == client.numbers()
            assert 4503 == client.close.code
            client.send_answers()
            assert 0 == daphne.process.wait(PATIENCE)
