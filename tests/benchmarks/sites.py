"""The real processes, ours and those of the plain pattern, with clients of their own."""

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
from django.db import DEFAULT_DB_ALIAS, transaction
from rest_framework.authtoken.models import Token

from apps.outbox.capture import Notification, capture
from apps.realtime import hashids
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from tests.processes import Site
from workers import bell
from workers.relay import Relay

from .clients import Clients, Heard
from .plain import settings as plain_settings
from .plain import tasks as plain_tasks


class Ours(Site):
    """Set up as in production."""

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
        bell.clear()
        self.clients.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.clients.__exit__(*error)
        finally:
            super().__exit__(*error)

    def connect(self, tokens: Sequence[str], commands: Sequence[str]) -> None:
        """Open a subscribed socket for each token."""
        pairs = list(zip(tokens, commands, strict=True))
        assert self.clients.open(self.daphne_port, pairs), self.log("daphne")
        for heard in self.clients.take()[-len(pairs) :]:
            assert "subscribed" == json.loads(heard.answers[-1])["type"]

    def cpu_seconds(self) -> float:
        """Return the time that Daphne has worked."""
        times = psutil.Process(self.running["daphne"].pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return the memory that Daphne has."""
        return int(psutil.Process(self.running["daphne"].pid).memory_info().rss)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """For as long, `save` may be called."""
        yield

    def save(self, ticket: Ticket) -> None:
        """Change a ticket, in a transaction, and announce it."""
        ticket.save()

    def prepare(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Do what comes before `publish`."""
        row = Notification(
            stream=f"ticket:{ticket.pk}",
            event="UPDATE_TICKET",
            object_type="ticket",
            object_id=str(ticket.pk),
            payload=json.dumps(payload),
        )
        capture([row] * changes, using=DEFAULT_DB_ALIAS)

    def publish(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Publish a ticket so many times."""
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            assert changes == relay.drain().published

    def check(self, heard: Sequence[Heard], after: Sequence[int]) -> None:
        """Fail unless each socket has heard each offset after these, once and in order."""
        for one, offset in zip(heard, after, strict=True):
            offsets = [json.loads(body)["offset"] for _, body in one.notifications]
            assert list(range(offset + 1, offset + 1 + len(offsets))) == offsets


class Plain(Ours):
    """As tutorials have it."""

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
        """For as long, the outbox knows nothing of tickets."""
        unregister("ticket")
        try:
            yield
        finally:
            register(TicketType)

    def save(self, ticket: Ticket) -> None:
        """Change a ticket, in a transaction, and ask for a task after it."""
        ticket.save()
        transaction.on_commit(partial(plain_tasks.announce.delay, ticket.pk))

    def prepare(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Nothing comes before."""

    @async_to_sync
    async def publish(self, ticket: Ticket, payload: dict[str, Any], changes: int) -> None:
        """Send so many messages to the ticket's group."""
        layer = RedisPubSubChannelLayer(hosts=plain_settings.HOSTS)
        for _ in range(changes):
            message = {"type": "notify", "payload": payload}
            await layer.group_send(f"ticket.{payload['id']}", message)
        await layer.flush()

    def check(self, heard: Sequence[Heard], after: Sequence[int]) -> None:
        """It promises nothing."""


def tokens_of_members(project: Project, count: int) -> list[str]:
    """Return the tokens of so many users, new members of a project."""
    model = get_user_model()
    users = model.objects.bulk_create(
        model(username=f"{project.pk}.{number}") for number in range(count)
    )
    project.members.add(*users)
    tokens = Token.objects.bulk_create(Token(user=user, key=Token.generate_key()) for user in users)
    return [token.key for token in tokens]


def subject(instance: Ticket | Project, **more: Any) -> str:
    """Return the command that subscribes to a ticket, or to the tickets of a project."""
    is_ticket = isinstance(instance, Ticket)
    name = "ticket" if is_ticket else "project"
    about = {"object_type": name if is_ticket else "project.tickets"}
    return json.dumps({**about, "id": hashids.encode(name, instance.pk), **more})
