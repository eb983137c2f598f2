"""Ends of sessions that no trigger sees: logouts from a session store that has no table."""

from functools import cache
from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.db import DatabaseError, router, transaction

from ..logs import get_logger
from ..models import RIGHTS
from ..types.announcers import event_of
from ..types.grants import SESSION, account_announcers, session_digest, session_model
from ..types.live_models import register_announcer
from .notification import Notification, capture

logger = get_logger(__name__)


@cache  # Django calls `ready` again when a test changes INSTALLED_APPS
def register_ends_of_rights() -> None:
    """Register the announcers of ends of rights, and announce logouts that no trigger sees."""
    for announcer in account_announcers():
        register_announcer(announcer)
    user_logged_out.connect(_announce_logout, dispatch_uid=__name__)


def _announce_logout(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Called when a user signs out. Announces the end of the session, unless a trigger does so."""
    # Channels sends the signal without a request.
    session_key = None if request is None else request.session.session_key
    if user is None or session_key is None or session_model() is not None:
        return
    notification = Notification(
        stream=RIGHTS,
        event=event_of("DELETE", SESSION),
        object_type=SESSION,
        object_id=session_digest(session_key),
        payload="{}",
    )
    using = router.db_for_write(user.__class__, instance=user)
    try:
        with transaction.atomic(using=using):
            capture(notification, using=using)
    except DatabaseError:
        # An exception would prevent the logout. The next re-authorisation finds the ended session.
        logger.exception("A logout is not announced", extra={"action": "logout_not_announced"})
