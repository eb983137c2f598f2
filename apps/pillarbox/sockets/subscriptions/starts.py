"""The starts of subscriptions: access, position, and present state."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS

from ...stream import history
from ...stream.ends_of_rights import Object
from ...stream.history import Position
from ...stream.last_ends import LastEnds
from ...types.grants import USER
from ...types.payload import plain
from ...types.registry import OWN, ObjectType, owner_paths, owner_type, type_of_collection
from ..access.checks import owner_name, visible_streams
from .subscription import Barrier, Subscription


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscribeRequest:
    """A valid request for one subscription."""

    subscription: Subscription
    #: The position to resume from.
    since: Position | None = None
    wants_snapshot: bool = False

    @classmethod
    def of(cls, user: Any, values: Mapping[str, Any]) -> "SubscribeRequest":
        """Return the request in a valid entry of a command."""
        since = values.get("since")
        return cls(
            subscription=Subscription.of(user, values),
            since=None if since is None else Position(**since),
            wants_snapshot=values["snapshot"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The start of a subscription that is granted."""

    #: The position after which the subscription is sent notifications.
    position: Position
    #: Whether all notifications since the client's position follow; None if the client named none.
    recovered: bool | None = None
    #: The number of notifications that follow because the client missed them.
    missed: int = 0
    #: Whether the client is sent the present state.
    shows_present: bool = False
    #: The object's present state; None for a collection, whose objects follow in pages.
    payload: Any = None
    #: Hides rows committed while the user may not have had the right.
    barrier: Barrier | None = None


def find_starts(user: Any, requests: Sequence[SubscribeRequest]) -> dict[str, Start]:
    """
    Return the starts of the requested subscriptions, by stream.

    Leaves out objects that don't exist, and objects that the user may not see; both cost the same queries.
    The caller has joined the groups.
    """
    visible = visible_streams(user, [request.subscription for request in requests])
    seen = {r.subscription.stream: r for r in requests if r.subscription.stream in visible}
    offsets = {
        stream: None if request.since is None else request.since.offset
        for stream, request in seen.items()
    }
    if not offsets:
        return {}
    # The position is read before the object: an overlap is a harmless repeat, a hole is not.
    states = history.stream_states(offsets, using=DEFAULT_DB_ALIAS)
    barriers = _barriers(user, [request.subscription for request in seen.values()])
    starts = {
        stream: _start(user, request, states[stream], barriers.get(stream))
        for stream, request in seen.items()
    }
    return {stream: start for stream, start in starts.items() if start is not None}


def read_present(user: Any, subscription: Subscription) -> Start | None:
    """Return a start at the stream's head, with the present state; None if the user sees no such object."""
    request = SubscribeRequest(subscription=subscription, wants_snapshot=True)
    return find_starts(user, [request]).get(subscription.stream)


def _barriers(user: Any, subscriptions: Sequence[Subscription]) -> dict[str, Barrier]:
    """Return, by stream, what hides the rows committed before rights to it last ended, or began again."""
    users = get_user_model()._base_manager.filter(pk=user.pk)
    above, deleted = _owners(subscriptions), (USER, str(user.pk))
    ends = LastEnds(users, {deleted, *chain(*above.values())}, using=DEFAULT_DB_ALIAS)
    # Nothing is hidden of a user's own stream, which shows nothing but announcements to that user. An
    # exception is what was announced to a deleted user with the same key.
    committed = {
        s.stream: ends.last_snapshot_of(deleted)
        if s.object_type == OWN.name
        else ends.last_snapshot(above.get(s.stream, ()))
        for s in subscriptions
    }
    return {
        stream: Barrier(since=0, until=snapshot)
        for stream, snapshot in committed.items()
        if snapshot is not None
    }


def _start(
    user: Any, request: SubscribeRequest, state: history.StreamState, barrier: Barrier | None
) -> Start | None:
    recovered = None
    if request.since is not None:
        recovered = state.allows_resume(request.since) and not _is_crossed(request, barrier)
    position = request.since if request.since is not None and recovered else state.head
    shows_present = request.wants_snapshot or recovered is False
    payload = None
    if shows_present and type_of_collection(request.subscription.object_type) is None:
        owner = owner_type(request.subscription.object_type)
        instance = owner.readable_by(user).filter(pk=request.subscription.pk).first()
        # It may have been deleted, or hidden from the user, since the query for visible streams.
        if instance is None:
            return None
        owner.read_shown([instance])
        payload = plain(owner.payload(instance), owner.name)
    return Start(
        position=position,
        recovered=recovered,
        missed=state.head.offset - position.offset,
        shows_present=shows_present,
        payload=payload,
        barrier=barrier,
    )


def _is_crossed(request: SubscribeRequest, barrier: Barrier | None) -> bool:
    """Return whether the barrier hides any of the missed notifications."""
    if barrier is None or request.since is None:
        return False
    return history.has_committed_after(
        request.subscription.stream,
        request.since.offset,
        barrier.until.text,
        barrier.until.at,
        using=DEFAULT_DB_ALIAS,
    )


def _owners(subscriptions: Sequence[Subscription]) -> dict[str, list[Object]]:
    """Return, by stream, the objects on which access to it depends. It takes a query for each type."""
    found: dict[str, list[Object]] = {}
    for name, group in groupby(sorted(subscriptions, key=owner_name), key=owner_name):
        same = list(group)
        above = _above(owner_type(name), {one.pk for one in same})
        for one in same:
            found[one.stream] = [(name, str(one.pk)), *above.get(one.pk, ())]
    return found


def _above(kind: ObjectType, pks: Collection[Any]) -> dict[Any, list[Object]]:
    """Return each object's owners, and their owners in turn, by the object's primary key."""
    paths = list(owner_paths(kind))
    if not paths:
        return {}
    rows = kind.model._base_manager.filter(pk__in=pks)
    return {
        pk: [(name, str(key)) for (_, name), key in zip(paths, keys, strict=True)]
        for pk, *keys in rows.values_list("pk", *(path for path, _ in paths))
    }
