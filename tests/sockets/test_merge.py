"""Tests of live notifications merged with catch-up: offsets are sent without holes or repeats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.sockets.subscriptions.catch_up import Entry, Page
from pillarbox.sockets.subscriptions.subscription import Action, Barrier, Subscription
from pillarbox.stream.commit_snapshots import CommitSnapshot
from pillarbox.stream.history import Position

HEAD = 12
EPOCH, OTHER = "one", "two"

#: Events of a socket: an envelope arrives, which is complete, without a frame, or of another epoch; or a page
#: is read when the stream has a certain head.
offsets = st.integers(1, HEAD)
events = st.lists(
    st.one_of(
        st.tuples(st.just("live"), offsets),
        st.tuples(st.just("hint"), offsets),
        st.tuples(st.just("foreign"), offsets),
        st.tuples(st.just("page"), offsets),
    ),
    max_size=40,
)


def entry_at(offset, **values):
    known = {"frame": "{}", "ends": False, "is_move": False, "stamp": 0}
    return Entry(**{"offset": offset, "transaction": 1, "created_at": "", **known, **values})


def at(offset, **values):
    """Return a subscription at an offset."""
    return Subscription(object_type="ticket", id="x", pk=1, epoch=EPOCH, offset=offset, **values)


class Reader:
    """A reader that applies actions and pages as a socket does, and records what it would send."""

    def __init__(self, history, start):
        self.history = history
        self.subscription = at(start)
        self.sent = []
        self.lost = []
        self.is_behind = False

    def receive(self, epoch, offset, *, is_complete):
        action = self.subscription.action_for(epoch, offset, is_complete=is_complete)
        if action is Action.FORWARD:
            self.forward(offset)
        elif action is Action.CATCH_UP:
            self.is_behind = True

    def forward(self, offset):
        self.sent.append(offset)
        self.subscription.offset = offset

    def read(self, head, limit):
        after = self.subscription.offset
        rows = [offset for offset in self.history if after < offset <= head][:limit]
        entries = list(map(entry_at, rows))
        page = Page(head=Position(epoch=EPOCH, offset=head), entries=entries, waits=False)
        following, lost = page.after(self.subscription)
        for entry in following:
            self.forward(entry.offset)
        if lost:
            self.lost.append((lost, self.subscription.offset, head))
            self.subscription.offset = head
            self.sent.append(None)
        self.is_behind = self.subscription.offset < head


@given(events, st.sets(offsets, max_size=3), st.integers(0, HEAD), st.integers(1, 5), st.booleans())
def test_offsets_are_contiguous_or_a_resync_says_otherwise(
    happened, pruned, start, limit, is_pruned
):
    """
    With loss, repetition, reordering, hints and pruned rows, the next offset is sent, or a resync.
    """
    pruned = pruned if is_pruned else set()
    reader = Reader([offset for offset in range(1, HEAD + 1) if offset not in pruned], start)
    for kind, offset in happened:
        if kind == "page":
            reader.read(max(offset, reader.subscription.offset), limit)
        else:
            epoch = OTHER if kind == "foreign" else EPOCH
            reader.receive(epoch, offset, is_complete=kind == "live")
    reader.is_behind = True  # as a position check would
    while reader.is_behind:
        reader.read(HEAD, limit)

    expected, resyncs = start, iter(reader.lost)
    for offset in reader.sent:
        if offset is None:
            reason, stood, expected = next(resyncs)
            assert "pruned" == reason
            assert stood + 1 in pruned
        else:
            assert expected + 1 == offset
            expected = offset
    assert HEAD == reader.subscription.offset
    assert is_pruned or not reader.lost


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=5), st.booleans())
def test_nothing_is_sent_across_a_move(after, moves, waits):
    """
    Entries before the move are sent; the move and later entries are not.
    """
    entries = [entry_at(after + place, is_move=is_move) for place, is_move in enumerate(moves, 1)]
    head = Position(epoch=EPOCH, offset=after + len(moves))
    page = Page(head=head, entries=entries, waits=waits)
    following, lost = page.after(at(after))
    until = moves.index(True) if True in moves else len(moves)
    assert entries[:until] == following
    assert ("moved" if True in moves else None) == lost


@pytest.mark.parametrize(
    ("hidden", "values"),
    [
        (True, {"transaction": 9}),
        (True, {"transaction": 10}),
        (True, {"transaction": 14}),
        (False, {"transaction": 12}),
        (False, {"transaction": 15}),
        (False, {"transaction": 9, "stamp": 2}),
        (False, {"transaction": 9, "ends": True}),
        (True, {"transaction": None, "created_at": "2026-11-27T10:00:00.000Z"}),
        (False, {"transaction": None, "created_at": "2026-11-27T10:00:00.001Z"}),
    ],
)
def test_nothing_is_sent_that_a_barrier_hides(hidden, values):
    """
    Rows committed between the end of a right and the access check are hidden.
    """
    until = CommitSnapshot(text="10:15:11,12", at="2026-11-27T10:00:00.000Z")
    barrier = Barrier(since=3, until=until)
    entries = [
        entry_at(1, transaction=20),
        entry_at(2, **{"stamp": 3, **values}),
        entry_at(3, transaction=20),
    ]
    page = Page(head=Position(epoch=EPOCH, offset=3), entries=entries, waits=False)
    following, lost = page.after(at(0, barrier=barrier))
    assert ((1, "rights") if hidden else (3, None)) == (len(following), lost)


def test_a_barrier_is_raised_for_affected_subscriptions():
    """
    A later barrier also hides all that the earlier one did.
    """
    first, second = (CommitSnapshot(text=f"{xid}:{xid}:", at="") for xid in (10, 20))
    subscription = at(0)
    subscription.raise_barrier(first)
    assert subscription.barrier is None
    for since, until in ((5, first), (7, second)):
        subscription.affected_since = since
        subscription.raise_barrier(until)
    assert (Barrier(since=5, until=second), 0) == (
        subscription.barrier,
        subscription.affected_since,
    )


def test_a_row_that_must_wait_is_no_hole():
    """
    Nothing is sent, and continuity is not lost.
    """
    page = Page(head=Position(epoch=EPOCH, offset=5), entries=[], waits=True)
    assert ([], None) == page.after(at(4))


def test_another_epoch_is_no_continuation():
    """
    Whatever the offsets are.
    """
    page = Page(head=Position(epoch=OTHER, offset=5), entries=[], waits=False)
    assert ([], "epoch") == page.after(at(5))


class TestLags:
    """Tests of which subscriptions a position check has catch up."""

    @staticmethod
    def lags(offset, now, before):
        subscription = Subscription(object_type="ticket", id="x", pk=1, epoch=EPOCH, offset=offset)
        return subscription.lags(now, before)

    def test_rows_up_to_the_head_of_the_last_check_should_have_arrived(self):
        """
        Later rows may still be on their way.
        """
        now, before = (Position(epoch=EPOCH, offset=offset) for offset in (7, 5))
        assert [True, False, False] == [self.lags(offset, now, before) for offset in (4, 5, 7)]

    def test_at_the_first_check_nothing_lags(self):
        """
        One check can't tell a late message from a lost one.
        """
        assert not self.lags(4, Position(epoch=EPOCH, offset=7), None)

    def test_another_epoch_or_none_lags(self):
        """
        A stream that was restored, or is missing, must be read again.
        """
        other = Position(epoch=OTHER, offset=4)
        assert self.lags(4, other, other)
        assert self.lags(4, None, None)

    def test_a_head_of_another_epoch_is_ignored(self):
        """
        After a resync offsets have another meaning.
        """
        now, before = Position(epoch=EPOCH, offset=4), Position(epoch=OTHER, offset=9)
        assert not self.lags(4, now, before)
