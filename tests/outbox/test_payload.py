"""Payloads are plain JSON, or refused with the field's name."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.outbox.exceptions import PayloadError
from apps.outbox.payload import encode, plain, storable

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\x00")), inner)
    ),
    max_leaves=20,
)


class TestPlain:
    @given(JSON)
    def test_json_stays_as_it_is(self, value):
        """
        What is JSON already comes out equal, and Redis can carry it.
        """
        assert value == plain(value, "ticket")
        msgpack.unpackb(msgpack.packb(plain(value, "ticket")), strict_map_key=True)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("2026-11-22T10:00:00.123456Z", dt.datetime(2026, 11, 22, 10, 0, 0, 123456, dt.UTC)),
            ("2026-11-22", dt.date(2026, 11, 22)),
            (1.5, Decimal("1.50")),
            ("00000000-0000-0000-0000-000000000007", uuid.UUID(int=7)),
            ([1, 2], (1, 2)),
            ({"2": "int", "true": "bool", "null": "None"}, {2: "int", True: "bool", None: "None"}),
        ],
    )
    def test_values_become_what_rest_shows(self, expected, value):
        """
        Values that DRF renders come out as DRF renders them.
        """
        assert {"x": expected} == plain({"x": value}, "ticket")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("ticket.title", {"title": "a\x00b"}),
            ("ticket.title", {"title": "\ud800"}),
            ("ticket.tags[1]", {"tags": ["a", "\x00"]}),
            ("ticket.cost", {"cost": float("nan")}),
            ("ticket.cost", {"cost": float("-inf")}),
            ("ticket.count", {"count": 2**63}),
            ("ticket.count", {"count": -(2**63) - 1}),
            ("ticket", {(1, 2): "one"}),
            ("ticket", {"a\x00": "one"}),
            ("ticket.who", {"who": object()}),
        ],
    )
    def test_what_cannot_be_stored_or_sent_is_refused_by_name(self, field, value):
        """
        The error names the field.
        """
        with pytest.raises(PayloadError) as caught:
            plain(value, "ticket")
        assert field == caught.value.field
        assert str(caught.value).startswith(f"{field}: expected ")


class TestStorable:
    @pytest.mark.parametrize("value", [object(), {1: {object()}}, [object()], None, True])
    def test_other_types_are_the_fields_own_affair(self, value):
        """
        A value that is of no JSON type is left to the model's field.
        """
        storable(value, "ticket.extra")

    def test_json_may_hold_longer_integers(self):
        """
        PostgreSQL stores them; whether they can be sent is the affair of a payload that shows them.
        """
        storable({"a": [2**64], "b": 2**64}, "ticket.extra")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("ticket.extra", "\x00"),
            ("ticket.extra.a[1]", {"a": [object(), "\ud800"]}),
            ("ticket.extra", float("nan")),
            ("ticket.extra[0]", ("a\x00",)),
            ("ticket.extra", 2**64),
        ],
    )
    def test_text_and_numbers_are_checked(self, field, value):
        """
        What PostgreSQL can't store is found however deep it is.
        """
        with pytest.raises(PayloadError) as caught:
            storable(value, "ticket.extra")
        assert field == caught.value.field


class TestEncode:
    @given(JSON)
    def test_says_what_plain_makes_of_a_value(self, value):
        """
        The short way and the long way lead to the same text.
        """
        assert plain(value, "ticket") == json.loads(encode(value, "ticket"))

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ({"1": [2], "null": None, "false": 1}, {1: (2,), None: None, False: 1}),
            ({"at": "2026-11-22"}, {"at": dt.date(2026, 11, 22)}),
            ({"a": "\\u0000 🎉"}, {"a": "\\u0000 🎉"}),
            ({"a": 2**63 - 1}, {"a": 2**63 - 1}),
        ],
        ids=["keys", "date", "escapes", "long"],
    )
    def test_of_sound_values(self, expected, value):
        """
        What looks like a danger and is none, passes.
        """
        assert expected == json.loads(encode(value, "ticket"))

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ("a\x00", "got a str"),
            ("\ud800", "lone surrogate"),
            (2**63, "longer int"),
            (float("nan"), "float nan"),
            (object(), "got object"),
        ],
        ids=["NUL", "surrogate", "integer", "NaN", "object"],
    )
    def test_names_what_it_refuses(self, value, problem):
        """
        The field's path and the value's type are in the message, also of a key.
        """
        with pytest.raises(PayloadError, match=rf"ticket\.a\[1\]: .*{problem}"):
            encode({"a": [1, value]}, "ticket")
