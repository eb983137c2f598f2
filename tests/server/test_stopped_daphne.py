"""Tests of a Daphne that was stopped: when it goes on, it doesn't blame its clients for the pause."""

import json
import time
from contextlib import ExitStack

import pytest
from django.db import DEFAULT_DB_ALIAS
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from apps.tickets.models import Ticket
from pillarbox.monitoring.processes import known
from tests.bare_sockets import BareSocket
from tests.communicators import subject
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.processes import Site
from tests.server.test_daphne import asking, read_until
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]
#: Like `DATABASE_SECONDS`, these have passed when Daphne goes on. They are long enough for a slow machine.
LIMITS = {
    "HANDSHAKE_SECONDS": 8,
    "HEARTBEAT_SECONDS": 8,
    "SLOW_SECONDS": 8,
    "POSITION_CHECK_SECONDS": 1,
    "COMMANDS_PER_SECOND": 1000,
}


class Client(BareSocket):
    """A user's socket that reads and answers only when a test calls for it."""

    def __init__(self, site, user, **options):
        token, _ = Token.objects.get_or_create(user=user)
        headers = {"Authorization": f"Token {token.key}"}
        super().__init__(site.daphne_port, "/ws/notifications/", **options, **headers)

    def ask(self, *commands):
        for command in commands:
            self.send_text(json.dumps(command))

    def receive(self, kind):
        """Return the next frame of a type, and skip others."""
        said = (json.loads(frame.data) for frame in self.frames() if frame.opcode is Opcode.TEXT)
        return next(frame for frame in said if frame["type"] == kind)

    def is_served(self):
        self.ask({"action": "ping"})
        return bool(self.receive("pong"))


@pytest.fixture
def site(tmp_path):
    """A Daphne. Its log must show no traceback afterwards."""
    with Site(tmp_path) as site:
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
            "DAPHNE_PILLARBOX": json.dumps(LIMITS),
        }
        site.start("daphne")
        yield site
        assert "Traceback" not in site.log("daphne")


def daphne():
    """Return Daphne's report in the database."""
    (found,) = [each for each in known(using=DEFAULT_DB_ALIAS) if each.kind == "daphne"]
    return found


def test_clients_are_not_closed_for_the_pause(site, demo, project, ticket, relay, sent):
    """
    Clients with a late pong, a late read, a waiting command or half a request are served when it goes on.
    Lost notifications are found. A client that never reads is closed later.
    """
    long = Ticket.objects.create(project=project, title="Long", description="x" * 2_000_000)
    relay.drain()
    snapshots = [{**subject(long), "snapshot": True}] * 8  # more than a connection holds
    with ExitStack() as stack:
        late, reads, asks = (stack.enter_context(Client(site, demo)) for _ in range(3))
        slow, stuck = (stack.enter_context(Client(site, demo, is_narrow=True)) for _ in range(2))
        reads.ask(subject(ticket))
        reads.receive("subscribed")
        assert any(frame.opcode is Opcode.PING for frame in late.frames())
        for client in (slow, stuck):
            client.receive("hello")
            client.ask(*snapshots)
            assert client.can_read()
        half = stack.enter_context(asking(site.daphne_port, b""))
        half.sendall(b"GET /healthz HTTP/1.1\r\n")
        with elsewhere(table_lock(Ticket._meta.db_table)):
            asks.ask(subject(ticket))
            wait_for_a_waiting_lock()
            site.freeze("daphne")
            since = time.monotonic()
        ticket.title = "Lost"
        ticket.save()
        assert relay.drain().published  # the stopped Daphne doesn't receive it
        # A pinged client is closed after twice the heartbeat, half of which has passed.
        wait_until(lambda: time.monotonic() > since + 9, "all limits have passed")
        wait_until(lambda: not daphne().is_alive, "Daphne counts as gone")
        site.resume("daphne")
        with asking(site.daphne_port, b"") as whole:
            whole.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"alive" in read_until(whole, b"}")  # overdue timers have run by now
        late.send_answers()
        asks.receive("subscribed")
        for _ in snapshots:
            slow.receive("subscribed")
        half.sendall(b"Host: 127.0.0.1\r\n\r\n")
        assert b"alive" in read_until(half, b"}")
        assert "Lost" == reads.receive("UPDATE_TICKET")["payload"]["title"]
        healthy = (late, reads, asks, slow)
        wait_until(
            lambda: (
                all(client.is_served() for client in healthy) and 4 == daphne().facts["sockets"]
            ),
            "the client that never reads is closed, and no other",
        )
        assert daphne().is_alive
