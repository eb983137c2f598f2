"""
What ends a right, announced as any other change: on a stream of its own for each user.

So it is written in the transaction that ends the right, and reaches each process that has a socket of
the user, whatever is away meanwhile. Clients never see it.
"""

import logging
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import DatabaseError, models, router, transaction
from django.utils.crypto import salted_hmac

from ..outbox.announcers import Announcer, connect
from ..outbox.capture import Notification, capture
from ..outbox.payload import encode
from .groups import stream_for

logger = logging.getLogger(__name__)

RIGHTS = "rights"
#: Columns of the user's row that decide whether somebody may come in, and how far.
DECISIVE = ("password", "is_active", "is_staff", "is_superuser")


def rights_stream(user_pk: Any) -> str:
    """Return the stream on which is announced that a user's rights may have become fewer."""
    return stream_for(RIGHTS, user_pk)


def session_mark(session_key: str) -> str:
    """Return what stands for a session where its key must not be."""
    return salted_hmac(__name__, session_key, algorithm="sha256").hexdigest()


def rights_announcer(
    model: type[models.Model], user: str, fields: tuple[str, ...] | None = None
) -> Announcer:
    """Return what announces changes of rows that give rights to a user, whom the attribute ``user`` names."""
    return Announcer(
        object_type=RIGHTS,
        model=model,
        fields=fields,
        verbs=frozenset({"UPDATE", "DELETE"}),
        streams=lambda row: [rights_stream(getattr(row, user))],
        placed_by=((RIGHTS, user),),
        key=user,
        shows_object=False,
        payload=lambda row: {},
        tombstone=lambda pk: {},
    )


def watch() -> None:
    """From now on, announce what ends the rights of users, their tokens and their sessions."""
    for announcer in announcers():
        connect(announcer)
    user_logged_out.connect(_announce_logout, dispatch_uid=__name__)


def announcers() -> Iterator[Announcer]:
    """Yield what watches over users, their groups and permissions, and their tokens if there are any."""
    user: Any = get_user_model()
    columns = {field.attname for field in user._meta.concrete_fields}
    yield rights_announcer(user, "pk", tuple(name for name in DECISIVE if name in columns))
    for field in user._meta.many_to_many:
        through = field.remote_field.through
        yield rights_announcer(through, through._meta.get_field(field.m2m_field_name()).attname)
    if apps.is_installed("rest_framework.authtoken"):
        token = apps.get_model("authtoken", "Token")
        yield rights_announcer(token, "user_id", ("key", "user"))


def _announce_logout(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Called before the session is gone: that is why it is named, and not looked for."""
    session_key = request.session.session_key
    if user is None or session_key is None:
        return
    notification = Notification(
        stream=rights_stream(user.pk),
        event="LOGOUT",
        object_type=RIGHTS,
        object_id=str(user.pk),
        payload=encode({"session": session_mark(session_key)}, RIGHTS),
    )
    using = router.db_for_write(user.__class__, instance=user)
    try:
        with transaction.atomic(using=using):
            capture([notification], using=using)
    except DatabaseError:
        # The session shall end all the same; the next round finds it gone.
        logger.exception("A logout is not announced", extra={"action": "logout_not_announced"})
