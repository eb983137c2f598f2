"""Positions for rendered pages, from which a client continues."""

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ..types.groups import stream_for
from ..types.registry import owner_type
from . import history


def positions(subjects: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """
    Return the subscribe requests with which a client continues from the present positions.

    ``subjects`` are pairs of a name and a primary key, ``("project.tickets", 7)``; a collection takes its
    owner's key. Each becomes ``{"object_type", "id", "since": {"epoch", "offset"}}``.

    Call it before reading the page's content, which must not come from an older snapshot of the database:
    then the client may receive a change twice, but never misses one. Creates missing streams, so first
    check that the user may see the objects. Raises UnknownObjectTypeError.
    """
    asked = [(name, pk, stream_for(name, pk)) for name, pk in subjects]
    states = history.stream_states(dict.fromkeys(s for *_, s in asked), using=DEFAULT_DB_ALIAS)
    return [
        {
            "object_type": name,
            "id": owner_type(name).public_id(pk),
            "since": {
                "epoch": states[stream].head.epoch,
                "offset": states[stream].head.offset,
            },
        }
        for name, pk, stream in asked
    ]
