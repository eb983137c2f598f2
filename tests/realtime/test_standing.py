"""A subscription's standing: no offset twice, none out of order, and told where continuity is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.standing import (
    FrameError,
    Notification,
    Position,
    Resynced,
    Skipped,
    Snapshot,
    Standing,
    Subscribed,
)


def at(offset, epoch="e"):
    return Position(epoch=epoch, offset=offset)


def subscribed(offset, epoch="e", **more):
    return {"type": "subscribed", "epoch": epoch, "offset": offset, **more}


def notification(offset, epoch="e"):
    about = {"object_type": "ticket", "id": "abc", "event_id": f"{offset}", "at": "now"}
    return {"type": "UPDATE_TICKET", "epoch": epoch, "offset": offset, "payload": {}, **about}


def standing(since=None, *, wants_snapshot=False):
    return Standing(since, wants_snapshot=wants_snapshot)


def test_a_new_subscription_begins_where_the_server_says():
    """
    It names no position, is told one, and resumes from what it heard last.
    """
    one = standing()
    assert {} == one.wish()
    assert Subscribed(position=at(4)) == one.take(subscribed(4))
    word = one.take(notification(5))
    assert isinstance(word, Notification)
    assert ("UPDATE_TICKET", at(5)) == (word.event, word.position)
    skipped = {"type": "skipped", "epoch": "e", "offset": 6, "event_id": "6"}
    assert Skipped(event_id="6", position=at(6)) == one.take(skipped)
    assert {"since": {"epoch": "e", "offset": 6}} == one.wish()


def test_what_was_passed_is_dropped_and_a_gap_is_an_error():
    """
    A duplicate says nothing; what comes after a gap is not let by.
    """
    one = standing()
    one.take(subscribed(4))
    assert None is one.take(notification(4))
    assert 1 == one.repeats
    for frame in (notification(6), notification(5, "other")):
        with pytest.raises(FrameError, match="Expected what comes after"):
            one.take(frame)
    assert at(4) == one.position


def test_nothing_is_heard_before_the_answer():
    """
    What a socket says of a subject before it says that it follows it means nothing.
    """
    one = standing(at(4))
    assert None is one.take(notification(5))
    assert Subscribed(position=at(4), recovered=True) == one.take(subscribed(4, recovered=True))


def test_what_was_missed_is_told_apart():
    """
    As many as the server says, after each resume; what comes behind it, or after a resync, is live.
    """
    one = standing(at(4))
    expected = Subscribed(position=at(4), recovered=True, missed=2)
    assert expected == one.take(subscribed(4, recovered=True, missed=2))
    found = [one.take(notification(offset)).catching_up for offset in (5, 6, 7)]
    assert [True, True, False] == found
    one.take(subscribed(7, recovered=True, missed=3))
    one.take({"type": "resynced", "epoch": "e", "offset": 8, "reason": "pruned"})
    assert [False, False] == [one.take(notification(n)).catching_up for n in (9, 10)]


@pytest.mark.parametrize("missed", [-1, "2", 1.5, None, True])
def test_how_much_was_missed_is_a_number(missed):
    """
    Anything else makes no sense.
    """
    with pytest.raises(FrameError, match="Expected a frame of the protocol"):
        standing(at(4)).take(subscribed(4, recovered=True, missed=missed))


@pytest.mark.parametrize(
    "answer",
    [subscribed(9, recovered=False), subscribed(9, recovered=True), subscribed(4, "other")],
)
def test_a_position_that_cannot_be_resumed_from_is_a_resync(answer):
    """
    Whatever the server answers that isn't the position asked for: the client goes on from there, told.
    """
    one = standing(at(4))
    expected = at(answer["offset"], answer["epoch"])
    assert Resynced(position=expected, reason="unrecoverable") == one.take(answer)
    assert {"snapshot": True, "since": {"epoch": expected.epoch, "offset": expected.offset}} == (
        one.wish()
    )


def test_a_snapshot_that_was_cut_is_asked_for_again():
    """
    Until its last page has come; what comes with the answer is whole.
    """
    one = standing(wants_snapshot=True)
    assert {"snapshot": True} == one.wish()
    one.take(subscribed(4))
    page = {"type": "snapshot", "items": [1], "done": False}
    assert Snapshot(items=[1], is_last=False) == one.take(page)
    assert one.wish()["snapshot"]
    assert Snapshot(items=[1], is_last=True) == one.take({**page, "done": True})
    assert "snapshot" not in one.wish()
    other = standing(wants_snapshot=True)
    other.take(subscribed(4, payload={"a": 1}))
    assert "snapshot" not in other.wish()


def test_a_resync_moves_on():
    """
    With the reason and the present state; what comes next is counted from there.
    """
    one = standing()
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
def test_frames_without_sense_are_refused(frame):
    """
    What lacks a field, or has something else in it, is an error that shows the frame.
    """
    one = standing()
    one.take(subscribed(4))
    with pytest.raises(FrameError, match=r"Expected a frame of the protocol, got \{'type'"):
        one.take(frame)


def test_what_is_unknown_is_passed_over():
    """
    Types and fields of a later protocol say nothing to this client.
    """
    one = standing()
    assert Subscribed(position=at(4)) == one.take(subscribed(4, colour="red"))
    assert None is one.take({"type": "weather", "epoch": 5})


@given(st.lists(st.tuples(st.sampled_from("ef"), st.integers(1, 6), st.booleans())))
def test_law(steps):
    """
    Whatever comes in whatever order, what is let by are the offsets after a told position, each once.
    """
    one = standing()
    expected = None
    for epoch, offset, is_answer in steps:
        frame = subscribed(offset, epoch) if is_answer else notification(offset, epoch)
        try:
            word = one.take(frame)
        except FrameError:
            continue
        if isinstance(word, Notification):
            assert expected == word.position
        if word is not None:
            expected = at(word.position.offset + 1, word.position.epoch)
