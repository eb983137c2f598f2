"""What a new subscription begins with: whether it may be, where it stands, the present state."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ..outbox import history
from ..outbox.history import Position
from ..outbox.payload import encode, plain
from .conf import realtime_settings
from .groups import stream_for
from .registry import kind_of_collection, owner_type
from .subscriptions import Subscription


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A subscription that a client asks for."""

    subscription: Subscription
    #: The position to resume from.
    since: Position | None = None
    wants_snapshot: bool = False

    @classmethod
    def of(cls, user: Any, values: Mapping[str, Any]) -> "Wish":
        """Return the wish in a valid entry of a command."""
        since = values.get("since")
        return cls(
            subscription=Subscription.of(user, values),
            since=None if since is None else Position(**since),
            wants_snapshot=values["snapshot"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """How a wish is granted."""

    #: Where the subscription stands: what it is sent comes after it.
    position: Position
    #: Whether all that came since is there, and follows; None if the client named no position.
    recovered: bool | None = None
    #: How much that is.
    missed: int = 0
    #: Whether the client is to be sent the present state.
    shows_present: bool = False
    #: The object as it is now; None for a collection, whose objects come in pages.
    payload: Any = None


def open_wishes(user: Any, wishes: Sequence[Wish]) -> dict[str, Opened]:
    """
    Return by stream how wishes are granted; those for what the user may not see, or isn't, are left out.

    The same queries tell both, and the caller has joined the groups.
    """
    visible = visible_streams(user, [wish.subscription for wish in wishes])
    seen = {w.subscription.stream: w for w in wishes if w.subscription.stream in visible}
    asked = {
        stream: None if wish.since is None else wish.since.offset for stream, wish in seen.items()
    }
    # The position is read before the object: an overlap is a harmless repeat, a hole is not.
    standings = history.standings(asked, using=DEFAULT_DB_ALIAS) if asked else {}
    opened = {stream: _open(user, wish, standings[stream]) for stream, wish in seen.items()}
    return {stream: found for stream, found in opened.items() if found is not None}


def visible_streams(user: Any, subscriptions: Iterable[Subscription]) -> set[str]:
    """Return the streams of those subscriptions whose object the user may see: a query for each type."""
    found: set[str] = set()
    by_owner = sorted(subscriptions, key=_owner_name)
    for _, group in groupby(by_owner, key=_owner_name):
        same = list(group)
        visible = owner_type(same[0].object_type).visible_to(user)
        pks = set(visible.filter(pk__in={s.pk for s in same}).values_list("pk", flat=True))
        found |= {s.stream for s in same if s.pk in pks}
    return found


def read_present(user: Any, subscription: Subscription) -> Opened | None:
    """Return where the stream stands, and the object as it is now; None if the user sees no such object."""
    wish = Wish(subscription=subscription, wants_snapshot=True)
    return open_wishes(user, [wish]).get(subscription.stream)


def read_items(user: Any, subscription: Subscription, after: Any) -> tuple[list[Any], Any]:
    """
    Return a page of a collection's objects, as they are now, by primary key; and the key to go on after.

    ``after`` is None for the first page, and the key after the last one. A page has ``SNAPSHOT_ROWS``
    objects, and as many as ``FRAME_BYTES`` hold; one in any case.
    """
    collection = kind_of_collection(subscription.object_type)
    assert collection is not None
    kind, key = collection
    found = kind.visible_to(user).filter(**{key: subscription.pk}).order_by("pk")
    found = found if after is None else found.filter(pk__gt=after)
    limit = realtime_settings().SNAPSHOT_ROWS
    instances = list(found[: limit + 1])
    items: list[Any] = []
    size = 0
    for instance in instances[:limit]:
        payload = plain(kind.payload(instance), kind.name)
        size += len(encode(payload, kind.name))
        if items and size > realtime_settings().FRAME_BYTES:
            break
        items.append(payload)
    is_last = len(items) == len(instances)
    return items, None if is_last else instances[len(items) - 1].pk


def _open(user: Any, wish: Wish, standing: history.Standing) -> Opened | None:
    recovered = None
    if wish.since is not None:
        recovered = standing.continues(wish.since) and not _owner_moved(
            wish.subscription, wish.since
        )
    position = wish.since if wish.since is not None and recovered else standing.head
    shows_present = wish.wants_snapshot or recovered is False
    payload = None
    if shows_present and kind_of_collection(wish.subscription.object_type) is None:
        owner = owner_type(wish.subscription.object_type)
        instance = owner.visible_to(user).filter(pk=wish.subscription.pk).first()
        if instance is None:  # it went a moment ago
            return None
        payload = plain(owner.payload(instance), owner.name)
    return Opened(
        position=position,
        recovered=recovered,
        missed=standing.head.offset - position.offset,
        shows_present=shows_present,
        payload=payload,
    )


def _owner_moved(subscription: Subscription, since: Position) -> bool:
    """Whether what an object is seen through was not for the same eyes when some of the history was made."""
    owners = list(_owners(subscription))
    return bool(owners) and history.moved_since(
        owners, subscription.stream, since.offset, using=DEFAULT_DB_ALIAS
    )


def _owners(subscription: Subscription) -> Iterator[str]:
    """Yield the streams of objects that can move, and through which this one is seen."""
    owner = owner_type(subscription.object_type)
    if owner.name != subscription.object_type:
        if owner.can_move:
            yield stream_for(owner.name, subscription.pk)
        return
    for name, key in owner.collections.items():
        if (above := owner_type(name)).can_move:
            found = owner.model._base_manager.filter(pk=subscription.pk)
            yield from (stream_for(above.name, pk) for pk in found.values_list(key, flat=True))


def _owner_name(subscription: Subscription) -> str:
    return owner_type(subscription.object_type).name
