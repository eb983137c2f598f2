"""Catch-up and live, merged: whatever arrives in whatever order, what is sent has no hole and no repeat."""

from hypothesis import given
from hypothesis import strategies as st

from apps.outbox.history import Position
from apps.realtime.catch_up import Entry, Page
from apps.realtime.subscriptions import Subscription, Verdict

HEAD = 12
EPOCH, OTHER = "one", "two"

#: What happens to a socket: an envelope arrives (of an offset, or too large, or of another epoch), or a
#: page is read when the stream has so many rows.
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


class Reader:
    """Does with verdicts and pages what a socket does, and notes what it sends."""

    def __init__(self, history, start):
        self.history = history
        self.subscription = Subscription(
            object_type="ticket", id="x", pk=1, epoch=EPOCH, offset=start
        )
        self.sent = []
        self.lost = []
        self.is_behind = False

    def hear(self, epoch, offset, *, is_complete):
        verdict = self.subscription.judge(epoch, offset, is_complete=is_complete)
        if verdict is Verdict.FORWARD:
            self.forward(offset)
        elif verdict is Verdict.CATCH_UP:
            self.is_behind = True

    def forward(self, offset):
        self.sent.append(offset)
        self.subscription.offset = offset

    def read(self, head, limit):
        after = self.subscription.offset
        rows = [offset for offset in self.history if after < offset <= head][:limit]
        entries = [Entry(offset=row, frame="{}", ends=False, is_move=False) for row in rows]
        page = Page(head=Position(epoch=EPOCH, offset=head), entries=entries, waits=False)
        following, lost = page.after(self.subscription.position)
        for entry in following:
            self.forward(entry.offset)
        if lost:
            self.lost.append((lost, self.subscription.offset, head))
            self.subscription.offset = head
            self.sent.append(None)
        self.is_behind = self.subscription.offset < head


@given(events, st.sets(offsets, max_size=3), st.integers(0, HEAD), st.integers(1, 5), st.booleans())
def test_contiguous_or_an_explicit_verdict(happened, pruned, start, limit, is_pruned):
    """
    With loss, repetition, reordering, hints, and rows that are pruned: the next offset, or a word of it.
    """
    pruned = pruned if is_pruned else set()
    reader = Reader([offset for offset in range(1, HEAD + 1) if offset not in pruned], start)
    for kind, offset in happened:
        if kind == "page":
            reader.read(max(offset, reader.subscription.offset), limit)
        else:
            epoch = OTHER if kind == "foreign" else EPOCH
            reader.hear(epoch, offset, is_complete=kind == "live")
    reader.is_behind = True  # the position check sees to it
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
    What came before the move is; the move itself, and what follows it, is not.
    """
    entries = [
        Entry(offset=after + place, frame="{}", ends=False, is_move=is_move)
        for place, is_move in enumerate(moves, 1)
    ]
    head = Position(epoch=EPOCH, offset=after + len(moves))
    page = Page(head=head, entries=entries, waits=waits)
    following, lost = page.after(Position(epoch=EPOCH, offset=after))
    until = moves.index(True) if True in moves else len(moves)
    assert entries[:until] == following
    assert ("moved" if True in moves else "") == lost


def test_a_row_that_must_wait_is_no_hole():
    """
    Nothing is sent, and nothing said to be lost.
    """
    page = Page(head=Position(epoch=EPOCH, offset=5), entries=[], waits=True)
    assert ([], "") == page.after(Position(epoch=EPOCH, offset=4))


def test_another_epoch_is_no_continuation():
    """
    Whatever the offsets are.
    """
    page = Page(head=Position(epoch=OTHER, offset=5), entries=[], waits=False)
    assert ([], "epoch") == page.after(Position(epoch=EPOCH, offset=5))


class TestLags:
    """Which subscriptions the position check has catch up."""

    @staticmethod
    def lags(offset, now, before):
        subscription = Subscription(object_type="ticket", id="x", pk=1, epoch=EPOCH, offset=offset)
        return subscription.lags(now, before)

    def test_what_was_there_at_the_last_look_should_have_arrived(self):
        """
        What came since may be on its way.
        """
        now, before = (Position(epoch=EPOCH, offset=offset) for offset in (7, 5))
        assert [True, False, False] == [self.lags(offset, now, before) for offset in (4, 5, 7)]

    def test_at_the_first_look_nothing_is_late(self):
        """
        One look can't tell late from lost.
        """
        assert not self.lags(4, Position(epoch=EPOCH, offset=7), None)

    def test_another_epoch_or_none_is_news(self):
        """
        A stream that was restored, or is no more, has to be read anew.
        """
        other = Position(epoch=OTHER, offset=4)
        assert self.lags(4, other, other)
        assert self.lags(4, None, None)

    def test_what_was_seen_in_another_epoch_says_nothing(self):
        """
        After a resync the numbers begin anew.
        """
        now, before = Position(epoch=EPOCH, offset=4), Position(epoch=OTHER, offset=9)
        assert not self.lags(4, now, before)
