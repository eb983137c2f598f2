"""What is not a save: a notification about an object, or to a user, in the caller's own words."""

import re
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models, router

from ..outbox.announcers import event_of
from ..outbox.capture import Notification, capture
from ..outbox.payload import encode
from .exceptions import AnnouncementError
from .groups import stream_for
from .registry import OWN, ObjectType, names, types_of

EVENT = re.compile(r"[A-Z][A-Z0-9_]{0,99}")


def announce(
    about: models.Model, event: str, payload: Mapping[str, Any], *, object_type: str | None = None
) -> None:
    """
    Announce ``event`` on an object's stream or, if ``about`` is a user, on that user's own, ``me``.

    It is written in the caller's transaction: if that is rolled back, nothing is announced. Whoever is
    subscribed gets ``payload`` as it is. ``object_type`` chooses where a model is of several types.
    Raises AnnouncementError if that can't be, PayloadError if the payload can't be stored or sent.
    """
    kind = _type_of(about, object_type)
    if not EVENT.fullmatch(event) or event in _reserved():
        raise AnnouncementError(
            f"Expected an event such as EXPORT_DONE, and none of a change's own: got {event!r}."
        )
    if about.pk is None or about._state.adding:
        raise AnnouncementError(f"Expected a saved {kind.name}: this one is in no database yet.")
    if not isinstance(payload, Mapping):
        raise AnnouncementError(f"Expected a mapping as payload, got {type(payload).__name__}.")
    notification = Notification(
        stream=stream_for(kind.name, about.pk),
        event=event,
        object_type=kind.name,
        object_id=str(about.pk),
        payload=encode(payload, event),
    )
    capture([notification], using=router.db_for_write(about.__class__, instance=about))


def _type_of(about: Any, name: str | None) -> ObjectType:
    # Not `type(about)`: a request's user is a lazy object that stands for one.
    model = about.__class__
    if issubclass(model, get_user_model()) and name in (None, OWN.name):
        return OWN
    known = types_of(model) if issubclass(model, models.Model) else []
    kinds = [kind for kind in known if name in (None, kind.name)]
    if len(kinds) != 1:
        found = ", ".join(kind.name for kind in known) or "none"
        raise AnnouncementError(f"Expected one object type of {model.__name__}: it is of {found}.")
    return kinds[0]


def _reserved() -> set[str]:
    """Return the events by which changes are announced: clients take them for one."""
    return {event_of(verb, name) for verb in ("CREATE", "UPDATE", "DELETE") for name in names()}
