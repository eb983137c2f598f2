"""The subscribe requests on a client's socket, matched with their answers. Independent of Django."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .subscription import Subscription

#: The most entries in one command, since the server limits a command's size.
ENTRIES_OF_COMMAND = 50

Frame = dict[str, Any]


class SubscribeRequests:
    """The subscribe requests of one socket that may still be answered."""

    def __init__(self) -> None:
        self._ref = 0
        self._by_ref: dict[int, Sequence[Subscription]] = {}

    def commands(
        self, subscriptions: Sequence[Subscription], wanted: Collection[Subscription]
    ) -> Iterator[Frame]:
        """Yield the commands that request subscriptions. Forgets requests without any ``wanted`` one."""
        for first in range(0, len(subscriptions), ENTRIES_OF_COMMAND):
            part = subscriptions[first : first + ENTRIES_OF_COMMAND]
            self._ref += 1
            kept = {*wanted}
            self._by_ref = {ref: ones for ref, ones in self._by_ref.items() if kept & {*ones}}
            self._by_ref[self._ref] = part
            entries = [{**subject(one), **one.cursor.request()} for one in part]
            yield {"action": "subscribe", "ref": self._ref, "subscriptions": entries}

    def answered_by(self, answer: Mapping[str, Any]) -> Sequence[Subscription]:
        """Return the subscriptions that an answer is about: one of a command, all of them, or none."""
        asked = self._by_ref.get(_whole(answer.get("ref")), ())
        place = answer.get("index")
        return asked if place is None else asked[_whole(place) :][:1]

    def clear(self) -> None:
        """Forget all requests: the socket is lost."""
        self._by_ref.clear()


def subject(subscription: Subscription) -> Frame:
    """Return the fields with which a command names a subscription's object or collection."""
    return {"object_type": subscription.object_type, "id": subscription.id}


def _whole(number: Any) -> int:
    """Return a valid ref or index unchanged; for anything else, a number that no command has."""
    return number if type(number) is int and number >= 0 else 1 << 62
