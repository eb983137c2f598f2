"""The sites to compare: the real processes of this product and of the plain pattern, with their clients."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import psutil
from asgiref.sync import async_to_sync
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from rest_framework.authtoken.models import Token

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.notification import Notification, capture
from pillarbox.relay import celery_wake_ups
from pillarbox.relay.relay import Relay
from pillarbox.types import hashids
from pillarbox.types.registry import register, unregister
from tests.processes import Site

from .clients import Clients, Received
from .plain import settings as plain_settings
from .plain import tasks as plain_tasks


class Ours(Site):
    """A site of this product, set up as in production."""

    name = "ours"
    #: The processes that bring a change to Daphne.
    carriers: tuple[str, ...] = ("worker", "beat")

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)
        local = {"DEBUG": "0", "ALLOWED_HOSTS": "127.0.0.1", "HOST": "127.0.0.1"}
        self.environment |= local
        self.clients = Clients()

    def __enter__(self) -> Self:
        celery_wake_ups.clear_request()
        self.clients.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.clients.__exit__(*error)
        finally:
            super().__exit__(*error)

    def connect(self, tokens: Sequence[str], requests: Sequence[str]) -> None:
        """Open a socket for each token, and subscribe it by its request."""
        pairs = list(zip(tokens, requests, strict=True))
        assert self.clients.open(self.daphne_port, pairs), self.log("daphne")
        for received in self.clients.take()[-len(pairs) :]:
            assert "subscribed" == json.loads(received.answers[-1])["type"]

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that Daphne has used."""
        times = psutil.Process(self.running["daphne"].pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return Daphne's resident memory."""
        return int(psutil.Process(self.running["daphne"].pid).memory_info().rss)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Allow calls of `save` inside the block."""
        yield

    def save(self, ticket: Ticket) -> None:
        """Save a ticket in the caller's transaction, and announce it."""
        ticket.save()

    def prepare(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Commit the rows that `publish` will publish."""
        row = Notification(
            stream=f"ticket:{ticket.pk}",
            event="UPDATE_TICKET",
            object_type="ticket",
            object_id=str(ticket.pk),
            payload=json.dumps(payload),
        )
        with transaction.atomic():
            for _ in range(changes):
                capture(row, using=DEFAULT_DB_ALIAS)

    def publish(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Publish a ticket's payload ``changes`` times."""
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            assert changes == relay.drain().published

    def check_order(self, received: Sequence[Received], after: Sequence[int]) -> None:
        """Fail unless each socket received each offset after its own in ``after``, once and in order."""
        for each, offset in zip(received, after, strict=True):
            offsets = [json.loads(body)["offset"] for _, body in each.notifications]
            assert list(range(offset + 1, offset + 1 + len(offsets))) == offsets


class Plain(Ours):
    """A site of the plain pattern, as tutorials show it."""

    name = "plain pattern"
    carriers = ("worker",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment["DJANGO_SETTINGS_MODULE"] = plain_settings.__name__
        arguments = self.commands["worker"].partition(" worker ")[2]
        self.commands = {
            "worker": f"exec celery --quiet -A {plain_tasks.__name__} worker {arguments}",
            "daphne": f"exec daphne --bind 127.0.0.1 --port {self.daphne_port}"
            f" {plain_settings.ASGI_APPLICATION.replace('.application', ':application')}",
        }

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Don't capture changes of tickets inside the block."""
        unregister("ticket")
        _trigger("DISABLE")
        try:
            yield
        finally:
            register(TicketType)
            _trigger("ENABLE")

    def save(self, ticket: Ticket) -> None:
        """Save a ticket in the caller's transaction, and send a Celery task after the commit."""
        ticket.save()
        transaction.on_commit(partial(plain_tasks.announce.delay, ticket.pk))

    def prepare(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Do nothing: the plain pattern has no outbox."""

    @async_to_sync
    async def publish(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Send ``changes`` messages to the ticket's group."""
        layer = RedisPubSubChannelLayer(hosts=plain_settings.HOSTS)
        for _ in range(changes):
            message = {"type": "notify", "payload": payload}
            await layer.group_send(f"ticket.{payload['id']}", message)
        await layer.flush()

    def check_order(self, received: Sequence[Received], after: Sequence[int]) -> None:
        """Do nothing: the plain pattern has no offsets."""


def _trigger(verb: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Ticket._meta.db_table} {verb} TRIGGER USER")


def tokens_of_members(project: Project, count: int) -> list[str]:
    """Create users as members of a project, and return their tokens."""
    model = get_user_model()
    users = model.objects.bulk_create(
        model(username=f"{project.pk}.{number}") for number in range(count)
    )
    project.members.add(*users)
    tokens = Token.objects.bulk_create(Token(user=user, key=Token.generate_key()) for user in users)
    return [token.key for token in tokens]


def subject(instance: Ticket | Project, **more: Any) -> str:
    """Return the request that subscribes to a ticket, or to the tickets of a project."""
    is_ticket = isinstance(instance, Ticket)
    name = "ticket" if is_ticket else "project"
    about = {"object_type": name if is_ticket else "project.tickets"}
    return json.dumps({**about, "id": hashids.encode(name, instance.pk), **more})
