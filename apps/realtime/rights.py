"""Who may go on listening, asked again: for many sockets in a few queries."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ..outbox.history import known_standings
from .authentication import Credentials, authenticate, authenticate_again
from .close_codes import CloseCode
from .grants import rights_stream
from .registry import owner_type
from .resume import visible_streams
from .subscriptions import Subscription


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a socket has: the handshake that it came in by, whose it is, what it follows."""

    scope: dict[str, Any]
    credentials: Credentials
    user_pk: Any
    subscriptions: tuple[Subscription, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """What becomes of it."""

    #: The code with which the socket ends, if it may not stay.
    code: CloseCode | None = None
    #: What is about something that the user may not see any more.
    lost: tuple[Subscription, ...] = ()
    #: What is about something that is no more.
    gone: tuple[Subscription, ...] = ()


#: Nothing changes.
KEEP = Ruling()
#: The handshake would not do any more.
OUT = Ruling(code=CloseCode.NOT_AUTHENTICATED)
#: Nobody can say what it may keep, and that is no yes.
IN_THE_DARK = Ruling(code=CloseCode.INTERNAL_ERROR)


def come_in(scope: dict[str, Any]) -> tuple[Any, int]:
    """
    Return the user of a handshake, and how far the stream of the user's rights is. Raises RefusedError.
    """
    user = authenticate(scope)
    stream = rights_stream(user.pk)
    standings = known_standings({stream: None}, using=DEFAULT_DB_ALIAS)
    return user, standings[stream].head.offset if stream in standings else 0


def rule(holdings: Sequence[Holding]) -> list[Ruling]:
    """
    Say of each socket what it may keep.

    All tokens are looked at together, each session once, and for each user each type; then what nobody
    was seen to see, whether it is there at all.
    """
    users = _users(holdings)
    followed: dict[Any, dict[str, Subscription]] = defaultdict(dict)
    for holding, user in zip(holdings, users, strict=True):
        if user is not None:
            followed[user.pk] |= {s.stream: s for s in holding.subscriptions}
    visible = {
        user.pk: visible_streams(user, followed[user.pk].values())
        for user in {user.pk: user for user in users if user is not None}.values()
    }
    hidden = {
        stream: subscription
        for pk, subscriptions in followed.items()
        for stream, subscription in subscriptions.items()
        if stream not in visible[pk]
    }
    gone = hidden.keys() - _existing(hidden.values())
    return [
        OUT if user is None else _ruling(holding, visible[user.pk], gone)
        for holding, user in zip(holdings, users, strict=True)
    ]


def _users(holdings: Sequence[Holding]) -> list[Any]:
    """Return each socket's user; None if there is none any more, or another one."""
    found = authenticate_again({holding.credentials: holding.scope for holding in holdings})
    users = (found[holding.credentials] for holding in holdings)
    return [
        user if user is not None and user.pk == holding.user_pk else None
        for holding, user in zip(holdings, users, strict=True)
    ]


def _existing(subscriptions: Iterable[Subscription]) -> set[str]:
    """Return the streams of those whose object is there, whoever may see it."""
    by_model: dict[Any, list[Subscription]] = defaultdict(list)
    for subscription in subscriptions:
        by_model[owner_type(subscription.object_type).model].append(subscription)
    found: set[str] = set()
    for model, same in by_model.items():
        existing = model._base_manager.filter(pk__in={s.pk for s in same})
        pks = set(existing.values_list("pk", flat=True))
        found |= {s.stream for s in same if s.pk in pks}
    return found


def _ruling(holding: Holding, visible: set[str], gone: set[str]) -> Ruling:
    hidden = [s for s in holding.subscriptions if s.stream not in visible]
    return Ruling(
        lost=tuple(s for s in hidden if s.stream not in gone),
        gone=tuple(s for s in hidden if s.stream in gone),
    )
