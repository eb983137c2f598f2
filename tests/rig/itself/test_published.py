"""The checker finds each kind of error of what the channel layer took, and invents none."""

import pytest

from tests.rig.checker import judge
from tests.rig.history import Committed, Published


def changes(*contents, stream="a"):
    return [Committed(streams=(stream,), content=text, at=1.0) for text in contents]


def publications(*pairs, stream="a", at=1.5):
    return [Published(stream=stream, offset=n, content=text, at=at) for n, text in pairs]


def test_a_clean_history():
    """
    Each change once, in order, in two streams: there are no errors, and the slowest is known.
    """
    result = judge(
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
    The same content at the same offset, however late, is what at least once means.
    """
    result = judge([*changes("x", "y"), *publications((1, "x"), (2, "y"), (1, "x"))])
    assert ([], 1) == (result.errors, result.again)


def test_what_was_published_before_the_journal_is_not_missed():
    """
    The first offset of a journal need not be the stream's first.
    """
    assert [] == judge([*changes("x", "y"), *publications((4, "x"), (5, "y"))]).errors


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
    Planted errors are found, each as what it is.
    """
    assert errors == judge([*changes("x", "y"), *publications(*published)]).errors


def test_a_stream_without_changes():
    """
    Whatever is published there was never committed.
    """
    assert ["uncommitted: a has 'x'"] == judge(publications((1, "x"))).errors
