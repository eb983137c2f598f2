"""What the server was asked on one socket of a client, and whom its answers concern. Knows no Django."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .following import Subscription

#: Entries in one command, which may be so long and no longer.
AT_ONCE = 50

Frame = dict[str, Any]


class Asked:
    """The subscribing commands of a socket whose answers may still come."""

    def __init__(self) -> None:
        self._ref = 0
        self._by_ref: dict[int, Sequence[Subscription]] = {}

    def commands(
        self, subscriptions: Sequence[Subscription], followed: Collection[Subscription]
    ) -> Iterator[Frame]:
        """Yield the commands that ask for subscriptions. What nobody follows any more is forgotten."""
        for first in range(0, len(subscriptions), AT_ONCE):
            part = subscriptions[first : first + AT_ONCE]
            self._ref += 1
            wanted = {*followed}
            self._by_ref = {ref: ones for ref, ones in self._by_ref.items() if wanted & {*ones}}
            self._by_ref[self._ref] = part
            entries = [{**subject(one), **one.standing.wish()} for one in part]
            yield {"action": "subscribe", "ref": self._ref, "subscriptions": entries}

    def concerned(self, answer: Mapping[str, Any]) -> Sequence[Subscription]:
        """Return whom an answer is about: an entry of a command, or all of them, or nobody."""
        asked = self._by_ref.get(_whole(answer.get("ref")), ())
        place = answer.get("index")
        return asked if place is None else asked[_whole(place) :][:1]

    def clear(self) -> None:
        """Nothing that was asked will be answered."""
        self._by_ref.clear()


def subject(subscription: Subscription) -> Frame:
    """Return how a command names what a subscription is about."""
    return {"object_type": subscription.object_type, "id": subscription.id}


def _whole(number: Any) -> int:
    """Return a whole number that isn't negative; anything else is none that a server was given."""
    return number if type(number) is int and number >= 0 else 1 << 62
