"""
Netting: of the rows of one transaction about one object, only those that say something new are numbered.
"""

import pytest

from pillarbox.stream.rendering.batches.netting import Written, net


def rows(*verbs, images=(), **values):
    same = {
        "transaction": 5,
        "stream": "book:1",
        "object_type": "book",
        "object_id": "1",
        "lookup": "",
        "is_everywhere": False,
        "is_move": False,
        "left_streams": (),
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
        (["DELETE", "CREATE"], {1, 2}),
        (["DELETE", "CREATE", "DELETE"], {3}),
    ],
)
def test_of_rows_without_image(verbs, kept):
    """
    A creation or a deletion replaces updates. No row of an object that came and went stays.
    """
    assert kept == {*range(1, len(verbs) + 1)} - net(rows(*verbs)).redundant


def test_rows_with_an_image_are_kept():
    """
    Each row with an image shows another state.
    """
    assert {3} == net(rows("UPDATE", "UPDATE", "UPDATE", "UPDATE", images=(1, 2))).redundant


def test_rows_before_an_image_are_kept():
    """
    If an object was deleted, created and deleted again, rows before one with an image stay.
    """
    assert set() == net(rows("DELETE", "CREATE", "DELETE", images=(2,))).redundant


@pytest.mark.parametrize(
    "other",
    [
        {"transaction": 6},
        {"stream": "shelf.books:1"},
        {"object_type": "item"},
        {"object_id": "2"},
        {"lookup": "code"},
    ],
)
def test_other_rows_are_kept(other):
    """
    Rows of another transaction, stream or object are no repetition.
    """
    assert set() == net([*rows("UPDATE"), *rows("UPDATE", **other)]).redundant
