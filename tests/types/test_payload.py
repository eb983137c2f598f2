"""Payloads are plain JSON. Other values are refused by their path."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.exceptions import PayloadError
from pillarbox.types.payload import encode, plain

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
        JSON values stay unchanged, and Redis can carry them.
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
    def test_values_are_rendered_as_by_rest(self, expected, value):
        """
        Values are converted as DRF renders them.
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
    def test_unstorable_values_are_refused_by_name(self, field, value):
        """
        The error has the path of the refused value.
        """
        with pytest.raises(PayloadError) as caught:
            plain(value, "ticket")
        assert field == caught.value.field
        assert str(caught.value).startswith(f"{field}: expected ")


class TestEncode:
    @given(JSON)
    def test_encodes_like_plain(self, value):
        """
        The fast path and the slow path return the same text.
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
        Valid values that look suspect are accepted.
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
    def test_names_the_refused_value(self, value, problem):
        """
        The message has the path and the type of the refused value or key.
        """
        with pytest.raises(PayloadError, match=rf"ticket\.a\[1\]: .*{problem}"):
            encode({"a": [1, value]}, "ticket")
