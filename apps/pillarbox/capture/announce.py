"""Announcements by the project's code: events that no change of a model causes, and ends of rights."""

import re
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models, router

from ..exceptions import AnnouncementError
from ..models import RIGHTS
from ..types.announcers import event_of
from ..types.groups import stream_for
from ..types.payload import encode
from ..types.registry import OWN, ObjectType, subscribable_names, types_of
from .notification import Notification, capture

EVENT = re.compile(r"[A-Z][A-Z0-9_]{0,99}")


def announce(
    about: models.Model, event: str, payload: Mapping[str, Any], *, object_type: str | None = None
) -> None:
    """
    Announce ``event`` on an object's stream or, if ``about`` is a user, on the user's own stream ``me``.

    The notification is written in the caller's transaction, so a rollback removes it. Subscribers get
    ``payload`` unchanged. If the model has several object types, ``object_type`` chooses one.
    Raises AnnouncementError if the object or the event is invalid, and PayloadError if the payload can't be
    stored or sent.
    """
    kind = type_about(about, object_type)
    if not EVENT.fullmatch(event) or event in _reserved():
        raise AnnouncementError(
            f"Expected an event such as EXPORT_DONE that no change of an object has, got {event!r}."
        )
    if about.pk is None or about._state.adding:
        raise AnnouncementError(f"Expected a saved {kind.name}, got one that is not saved yet.")
    if not isinstance(payload, Mapping):
        raise AnnouncementError(f"Expected a mapping as payload, got {type(payload).__name__}.")
    notification = Notification(
        stream=stream_for(kind.name, about.pk),
        event=event,
        object_type=kind.name,
        object_id=str(about.pk),
        payload=encode(payload, event),
    )
    capture(notification, using=router.db_for_write(about.__class__, instance=about))


def rights_changed(user: Any) -> None:
    """
    Announce that a user may have lost or gained rights that no relation in `grants` gives.

    Call it in the transaction that changes the rights. The access of the user's sockets is checked at once.
    Notifications that were committed before this transaction are not sent to them any more.
    Raises AnnouncementError if ``user`` is not a saved user.
    """
    if not issubclass(user.__class__, get_user_model()) or user.pk is None:
        raise AnnouncementError(f"Expected a saved user, got {user!r}.")
    notification = Notification(
        stream=RIGHTS,
        event=event_of("UPDATE", RIGHTS),
        object_type=RIGHTS,
        object_id=str(user.pk),
        payload="{}",
    )
    capture(notification, using=router.db_for_write(user.__class__, instance=user))


def type_about(about: Any, name: str | None) -> ObjectType:
    """
    Return the type as which an object is announced: of this name or, without one, its model's only type.

    A user is announced on the own stream ``me``. Raises AnnouncementError if there isn't exactly one type.
    """
    # Not `type(about)`: a request's user may be a lazy object.
    model = about.__class__
    if issubclass(model, get_user_model()) and name in (None, OWN.name):
        return OWN
    known = types_of(model) if issubclass(model, models.Model) else []
    kinds = [kind for kind in known if name in (None, kind.name)]
    if len(kinds) != 1:
        found = ", ".join(kind.name for kind in known) or "none"
        raise AnnouncementError(f"Expected one object type of {model.__name__}, got {found}.")
    return kinds[0]


def _reserved() -> set[str]:
    """Return the events of changes. Clients would mistake an announcement with such an event for a change."""
    return {
        event_of(verb, name)
        for verb in ("CREATE", "UPDATE", "DELETE")
        for name in subscribable_names()
    }
