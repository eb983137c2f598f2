"""The checker finds each kind of error, and invents none."""

import pytest

from .history import Change, Publication, judge, read_changes, read_publications


def changes(*contents, stream="a", **values):
    return [Change(stream=stream, content=text, at=1.0, **values) for text in contents]


def publications(*pairs, stream="a", at=1.5):
    return [Publication(stream=stream, offset=n, content=text, at=at) for n, text in pairs]


def test_a_clean_history():
    """
    Each change once, in order, in two streams: nothing to say but the lag.
    """
    verdict = judge(
        [*changes("x", "y"), *changes("x", stream="b")],
        [*publications((1, "x"), (2, "y")), *publications((1, "x"), stream="b", at=3.0)],
    )
    assert (True, 3, 0, 2.0) == (
        verdict.is_clean,
        verdict.changes,
        verdict.again,
        verdict.worst_lag,
    )


def test_publishing_again_is_no_error():
    """
    The same content at the same offset, however late, is what at least once means.
    """
    verdict = judge(changes("x", "y"), publications((1, "x"), (2, "y"), (1, "x")))
    assert (True, 1) == (verdict.is_clean, verdict.again)


def test_what_may_have_happened_may_be_missing_or_there():
    """
    A commit that failed, perhaps only on its way back, is accepted both ways.
    """
    committed = [*changes("x"), *changes("y", is_certain=False), *changes("z")]
    assert judge(committed, publications((1, "x"), (2, "z"))).is_clean
    assert judge(committed, publications((1, "x"), (2, "y"), (3, "z"))).is_clean


@pytest.mark.parametrize(
    ("error", "published"),
    [
        ("lost", [(1, "x")]),
        ("lost", [(1, "x"), (3, "y")]),
        ("foreign", [(1, "x"), (2, "rolled back"), (3, "y")]),
        ("reordered", [(2, "y"), (1, "x")]),
        ("reordered", [(1, "y"), (2, "x")]),
        ("contradicted", [(1, "x"), (2, "y"), (2, "z")]),
    ],
    ids=["the last", "a hole", "foreign", "late", "swapped", "two contents"],
)
def test_each_error_is_found(error, published):
    """
    Planted errors are found, each as what it is.
    """
    verdict = judge(changes("x", "y"), publications(*published))
    assert not verdict.is_clean
    assert getattr(verdict, error)


def test_streams_nobody_wrote_are_foreign():
    """
    What is published without a change is an error, too.
    """
    assert judge([], publications((1, "x"))).foreign


def test_a_line_that_was_not_ended_was_not_taken(tmp_path):
    """
    A process that is killed while it writes leaves half a line.
    """
    (tmp_path / "journal").write_text(
        '{"stream": "a", "offset": 1, "content": "x", "at": 1}\n{"str'
    )
    assert publications((1, "x"), at=1) == read_publications(tmp_path / "journal")
    assert [] == read_changes(tmp_path / "record")
