"""How users lose their rights, and how it is noticed."""

from django.conf import settings as django_settings
from django.db import connection
from django.test import Client

from apps.realtime.rounds import rounds
from tests.sockets import (
    in_thread,
)


async def cookie_of(user):
    """Return the headers of a browser in which a user is signed in, and its client."""
    client = Client()
    await in_thread(client.force_login, user)
    name = django_settings.SESSION_COOKIE_NAME
    cookie = f"{name}={client.cookies[name].value}"
    return client, [(b"cookie", cookie.encode()), (b"origin", b"http://localhost:8000")]


def remove(project, user):
    project.members.remove(user)


def delete_members():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_project_members")


async def reauthorise():
    await rounds().reauthorise()
    await rounds()._in_doubt._task
