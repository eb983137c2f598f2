"""The users, sessions and objects that ends of rights affect."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model

from ...models import RIGHTS
from ...stream.ends_of_rights import End, Object
from ...types.grants import SESSION, USER
from ...types.object_types import ObjectType
from ...types.registry import object_types, owner_type
from ..subscriptions.subscription import Subscription

#: Primary keys of objects, by the names of their types.
Keys = Mapping[str, Collection[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Affected:
    """The users, sessions and objects that ends of rights affect."""

    #: The offset of the first of the ends; 0 if rights have only begun.
    since: int = 0
    #: Primary keys, as text.
    users: set[str] = field(default_factory=set)
    #: Digests of the sessions' keys.
    sessions: set[str] = field(default_factory=set)
    objects: set[Object] = field(default_factory=set)
    is_everybody: bool = False

    def has_user(self, pk: Any) -> bool:
        """Return whether the ends affect a user, with all subscriptions."""
        return self.is_everybody or str(pk) in self.users

    def has_subscription(self, subscription: Subscription) -> bool:
        """Return whether the ends affect a subscription's object."""
        return bool(self.objects) and object_of(subscription) in self.objects


def object_of(subscription: Subscription) -> Object:
    """Return the object on which access to a subscription depends: its own, or a collection's owner."""
    return owner_type(subscription.object_type).name, str(subscription.pk)


def needs_database(ends: Iterable[End]) -> bool:
    """Return whether it takes queries to find what ends affect: they name objects, or users by a lookup."""
    return any(end.lookup or end.object_type not in (RIGHTS, SESSION, USER) for end in ends)


def affected_by(ends: Sequence[End], followed: Keys) -> Affected:
    """
    Return the users, sessions and objects that ends affect.

    An end by which rights only begin affects nobody. ``followed`` has the objects on which access to
    subscriptions depends. It takes a query for each lookup, and for each path to a type of objects.
    """
    lasting = [end for end in ends if not end.begins]
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for end in lasting:
        named[end.object_type, end.lookup].add(end.object_id)
    affected = Affected(
        since=min((end.offset for end in lasting), default=0),
        is_everybody=any(not end.object_id for end in lasting),
    )
    models_by_name = {kind.name: kind.model for kind in object_types()}
    for (object_type, lookup), values in named.items():
        if object_type == SESSION:
            affected.sessions.update(values)
        elif object_type == RIGHTS:
            affected.users.update(_keys(get_user_model(), lookup, values))
        elif object_type in models_by_name:
            model = models_by_name[object_type]
            affected.objects.update(_visible_through(model, _keys(model, lookup, values), followed))
    return affected


def _keys(model: Any, lookup: str, values: set[str]) -> set[str]:
    """Return the primary keys, as text, of the users or objects that a lookup finds by its values."""
    if not lookup:
        return values
    found = model._base_manager.filter(**{f"{lookup}__in": values})
    return set(map(str, found.values_list("pk", flat=True)))


def _visible_through(model: Any, keys: set[str], followed: Keys) -> Iterator[Object]:
    """Yield objects of a model, and those in ``followed`` that are visible through them."""
    for kind in object_types():
        if kind.model is model:
            yield from ((kind.name, key) for key in keys)
    for kind, path in _paths(model):
        below = kind.model._base_manager.filter(
            pk__in=followed.get(kind.name, ()), **{f"{path}__in": keys}
        )
        yield from ((kind.name, str(pk)) for pk in below.values_list("pk", flat=True))


def _paths(model: Any, *, seen: tuple[Any, ...] = ()) -> Iterator[tuple[ObjectType, str]]:
    """Yield each type whose objects are visible through a model's, with its lookup to the model."""
    for kind in object_types():
        for name, link in kind.collections.items():
            if kind.owner_model(name)._meta.concrete_model is model and kind.model not in seen:
                yield kind, link
                for below, path in _paths(kind.model, seen=(*seen, kind.model)):
                    yield below, f"{path}__{link}"
