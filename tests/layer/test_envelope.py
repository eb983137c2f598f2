"""Envelopes and frames have exactly the documented shape."""

import json
import uuid

import pytest

from pillarbox.exceptions import UnknownObjectTypeError
from pillarbox.layer.envelope import envelope, notification_frame, skipped_frame
from pillarbox.stream.rows import Row
from pillarbox.types import hashids

EVENT_ID = str(uuid.UUID(int=5))


def row(**values):
    return Row(
        **{
            "pk": 1,
            "stream": "ticket:7",
            "offset": 42,
            "event_id": EVENT_ID,
            "event": "UPDATE_TICKET",
            "object_type": "ticket",
            "object_id": "7",
            "payload": '{"title": "Ünï"}',
            "created_at": "2026-11-22T10:00:03.501Z",
            "attempts": 0,
            "deaths": 0,
            "is_skipped": False,
            "is_pending": True,
            "is_move": False,
            "stamp": 3,
            "transaction": 4711,
            "epoch": "f3a1",
            **values,
        }
    )


FRAME = {
    "type": "UPDATE_TICKET",
    "payload": {"title": "Ünï"},
    "object_type": "ticket",
    "id": hashids.encode("ticket", 7),
    "offset": 42,
    "epoch": "f3a1",
    "event_id": EVENT_ID,
    "at": "2026-11-22T10:00:03.501Z",
}


def test_a_notification_has_the_documented_frame():
    """
    On the object's own stream, a frame names no subscription.
    """
    assert json.loads(notification_frame(row())) == FRAME


def test_in_a_collection_the_subscription_is_named():
    """
    The frame has the object's id, and the subscription its collection and owner.
    """
    owner = hashids.encode("project", 3)
    subscription = {"object_type": "project.tickets", "id": owner}
    assert {**FRAME, "subscription": subscription} == json.loads(
        notification_frame(row(stream="project.tickets:3"))
    )


def test_a_failed_row_is_skipped_without_its_payload():
    """
    Its frame has offset and event, so that continuity holds, and no payload.
    """
    frame = json.loads(skipped_frame(row(object_type="ghost", stream="ghost:7")))
    assert {"type", "object_type", "id", "offset", "epoch", "event_id"} == set(frame)
    assert ("skipped", 42) == (frame["type"], frame["offset"])
    assert "" == json.loads(skipped_frame(row(object_id="x")))["id"]


def test_the_envelope_carries_position_and_frame():
    """
    The envelope has the stream, the position, and the text for sockets.
    """
    message = envelope(row())
    assert json.loads(message.pop("frame")) == FRAME
    assert {
        "type": "notification",
        "stream": "ticket:7",
        "epoch": "f3a1",
        "offset": 42,
        "ends": False,
        "is_move": False,
        "at": FRAME["at"],
        "transaction": 4711,
        "stamp": 3,
        "is_new": True,
    } == message


def test_the_envelope_marks_a_move():
    """
    A move is marked, because catch-up must not cross it.
    """
    message = envelope(row(is_move=True))
    assert message["is_move"] is True
    # The frame is for clients, which don't know moves.
    assert json.loads(message["frame"]) == FRAME
    # A deletion isn't marked, so that subscribers of the object see it.
    assert envelope(row(event="DELETE_TICKET", is_move=True))["is_move"] is False


def test_an_end_of_a_right_is_a_hint():
    """
    The message of an end of a right has no contents: processes read it from the database.
    """
    hint = envelope(row(stream="rights", object_type="rights"))
    assert {"type": "end_of_right", "offset": 42} == hint


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (True, {"event": "DELETE_TICKET"}),
        (False, {"event": "DELETE_TICKET", "stream": "project.tickets:3"}),
    ],
)
def test_the_end_is_the_deletion_of_the_object_itself(expected, values):
    """
    Only the object's own stream ends. A collection continues without the deleted object.
    """
    assert expected == envelope(row(**values))["ends"]


def test_too_large_a_frame_is_a_hint(settings):
    """
    The envelope of a large row has an empty frame, so that sockets read the database.
    """
    size = len(notification_frame(row()).encode())
    settings.PILLARBOX = settings.PILLARBOX | {"FRAME_BYTES": size}
    assert envelope(row())["frame"]
    settings.PILLARBOX = settings.PILLARBOX | {"FRAME_BYTES": size - 1}
    assert "" == envelope(row())["frame"]
    assert "" == envelope(row(payload=None))["frame"]


def test_an_unknown_type_can_not_be_shown():
    """
    A row of an unregistered type has no envelope.
    """
    with pytest.raises(UnknownObjectTypeError):
        envelope(row(object_type="ghost"))
