"""Where what a page shows stands, for a client to go on from there."""

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ..outbox import history
from .groups import stream_for
from .registry import owner_type


def positions(subjects: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """
    Return what a client needs to follow objects and collections from now on.

    ``subjects`` are names and primary keys, ``("project.tickets", 7)``: of a collection, its owner's. Each
    becomes ``{"object_type", "id", "since": {"epoch", "offset"}}``. To be called before what is shown is
    read, and not in a transaction that began later: a change in between is then told again, and none is
    missed. Streams come to be by it, so whoever asks must have been found to see the objects. Raises
    UnknownObjectTypeError.
    """
    asked = [(name, pk, stream_for(name, pk)) for name, pk in subjects]
    standings = history.standings(dict.fromkeys(s for *_, s in asked), using=DEFAULT_DB_ALIAS)
    return [
        {
            "object_type": name,
            "id": owner_type(name).public_id(pk),
            "since": {
                "epoch": standings[stream].head.epoch,
                "offset": standings[stream].head.offset,
            },
        }
        for name, pk, stream in asked
    ]
