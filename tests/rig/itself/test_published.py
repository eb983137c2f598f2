"""Tests of the checker: it finds each kind of error of publications, and no others."""

import pytest

from tests.rig.checker import check_history
from tests.rig.history import Committed, Followed, Published, Received


def changes(*contents, stream="a"):
    return [Committed(streams=(stream,), content=text, at=1.0) for text in contents]


def publications(*pairs, stream="a", at=1.5):
    return [Published(stream=stream, offset=n, content=text, at=at) for n, text in pairs]


def test_a_clean_history():
    """
    Two streams with each change published once, in order, have no errors. The longest lag is known.
    """
    result = check_history(
        [
            *changes("x", "y"),
            *changes("x", stream="b"),
            *publications((1, "x"), (2, "y")),
            *publications((1, "x"), stream="b", at=3.0),
        ]
    )
    assert ([], 3, 0, 2.0) == (
        result.errors,
        result.changes,
        result.again,
        result.worst_publication,
    )


def test_publishing_again_is_no_error():
    """
    Rows are published at least once: the same content may be published again at the same offset.
    """
    result = check_history([*changes("x", "y"), *publications((1, "x"), (2, "y"), (1, "x"))])
    assert ([], 1) == (result.errors, result.again)


def test_a_journal_may_begin_late():
    """
    The first offset of a journal need not be the stream's first.
    """
    assert [] == check_history([*changes("x", "y"), *publications((4, "x"), (5, "y"))]).errors


@pytest.mark.parametrize(
    ("errors", "published"),
    [
        (["lost: a lacks 'y'"], [(1, "x")]),
        (["lost: a never published 2"], [(1, "x"), (3, "y")]),
        (["uncommitted: a has 'no'"], [(1, "x"), (2, "no"), (3, "y")]),
        (["reordered: a published 1 after 2"], [(2, "y"), (1, "x")]),
        (["reordered: a has its contents in another order"], [(1, "y"), (2, "x")]),
        (["contradicted: a has two contents at 2"], [(1, "x"), (2, "y"), (2, "z")]),
    ],
    ids=["the last", "a hole", "rolled back", "late", "swapped", "two contents"],
)
def test_each_error_is_found(errors, published):
    """
    Each planted error is found as its kind.
    """
    assert errors == check_history([*changes("x", "y"), *publications(*published)]).errors


@pytest.mark.parametrize(
    ("errors", "published"),
    [
        ([], [(1, None), (2, "y"), (3, "z")]),
        ([], [(1, "x"), (2, None), (3, None)]),
        (["a lacks 'y'"], [(1, "x"), (2, "z"), (3, None)]),
        (["a lacks 'z'"], [(1, None), (2, None)]),
    ],
    ids=["the first", "the last two", "in another place", "too few"],
)
def test_an_obsolete_row_stands_for_the_change_in_its_place(errors, published):
    """
    An obsolete row is counted, and excuses the one missing change in its place.
    """
    result = check_history([*changes("x", "y", "z"), *publications(*published)])
    assert errors == [error.removeprefix("lost: ") for error in result.errors]
    assert [content for _, content in published].count(None) == result.obsolete


def test_clients_need_not_see_obsolete_changes():
    """
    A client must be shown the changes before and after an obsolete one.
    """
    published = publications((1, "x"), (2, None), (3, "z"))
    follows = Followed(client="kim", stream="a", at=0.0)
    shown = [Received(client="kim", stream="a", content="x", at=2.0)]
    result = check_history([follows, *changes("x", "y", "z"), *published, *shown])
    assert ["lost: kim, a: z"] == result.errors


def test_a_stream_without_committed_changes():
    """
    Publications on a stream without changes are uncommitted.
    """
    assert ["uncommitted: a has 'x'"] == check_history(publications((1, "x"))).errors
