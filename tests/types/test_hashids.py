"""Public ids: opaque, unique for each object, and valid for one type only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.types import hashids
from pillarbox.types.hashids import decode, encode

TYPES = st.sampled_from(["ticket", "project", "user"])


@given(TYPES, st.integers(0, 2**63 - 1))
def test_decoding_undoes_encoding(object_type, pk):
    """
    An encoded key decodes to itself. The id has at least five letters and digits.
    """
    hashid = encode(object_type, pk)
    assert pk == decode(object_type, hashid)
    assert len(hashid) >= 5
    assert hashid.isalnum()


@given(TYPES, st.uuids())
def test_decoding_undoes_encoding_of_a_uuid(object_type, pk):
    """
    A UUID has a public id that no integer has.
    """
    hashid = encode(object_type, pk)
    assert pk == decode(object_type, hashid)
    assert hashid.isalnum()


@given(TYPES, st.lists(st.integers(0, 2**63 - 1), max_size=4).filter(lambda n: len(n) != 1))
def test_other_numbers_are_nothing_or_a_uuid(object_type, numbers):
    """
    A hashid of several numbers decodes to a UUID or to None.
    """
    text = hashids._codec(object_type).encode(numbers)
    pk = decode(object_type, text)
    assert pk is None or text == encode(object_type, pk)


@given(TYPES, st.text(max_size=40))
def test_any_text_is_an_encoded_key_or_none(object_type, text):
    """
    Text decodes only if it is exactly what encoding returns.
    """
    pk = decode(object_type, text)
    assert pk is None or text == encode(object_type, pk)


def test_types_have_ids_of_their_own():
    """
    The same number has different ids for different types.
    """
    assert 3 == len({encode(kind, 7) for kind in ("ticket", "project", "user")})


def test_ids_do_not_change():
    """
    Clients store ids, so these are the same in every process and version.
    """
    assert ["4xd1w", "CE0zw"] == [encode("ticket", 1), encode("project", 1)]


def test_salt_changes_them(settings):
    """
    With another salt a site has other ids.
    """
    before = encode("ticket", 1)
    settings.PILLARBOX = {"HASHID_SALT": "ours", "HASHID_LENGTH": 9}
    assert before != encode("ticket", 1)
    assert 9 == len(encode("ticket", 1))


@pytest.mark.parametrize("text", ["", "4xd1w4xd1w", "4XD1W", "4xd1w ", "\x00", "é"])
def test_near_misses(text):
    """
    An id in another case, with a blank or repeated, is not valid.
    """
    assert 1 != decode("ticket", text)
