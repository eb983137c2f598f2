"""Of what one transaction wrote of one object, one row is numbered."""

import pytest

from apps.outbox.triggers.netting import Written, redundant


def rows(*verbs, images=(), **values):
    same = {
        "transaction": 5,
        "stream": "book:1",
        "object_type": "book",
        "object_id": "1",
        "is_everywhere": False,
        **values,
    }
    return [
        Written(pk=pk, verb=verb, has_image=pk in images, **same)
        for pk, verb in enumerate(verbs, 1)
    ]


@pytest.mark.parametrize(
    ("verbs", "kept"),
    [
        (["UPDATE"], {1}),
        (["UPDATE", "UPDATE"], {2}),
        (["UPDATE", "CREATE"], {2}),
        (["CREATE", "UPDATE"], {1}),
        (["UPDATE", "DELETE"], {2}),
        (["DELETE", "UPDATE"], {1}),
        (["UPDATE", "CREATE", "UPDATE", "DELETE"], set()),
        (["DELETE", "CREATE"], {2}),
        (["DELETE", "CREATE", "DELETE"], {3}),
    ],
)
def test_of_rows_without_image(verbs, kept):
    """
    A creation or a deletion says more than an update; nothing stays of what came and went.
    """
    assert kept == {*range(1, len(verbs) + 1)} - redundant(rows(*verbs))


def test_rows_with_an_image_are_kept():
    """
    Each of them shows another state.
    """
    assert {3} == redundant(rows("UPDATE", "UPDATE", "UPDATE", "UPDATE", images=(1, 2)))


@pytest.mark.parametrize(
    "other",
    [{"transaction": 6}, {"stream": "shelf.books:1"}, {"object_type": "item"}, {"object_id": "2"}],
)
def test_other_rows_are_kept(other):
    """
    Rows of another transaction, stream or object are no repetition.
    """
    assert set() == redundant([*rows("UPDATE"), *rows("UPDATE", **other)])
