"""The law of capture: applying all notifications to an empty store gives the database's state."""

import json
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox.capture.muting import muted
from pillarbox.models import RIGHTS, NotificationOutbox, Stream
from pillarbox.types.current_rows import all_rows
from pillarbox.types.payload import plain
from pillarbox.types.registry import ObjectType, object_type, object_types
from tests.library.models import Book, Card, Item, Pass, Reader, Shelf, Tag
from tests.rendering import render_all

#: Stream → (object type, primary key) → payload.
Store = dict[str, dict[tuple[str, str], Any]]


def replayed(order: str, names: list[str]) -> Store:
    """
    Apply the notifications of some types to an empty store, by stream in order of a column. Return it.

    Each event must be possible: before a CREATE the object is absent, before others it is present.
    An UPDATE is marked as a move if and only if its payload has other move fields than before.
    An obsolete row has no payload; a later row has the state of its object.
    """
    fields = {name: object_type(name).announcer().move_fields for name in names}
    store: Store = {}
    for row in (
        NotificationOutbox.objects.filter(object_type__in=names)
        .exclude(stream=RIGHTS)
        .order_by("stream", order)
    ):
        objects, key = store.setdefault(row.stream, {}), (row.object_type, row.object_id)
        verb = row.event.partition("_")[0]
        assert (key in objects) is (verb != "CREATE"), f"{row.event} on {row.stream}"
        before = objects.get(key)
        if verb == "UPDATE" and before is not None and row.payload is not None:
            _assert_marked(row, before, fields[row.object_type])
        if verb == "DELETE":
            del objects[key]
        else:
            objects[key] = row.payload
    return {stream: objects for stream, objects in store.items() if objects}


def _assert_marked(row: NotificationOutbox, before: Any, fields: tuple[str, ...]) -> None:
    # Some payloads lack the fields that decide where the object is announced.
    if all(name in row.payload for name in fields):
        has_moved = any(before[name] != row.payload[name] for name in fields)
        assert row.is_move is has_moved, f"{row.event} on {row.stream}"


def current_state(*types: ObjectType) -> Store:
    """Return the store that the live tables lead to."""
    store: Store = {}
    for kind in types:
        for row in all_rows(kind.model, DEFAULT_DB_ALIAS):
            payload = plain(kind.payload(row), kind.name)
            for stream in kind.streams(row):
                store.setdefault(stream, {})[kind.name, str(row.pk)] = payload
    return store


def assert_law(*names: str, order: str = "id") -> None:
    """
    Fail unless the notifications lead to the current state, for these object types or for all.

    Rows are applied in order of a column; ids are in order, too, if there is only one writer.
    """
    render_all()
    types = [kind for kind in object_types() if not names or kind.name in names]
    expected, found = current_state(*types), replayed(order, [kind.name for kind in types])
    assert expected == found
    # 1 equals True in Python, but not in JSON.
    assert _text(expected) == _text(found)


def _text(store: Store) -> str:
    rows = [
        [stream, *key, payload] for stream, found in store.items() for key, payload in found.items()
    ]
    return json.dumps(sorted(rows, key=lambda row: row[:3]), sort_keys=True)


def empty() -> None:
    """Delete all objects of the tests' models, all outbox rows and all streams."""
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
    with muted():
        for model in models:
            model.objects.all()._raw_delete(connection.alias)
