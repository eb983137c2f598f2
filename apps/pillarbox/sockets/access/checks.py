"""Access checks: which subscriptions sockets may keep, for many sockets in a few queries."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ...close_codes import CloseCode
from ...stream.commit_snapshots import CommitSnapshot
from ...types.object_types import ObjectType
from ...types.registry import owner_type
from ..subscriptions.subscription import Subscription
from .credentials import Credentials, ask


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessCheck:
    """The facts about a socket that an access check is based on."""

    credentials: Credentials
    user_pk: Any
    subscriptions: tuple[Subscription, ...]
    #: How often ends of rights had affected the socket when the check began.
    times_affected: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The result of an access check: what a socket may keep."""

    #: The user, freshly read, because Django caches permissions in each instance.
    user: Any = None
    #: The close code if the socket must end.
    code: CloseCode | None = None
    #: The subscriptions whose object the user may not see any more.
    lost: tuple[Subscription, ...] = ()
    #: The subscriptions whose object doesn't exist any more.
    gone: tuple[Subscription, ...] = ()


#: The socket keeps everything.
KEEP = Decision()
#: The credentials are no longer valid.
SIGN_OUT = Decision(code=CloseCode.NOT_AUTHENTICATED)
#: The access check failed, so access is denied.
UNAVAILABLE = Decision(code=CloseCode.INTERNAL_ERROR)


def check_access(checks: Sequence[AccessCheck]) -> tuple[list[Decision], CommitSnapshot]:
    """Return the decisions of `decide`, and a snapshot that includes all that they are based on."""
    decisions = decide(checks)
    return decisions, CommitSnapshot.now(using=DEFAULT_DB_ALIAS)


def decide(checks: Sequence[AccessCheck]) -> list[Decision]:
    """
    Return the decision for each socket.

    It takes one query for all tokens, one read of each session, and one query for each type of each user. For
    the objects that some user may not see, a query for each model finds those that still exist.
    """
    users = _users(checks)
    followed: dict[Any, dict[str, Subscription]] = defaultdict(dict)
    for check, user in zip(checks, users, strict=True):
        if user is not None:
            followed[user.pk] |= {s.stream: s for s in check.subscriptions}
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
        SIGN_OUT if user is None else _decision(check, user, visible[user.pk], gone)
        for check, user in zip(checks, users, strict=True)
    ]


def visible_streams(user: Any, subscriptions: Iterable[Subscription]) -> set[str]:
    """Return the streams of those subscriptions whose object the user may see: a query for each type."""
    found: set[str] = set()
    by_owner = sorted(subscriptions, key=owner_name)
    for _, group in groupby(by_owner, key=owner_name):
        same = list(group)
        visible = owner_type(same[0].object_type).readable_by(user)
        pks = set(visible.filter(pk__in={s.pk for s in same}).values_list("pk", flat=True))
        found |= {s.stream for s in same if s.pk in pks}
    return found


def owner_name(subscription: Subscription) -> str:
    """Return the name of the type on whose permission access to a subscription depends."""
    return owner_type(subscription.object_type).name


def _users(checks: Sequence[AccessCheck]) -> list[Any]:
    """Return each socket's user; None if the credentials are no longer valid, or are another user's."""
    found = ask({check.credentials for check in checks})
    users = (found[check.credentials] for check in checks)
    return [
        user if user is not None and user.pk == check.user_pk else None
        for check, user in zip(checks, users, strict=True)
    ]


def _existing(subscriptions: Iterable[Subscription]) -> set[str]:
    """Return the streams of the subscriptions whose object exists, visible to the user or not."""
    by_owner: dict[ObjectType, list[Subscription]] = defaultdict(list)
    for subscription in subscriptions:
        by_owner[owner_type(subscription.object_type)].append(subscription)
    found: set[str] = set()
    for owner, same in by_owner.items():
        there = owner.model._base_manager.filter(owner.where)
        existing = there.filter(pk__in={s.pk for s in same})
        pks = set(existing.values_list("pk", flat=True))
        found |= {s.stream for s in same if s.pk in pks}
    return found


def _decision(check: AccessCheck, user: Any, visible: set[str], gone: set[str]) -> Decision:
    hidden = [s for s in check.subscriptions if s.stream not in visible]
    return Decision(
        user=user,
        lost=tuple(s for s in hidden if s.stream not in gone),
        gone=tuple(s for s in hidden if s.stream in gone),
    )
