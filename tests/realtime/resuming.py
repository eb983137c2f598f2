"""What tests of resuming need: a position from before, something missed, a database that fails."""

from contextlib import asynccontextmanager

from django.db import connection

from tests.database import accept_connections, refuse_connections
from tests.sockets import (
    drain,
    in_thread,
    registered,
    signed_in,
    write,
)


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


async def where(user, about):
    """Return a position of a socket that is gone again."""
    async with signed_in(user) as socket:
        return position(await socket.ask(about))


async def missed(ticket, count):
    for number in range(count):
        await write(ticket, f"Number {number}")
    await drain()


@asynccontextmanager
async def database_away_once_asked(cls):
    """When an object type has been asked for its permission, the database takes no connections any more."""

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
    """Rename the column of the payloads: what asks for them fails, what doesn't goes on."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE outbox_notificationoutbox RENAME COLUMN {old} TO {new}")
