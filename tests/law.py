"""The law of capture: replaying what was announced onto an empty store gives the database's state."""

import json
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.models import SHARDS, NotificationOutbox, Stream
from apps.outbox.numbering import number
from apps.outbox.payload import plain
from apps.outbox.stored import rows
from apps.realtime.registry import ObjectType, kinds, object_type
from tests.library.models import Book, Card, Item, Pass, Reader, Shelf, Tag

#: Stream → (object type, primary key) → payload.
Store = dict[str, dict[tuple[str, str], Any]]


def number_all() -> None:
    """Number what is committed."""
    for shard in range(SHARDS):
        while number(shard, using=DEFAULT_DB_ALIAS):
            pass


def replayed(order: str, names: list[str]) -> Store:
    """
    Return the store that the notifications of some types lead to, each stream's in the order of a column.

    Each must fit: a CREATE of what is absent, an UPDATE or a DELETE of what is there. An UPDATE is marked
    as a move if and only if it shows a change of what decides where the object is.
    """
    deciding = {name: object_type(name).announcer().deciding for name in names}
    store: Store = {}
    for row in NotificationOutbox.objects.filter(object_type__in=names).order_by("stream", order):
        objects, key = store.setdefault(row.stream, {}), (row.object_type, row.object_id)
        verb = row.event.partition("_")[0]
        assert (key in objects) is (verb != "CREATE"), f"{row.event} on {row.stream}"
        shown = deciding[row.object_type] if verb == "UPDATE" else ()
        # Not every payload shows where its object is.
        if all(name in row.payload for name in shown):
            has_moved = any(objects[key][name] != row.payload[name] for name in shown)
            assert row.is_move is has_moved, f"{row.event} on {row.stream}"
        if verb == "DELETE":
            objects.pop(key, None)
        else:
            objects[key] = row.payload
    return {stream: objects for stream, objects in store.items() if objects}


def stored(*types: ObjectType) -> Store:
    """Return the same store, read off the tables of the live models."""
    store: Store = {}
    for kind in types:
        for row in rows(kind.model, DEFAULT_DB_ALIAS):
            payload = plain(kind.payload(row), kind.name)
            for stream in kind.streams(row):
                store.setdefault(stream, {})[kind.name, str(row.pk)] = payload
    return store


def assert_law(*names: str, order: str = "id") -> None:
    """
    What was announced and what is stored are the same, for these object types, or for all.

    One writer's ids are in order, too.
    """
    types = [kind for kind in kinds() if not names or kind.name in names]
    expected, found = stored(*types), replayed(order, [kind.name for kind in types])
    assert expected == found
    # For Python 1 and true are one, for JSON they are two.
    assert _text(expected) == _text(found)


def _text(store: Store) -> str:
    rows = [
        [stream, *key, payload] for stream, found in store.items() for key, payload in found.items()
    ]
    return json.dumps(sorted(rows, key=lambda row: row[:3]), sort_keys=True)


def empty() -> None:
    """Leave no object, and nothing that was announced."""
    models = [
        NotificationOutbox,
        Stream,
        Pass,
        Item.tags.through,
        Book,
        Item,
        Shelf,
        Card,
        Tag,
        Reader,
    ]
    guards, connection.execute_wrappers = connection.execute_wrappers, []
    for model in models:
        model.objects.all()._raw_delete(connection.alias)
    connection.execute_wrappers = guards
