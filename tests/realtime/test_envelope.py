"""Rows on the wire have exactly the documented shape."""

import json
import uuid

import pytest

from apps.outbox.rows import Row
from apps.realtime import hashids
from apps.realtime.envelope import envelope, notification_frame, skipped_frame
from apps.realtime.exceptions import UnknownObjectTypeError

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


def test_a_notification_is_what_the_protocol_says():
    """
    On the object's own stream a frame needs no subscription.
    """
    assert json.loads(notification_frame(row())) == FRAME


def test_in_a_collection_the_subscription_is_named():
    """
    The object is the frame's; the collection and its owner are the subscription's.
    """
    owner = hashids.encode("project", 3)
    subscription = {"object_type": "project.tickets", "id": owner}
    assert {**FRAME, "subscription": subscription} == json.loads(
        notification_frame(row(stream="project.tickets:3"))
    )


def test_a_failed_row_is_skipped_without_its_payload():
    """
    Its offset and its event are told, so that continuity holds; nothing else is.
    """
    frame = json.loads(skipped_frame(row(object_type="ghost", stream="ghost:7")))
    assert {"type", "object_type", "id", "offset", "epoch", "event_id"} == set(frame)
    assert ("skipped", 42) == (frame["type"], frame["offset"])
    assert "" == json.loads(skipped_frame(row(object_id="x")))["id"]


def test_the_envelope_carries_position_and_frame():
    """
    The consumer needs the stream, the position, and the text to forward.
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
    } == message


def test_the_envelope_says_that_an_object_has_moved():
    """
    Who is behind a move must not be shown what is before it.
    """
    message = envelope(row(is_move=True))
    assert message["is_move"] is True
    # The frame is for clients, who know nothing of it.
    assert json.loads(message["frame"]) == FRAME


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (True, {"event": "DELETE_TICKET"}),
        (False, {"event": "DELETE_TICKET", "stream": "project.tickets:3"}),
    ],
)
def test_the_end_is_the_deletion_of_the_object_itself(expected, values):
    """
    A collection goes on when one of its objects is gone.
    """
    assert expected == envelope(row(**values))["ends"]


def test_too_large_a_frame_is_a_hint(settings):
    """
    A frame that the layer shouldn't carry is left for the database.
    """
    size = len(notification_frame(row()).encode())
    settings.REALTIME = settings.REALTIME | {"FRAME_BYTES": size}
    assert envelope(row())["frame"]
    settings.REALTIME = settings.REALTIME | {"FRAME_BYTES": size - 1}
    assert "" == envelope(row())["frame"]
    assert "" == envelope(row(payload=None))["frame"]


def test_an_unknown_type_can_not_be_shown():
    """
    A row of a type that is not registered is no notification.
    """
    with pytest.raises(UnknownObjectTypeError):
        envelope(row(object_type="ghost"))
