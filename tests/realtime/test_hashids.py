"""Public ids: opaque, of one type, and one for each object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime import hashids
from apps.realtime.hashids import decode, encode

TYPES = st.sampled_from(["ticket", "project", "user"])


@given(TYPES, st.integers(0, 2**63 - 1))
def test_comes_back(object_type, pk):
    """
    What was encoded decodes to the same, and is at least five letters and digits.
    """
    hashid = encode(object_type, pk)
    assert pk == decode(object_type, hashid)
    assert len(hashid) >= 5
    assert hashid.isalnum()


@given(TYPES, st.uuids())
def test_a_uuid_comes_back(object_type, pk):
    """
    A UUID has a public id, too, and no integer has the same.
    """
    hashid = encode(object_type, pk)
    assert pk == decode(object_type, hashid)
    assert hashid.isalnum()


@given(TYPES, st.lists(st.integers(0, 2**63 - 1), max_size=4).filter(lambda n: len(n) != 1))
def test_other_numbers_are_nothing_or_a_uuid(object_type, numbers):
    """
    A hashid of several numbers is that of a UUID, or of nothing.
    """
    text = hashids._codec(object_type).encode(numbers)
    pk = decode(object_type, text)
    assert pk is None or text == encode(object_type, pk)


@given(TYPES, st.text(max_size=40))
def test_junk_is_nothing_or_comes_back(object_type, text):
    """
    Text decodes only if it is exactly what encoding gives.
    """
    pk = decode(object_type, text)
    assert pk is None or text == encode(object_type, pk)


def test_types_have_ids_of_their_own():
    """
    One number's ids differ by type: an id says nothing about objects of another type.
    """
    assert 3 == len({encode(kind, 7) for kind in ("ticket", "project", "user")})


def test_ids_do_not_change():
    """
    Ids are stored by clients: they are the same in every process and version.
    """
    assert ["4xd1w", "CE0zw"] == [encode("ticket", 1), encode("project", 1)]


def test_salt_changes_them(settings):
    """
    A site may have ids that nobody else can decode.
    """
    before = encode("ticket", 1)
    settings.REALTIME = {"HASHID_SALT": "ours", "HASHID_LENGTH": 9}
    assert before != encode("ticket", 1)
    assert 9 == len(encode("ticket", 1))


@pytest.mark.parametrize("text", ["", "4xd1w4xd1w", "4XD1W", "4xd1w ", "\x00", "é"])
def test_near_misses(text):
    """
    An id with another case, a blank or a repetition is none.
    """
    assert 1 != decode("ticket", text)
