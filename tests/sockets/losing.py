"""Ways in which users lose rights."""

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from pillarbox.capture.muting import muted
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import (
    drain,
    in_thread,
)


def key_of(client):
    """Return the key of a browser's session."""
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


async def cookie_of(user):
    """Return the headers of a browser in which a user is signed in, and its client."""
    client = Client()
    await in_thread(client.force_login, user)
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={key_of(client)}"
    return client, [(b"cookie", cookie.encode()), (b"origin", b"http://localhost:8000")]


def disable(user):
    user.is_active = False
    user.save()


def delete_user(user):
    user.delete()


def set_password(user):
    user.set_password("other")
    user.save()


async def ends(socket, how, user):
    """Change a user, and return whether the socket ends with 4401."""
    await in_thread(how, await in_thread(get_user_model().objects.get, pk=user.pk))
    await drain()
    return 4401 == await socket.closed()


def remove(project, user):
    project.members.remove(user)


def delete_members(*_):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_project_members")


def delete_members_unannounced():
    with muted():
        delete_members()


def log_out(client, key):
    client.logout()


def delete_session(client, key):
    Session.objects.get(pk=key).delete()


def delete_sessions(client, key):
    Session.objects.filter(pk=key).delete()


def delete_session_by_sql(client, key):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session WHERE session_key = %s", [key])


def clear_sessions(client, key):
    Session.objects.filter(pk=key).update(expire_date=timezone.now())
    call_command("clearsessions")


def rename_session(client, key):
    Session.objects.filter(pk=key).update(session_key="another")


#: Ways in which a session ends in the database.
ENDS_OF_SESSIONS = [
    *(log_out, delete_session, delete_sessions),
    *(delete_session_by_sql, clear_sessions, rename_session),
]


async def reauthorise():
    await housekeeping().reauthorise()
    await housekeeping()._checks._queue._task
