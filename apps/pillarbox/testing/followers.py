"""A subscriber without a socket."""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from ..capture.announce import type_about
from ..sockets import frames
from ..sockets.access.checks import visible_streams
from ..sockets.commands.refusals import not_found
from ..sockets.reasons import EndReason, ResyncReason
from ..sockets.subscriptions.catch_up import read_page
from ..sockets.subscriptions.snapshots import read_items
from ..sockets.subscriptions.starts import read_present
from ..sockets.subscriptions.subscription import Subscription
from ..types.registry import owner_type, type_of_collection
from .drains import drain


def follow(about: models.Model, user: Any, *, object_type: str | None = None) -> "Follower":
    """
    Drain, and follow the stream of an object from now on, as a user's socket would.

    ``object_type`` names the object's type if its model has several, or a collection that the object owns.
    If ``about`` is a user and there is no ``object_type``, it is the user's own stream ``me``. Raises
    ClientCommandError if the user may not see the object, and AnnouncementError if its type is unclear.
    """
    drain()
    return Follower(about, user, object_type)


def subject_of(about: models.Model, object_type: str | None) -> dict[str, str]:
    """Return the fields with which a command names an object, or a collection that it owns."""
    name = object_type or type_about(about, None).name
    return {"object_type": name, "id": owner_type(name).public_id(about.pk)}


class Follower:
    """A subscriber of one stream without a socket. `follow` makes it."""

    def __init__(self, about: models.Model, user: Any, object_type: str | None) -> None:
        values = {**subject_of(about, object_type), "pk": about.pk}
        self._user_pk, self._subscription = user.pk, Subscription.of(user, values)
        self._is_over = False
        start = read_present(self._user(), self._subscription)
        if start is None:
            raise not_found()
        self._subscription.move_to(start.position)
        self._subscription.barrier = start.barrier
        #: The object as the user saw it first; None for a collection.
        self.payload = start.payload

    def read(self) -> list[dict[str, Any]]:
        """
        Drain, and return the frames that the user's socket would have been sent since the last call.

        The last one is ``unsubscribed`` if the object was deleted or left the condition of its type, or if
        the user may not see it any more; later calls return nothing. Raises NotDrainedError.
        """
        drain()
        if self._is_over:
            return []
        exists = self._exists()
        if exists and not visible_streams(self._user(), [self._subscription]):
            return [self._end(EndReason.REVOKED)]
        sent = list(self._frames())
        # The deletion of an owner isn't announced to the followers of its collections.
        return sent if exists or self._is_over else [*sent, self._end(EndReason.DELETED)]

    def _frames(self) -> Iterator[dict[str, Any]]:
        subscription, is_last = self._subscription, False
        while not is_last:
            page = read_page(subscription.stream, subscription.offset)
            entries, lost = page.after(subscription)
            for entry in entries:
                subscription.offset = entry.offset
                yield json.loads(entry.frame)
                if entry.ends:
                    yield self._end(EndReason.DELETED)
                    return
            if lost is not None:
                yield from self._resync(lost)
            is_last = lost is not None or not entries

    def _resync(self, reason: ResyncReason) -> Iterator[dict[str, Any]]:
        subscription = self._subscription
        start = read_present(self._user(), subscription)
        if start is None:
            return
        subscription.move_to(start.position)
        yield frames.resynced(subscription, start.payload, reason)
        after, is_last = None, type_of_collection(subscription.object_type) is None
        while not is_last:
            items, after = read_items(self._user(), subscription, after)
            is_last = after is None
            yield frames.snapshot({}, subscription, items, is_last)

    def _exists(self) -> bool:
        owner = owner_type(self._subscription.object_type)
        there = owner.model._base_manager.filter(owner.where)
        return there.filter(pk=self._subscription.pk).exists()

    def _end(self, reason: EndReason) -> dict[str, Any]:
        self._is_over = True
        return frames.unsubscribed(self._subscription.subject, reason)

    def _user(self) -> Any:
        """Return the user, freshly read, because Django caches permissions in each instance."""
        return get_user_model()._base_manager.get(pk=self._user_pk)
