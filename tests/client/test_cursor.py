"""Tests of the client's cursor: each offset once and in order, or a resync."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.client.cursor import (
    Cursor,
    FrameError,
    Notification,
    Position,
    Resynced,
    Skipped,
    Snapshot,
    Subscribed,
)


def at(offset, epoch="e"):
    return Position(epoch=epoch, offset=offset)


def subscribed(offset, epoch="e", **more):
    return {"type": "subscribed", "epoch": epoch, "offset": offset, **more}


def notification(offset, epoch="e"):
    about = {"object_type": "ticket", "id": "abc", "event_id": f"{offset}", "at": "now"}
    return {"type": "UPDATE_TICKET", "epoch": epoch, "offset": offset, "payload": {}, **about}


def cursor(since=None, *, wants_snapshot=False):
    return Cursor(since, wants_snapshot=wants_snapshot)


def test_a_new_subscription_takes_the_server_s_position():
    """
    The first request has no position; later ones have that of the last item.
    """
    one = cursor()
    assert {} == one.request()
    assert Subscribed(position=at(4)) == one.take(subscribed(4))
    item = one.take(notification(5))
    assert isinstance(item, Notification)
    assert ("UPDATE_TICKET", at(5)) == (item.event, item.position)
    skipped = {"type": "skipped", "epoch": "e", "offset": 6, "event_id": "6"}
    assert Skipped(event_id="6", position=at(6)) == one.take(skipped)
    assert {"since": {"epoch": "e", "offset": 6}} == one.request()


def test_duplicates_are_dropped_and_gaps_are_errors():
    """
    A duplicate gives no item. A notification after a gap, or of another epoch, raises.
    """
    one = cursor()
    one.take(subscribed(4))
    assert None is one.take(notification(4))
    assert 1 == one.repeats
    for frame in (notification(6), notification(5, "other")):
        with pytest.raises(FrameError, match="Expected the offset after"):
            one.take(frame)
    assert at(4) == one.position


def test_frames_before_the_confirmation_are_ignored():
    """
    Notifications that arrive on a socket before its confirmation give no item.
    """
    one = cursor(at(4))
    assert None is one.take(notification(5))
    assert Subscribed(position=at(4), recovered=True) == one.take(subscribed(4, recovered=True))


def test_missed_notifications_are_marked():
    """
    After a resume, as many notifications are marked as the server said; after a resync none is.
    """
    one = cursor(at(4))
    expected = Subscribed(position=at(4), recovered=True, missed=2)
    assert expected == one.take(subscribed(4, recovered=True, missed=2))
    found = [one.take(notification(offset)).catching_up for offset in (5, 6, 7)]
    assert [True, True, False] == found
    one.take(subscribed(7, recovered=True, missed=3))
    one.take({"type": "resynced", "epoch": "e", "offset": 8, "reason": "pruned"})
    assert [False, False] == [one.take(notification(n)).catching_up for n in (9, 10)]


@pytest.mark.parametrize("missed", [-1, "2", 1.5, None, True])
def test_an_invalid_number_of_missed_notifications(missed):
    """
    A number of missed notifications that isn't a natural number is an error.
    """
    with pytest.raises(FrameError, match="Expected a frame of the protocol"):
        cursor(at(4)).take(subscribed(4, recovered=True, missed=missed))


@pytest.mark.parametrize(
    "answer",
    [subscribed(9, recovered=False), subscribed(9, recovered=True), subscribed(4, "other")],
)
def test_an_unrecoverable_position_is_a_resync(answer):
    """
    If the server confirms another position than requested, the item is a resync to that position.
    """
    one = cursor(at(4))
    expected = at(answer["offset"], answer["epoch"])
    assert Resynced(position=expected, reason="unrecoverable") == one.take(answer)
    assert {"snapshot": True, "since": {"epoch": expected.epoch, "offset": expected.offset}} == (
        one.request()
    )


def test_an_incomplete_snapshot_is_requested_again():
    """
    A snapshot is requested again until its last page has arrived; a payload is complete at once.
    """
    one = cursor(wants_snapshot=True)
    assert {"snapshot": True} == one.request()
    one.take(subscribed(4))
    page = {"type": "snapshot", "items": [1], "done": False}
    assert Snapshot(items=[1], is_last=False) == one.take(page)
    assert one.request()["snapshot"]
    assert Snapshot(items=[1], is_last=True) == one.take({**page, "done": True})
    assert "snapshot" not in one.request()
    other = cursor(wants_snapshot=True)
    other.take(subscribed(4, payload={"a": 1}))
    assert "snapshot" not in other.request()


def test_a_resync_sets_the_position():
    """
    The item has the reason and the present state; the next offset follows its position.
    """
    one = cursor()
    one.take(subscribed(4))
    frame = {"type": "resynced", "epoch": "f", "offset": 1, "reason": "epoch", "payload": {"a": 1}}
    assert Resynced(position=at(1, "f"), reason="epoch", payload={"a": 1}) == one.take(frame)
    assert isinstance(one.take(notification(2, "f")), Notification)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "subscribed"},
        {"type": "UPDATE_TICKET"},
        {"type": "UPDATE_TICKET", "epoch": "e", "offset": 5},
        {"type": "UPDATE_TICKET", "epoch": "e", "offset": "5"},
        {"type": "resynced", "epoch": 7, "offset": 5, "reason": "moved"},
        {"type": "snapshot"},
    ],
)
def test_invalid_frames_are_refused(frame):
    """
    A missing or invalid field raises an error that shows the frame.
    """
    one = cursor()
    one.take(subscribed(4))
    with pytest.raises(FrameError, match=r"Expected a frame of the protocol, got \{'type'"):
        one.take(frame)


def test_unknown_types_and_fields_are_ignored():
    """
    Types and fields of a later protocol are ignored.
    """
    one = cursor()
    assert Subscribed(position=at(4)) == one.take(subscribed(4, colour="red"))
    assert None is one.take({"type": "weather", "epoch": 5})


@given(st.lists(st.tuples(st.sampled_from("ef"), st.integers(1, 6), st.booleans())))
def test_law(steps):
    """
    For any frames in any order, items have the offsets after a confirmed position, each once, in order.
    """
    one = cursor()
    expected = None
    for epoch, offset, is_answer in steps:
        frame = subscribed(offset, epoch) if is_answer else notification(offset, epoch)
        try:
            item = one.take(frame)
        except FrameError:
            continue
        if isinstance(item, Notification):
            assert expected == item.position
        if item is not None:
            expected = at(item.position.offset + 1, item.position.epoch)
