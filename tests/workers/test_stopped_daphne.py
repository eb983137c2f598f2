"""A Daphne that was stopped takes its own absence for nobody's slowness, when it goes on."""

import json
import time
from contextlib import ExitStack

import pytest
from django.db import DEFAULT_DB_ALIAS
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from apps.outbox.instances import known
from apps.tickets.models import Ticket
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.processes import Site
from tests.rig.processes import wait_until
from tests.sockets import subject
from tests.workers.clients import BareSocket
from tests.workers.test_daphne import connection, read_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]
#: As `DATABASE_SECONDS`, these are over when Daphne goes on; they leave a slow machine enough of their time.
LIMITS = {
    "HANDSHAKE_SECONDS": 8,
    "HEARTBEAT_SECONDS": 8,
    "SLOW_SECONDS": 8,
    "POSITION_CHECK_SECONDS": 1,
    "COMMANDS_PER_SECOND": 1000,
}


class Client(BareSocket):
    """A socket of a user, which reads and answers when the test says so."""

    def __init__(self, site, user, **options):
        token, _ = Token.objects.get_or_create(user=user)
        headers = {"Authorization": f"Token {token.key}"}
        super().__init__(site.daphne_port, "/ws/notifications/", **options, **headers)

    def ask(self, *commands):
        for command in commands:
            self.say(json.dumps(command))

    def hear(self, kind):
        """Return the next frame of a type; others are passed over."""
        said = (json.loads(frame.data) for frame in self.frames() if frame.opcode is Opcode.TEXT)
        return next(frame for frame in said if frame["type"] == kind)

    def is_served(self):
        self.ask({"action": "ping"})
        return bool(self.hear("pong"))


@pytest.fixture
def site(tmp_path):
    """A Daphne; nothing goes wrong in it that it would have to log."""
    with Site(tmp_path) as site:
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
            "DAPHNE_REALTIME": json.dumps(LIMITS),
        }
        site.start("daphne")
        yield site
        assert "Traceback" not in site.log("daphne")


def daphne():
    """Return what the database knows of Daphne."""
    (found,) = [each for each in known(using=DEFAULT_DB_ALIAS) if each.kind == "daphne"]
    return found


def test_nobody_is_ended_for_it(site, demo, project, ticket, relay, sent):
    """
    A client whose pong is late, one that reads late, one whose command waits for the database, and one in the
    middle of its request are served when it goes on. What was lost meanwhile is found. A client that never
    reads is closed later.
    """
    long = Ticket.objects.create(project=project, title="Long", description="x" * 2_000_000)
    relay.drain()
    snapshots = [{**subject(long), "snapshot": True}] * 8  # more than a connection holds
    with ExitStack() as stack:
        late, reads, asks = (stack.enter_context(Client(site, demo)) for _ in range(3))
        slow, stuck = (stack.enter_context(Client(site, demo, is_narrow=True)) for _ in range(2))
        reads.ask(subject(ticket))
        reads.hear("subscribed")
        assert any(frame.opcode is Opcode.PING for frame in late.frames())
        for client in (slow, stuck):
            client.hear("hello")
            client.ask(*snapshots)
            assert client.can_read()
        half = stack.enter_context(connection(site.daphne_port))
        half.sendall(b"GET /healthz HTTP/1.1\r\n")
        with elsewhere(table_lock(Ticket._meta.db_table)):
            asks.ask(subject(ticket))
            wait_for_a_waiting_lock()
            site.freeze("daphne")
            since = time.monotonic()
        ticket.title = "Lost"
        ticket.save()
        assert relay.drain().published  # Redis hears nothing of it
        # A client that was pinged is closed after twice the heartbeat, of which the half has passed.
        wait_until(lambda: time.monotonic() > since + 9, "all of it is over")
        wait_until(lambda: not daphne().is_alive, "Daphne counts as gone")
        site.resume("daphne")
        with connection(site.daphne_port) as whole:
            whole.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"alive" in read_until(whole, b"}")  # what was due is done by now
        late.answer()
        asks.hear("subscribed")
        for _ in snapshots:
            slow.hear("subscribed")
        half.sendall(b"Host: 127.0.0.1\r\n\r\n")
        assert b"alive" in read_until(half, b"}")
        assert "Lost" == reads.hear("UPDATE_TICKET")["payload"]["title"]
        healthy = (late, reads, asks, slow)
        wait_until(
            lambda: (
                all(client.is_served() for client in healthy) and 4 == daphne().facts["sockets"]
            ),
            "the client that never reads is closed, and no other",
        )
        assert daphne().is_alive
