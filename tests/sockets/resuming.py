"""Positions from earlier sockets, missed notifications, and a database that fails."""

from contextlib import asynccontextmanager

from django.db import connection

from tests.communicators import (
    drain,
    in_thread,
    registered,
    signed_in,
    write,
)
from tests.database import accept_connections, refuse_connections


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


async def where(user, about):
    """Return the position of a subscription of a socket that has ended since."""
    async with signed_in(user) as socket:
        return position(await socket.ask(about))


async def missed(ticket, count):
    for number in range(count):
        await write(ticket, f"Number {number}")
    await drain()


@asynccontextmanager
async def database_away_once_asked(cls):
    """Have the database refuse connections as soon as an object type's permission has been checked."""

    def visible_to(self, user):
        refuse_connections()
        return cls.visible_to(self, user)

    with registered(type(cls.__name__, (cls,), {"visible_to": visible_to})):
        try:
            yield
        finally:
            await in_thread(accept_connections)


def rename_project(project):
    project.name = "Another"
    project.save()


def spoil(old, new):
    """Rename the payloads' column, so that only queries of payloads fail."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE pillarbox_notificationoutbox RENAME COLUMN {old} TO {new}")
