"""What clients send is a valid command, or refused with a code and the reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime import commands, hashids
from apps.realtime.exceptions import CommandError

TICKET = hashids.encode("ticket", 7)


def parse(text):
    return commands.parse(commands.read(text))


def refusal(frame):
    with pytest.raises(CommandError) as caught:
        parse(frame if isinstance(frame, str) or frame is None else json.dumps(frame))
    return caught.value


class TestValid:
    def test_bare_subscribe(self):
        """
        A frame without an action subscribes.
        """
        command = parse(json.dumps({"object_type": "ticket", "id": TICKET}))
        assert ("subscribe", None) == (command.action, command.ref)
        assert {"object_type": "ticket", "id": TICKET, "snapshot": False, "pk": 7} == command.values

    @pytest.mark.parametrize("ref", [0, 7, -1, "", "a" * 64])
    @pytest.mark.parametrize("action", ["ping", "pong"])
    def test_ref_is_the_clients_own(self, action, ref):
        """
        Numbers and short strings name a command.
        """
        command = parse(json.dumps({"action": action, "ref": ref}))
        assert (action, ref, {}) == (command.action, command.ref, command.values)

    def test_collection(self):
        """
        A collection is named by its owner's id.
        """
        owner = hashids.encode("project", 3)
        command = parse(json.dumps({"object_type": "project.tickets", "id": owner}))
        assert 3 == command.values["pk"]


class TestMalformed:
    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "{",
            "[]",
            "7",
            "null",
            '"subscribe"',
            "NaN",
            '{"ref": NaN}',
            "[" * 9000,
            '{"ref": ' + "9" * 9000 + "}",
        ],
        ids=lambda text: str(text)[:12],
    )
    def test_is_not_a_json_object(self, text):
        """
        Binary, broken JSON and JSON that is no object are malformed.
        """
        assert "malformed" == refusal(text).code


class TestInvalid:
    @pytest.mark.parametrize(
        ("field", "frame"),
        [
            ("object_type", {"id": TICKET}),
            ("object_type", {"object_type": "ghost", "id": TICKET}),
            ("object_type", {"object_type": 7, "id": TICKET}),
            ("object_type", {"object_type": ["ticket"], "id": TICKET}),
            ("id", {"object_type": "ticket"}),
            ("id", {"object_type": "ticket", "id": None}),
            ("id", {"object_type": "ticket", "id": 7}),
            ("id", {"object_type": "ticket", "id": True}),
            ("id", {"object_type": "ticket", "id": ""}),
            ("id", {"object_type": "ticket", "id": "7"}),
            ("id", {"object_type": "ticket", "id": "a\x00b"}),
            ("id", {"object_type": "ticket", "id": "x" * 200}),
            ("id", {"object_type": "ticket", "id": "not a hashid"}),
            ("action", {"action": "dance"}),
            ("action", {"action": ["subscribe"]}),
            ("since", {"object_type": "ticket", "id": TICKET, "since": {}}),
            ("since", {"object_type": "ticket", "id": TICKET, "since": 7}),
            *(
                ("since", {"object_type": "ticket", "id": TICKET, "since": since})
                for since in (
                    {"epoch": "x"},
                    {"offset": 1},
                    {"epoch": "x", "offset": -1},
                    {"epoch": "x", "offset": True},
                    {"epoch": "x", "offset": "1"},
                    {"epoch": "x", "offset": 2**63},
                    {"epoch": 7, "offset": 1},
                    {"epoch": "x" * 65, "offset": 1},
                    {"epoch": "x", "offset": 1, "more": 1},
                )
            ),
            ("snapshot", {"object_type": "ticket", "id": TICKET, "snapshot": 1}),
            ("snapshot", {"object_type": "ticket", "id": TICKET, "snapshot": "true"}),
            ("subscriptions", {"subscriptions": []}),
            ("subscriptions", {"subscriptions": "all"}),
            ("object_type", {"subscriptions": [{}], "object_type": "ticket"}),
            ("subscriptions", {"action": "ping", "subscriptions": []}),
            ("ref", {"action": "ping", "ref": "a" * 65}),
            ("ref", {"action": "ping", "ref": True}),
            ("ref", {"action": "ping", "ref": 1.5}),
            ("ref", {"action": "ping", "ref": 2**63}),
            ("ref", {"action": "ping", "ref": {}}),
        ],
    )
    def test_names_the_field(self, field, frame):
        """
        What the serializer refuses is named, as DRF names it.
        """
        error = refusal(frame)
        assert "invalid" == error.code
        assert [field] == list(error.errors)

    @pytest.mark.parametrize("entry", [7, None, "x", [], True, 1.5])
    def test_says_what_an_entry_is(self, entry):
        """
        In the protocol's words, not in Python's.
        """
        (error,) = parse(json.dumps({"subscriptions": [entry]})).entries
        assert {"non_field_errors": ["Expected an object with object_type and id."]} == error.errors
        frame = {"object_type": "ticket", "id": TICKET, "since": entry}
        expected = ["Expected an object with epoch and offset."]
        assert {"since": {"non_field_errors": expected}} == refusal(frame).errors

    @pytest.mark.parametrize("entries", [7, None, "all", {}])
    def test_says_what_several_are(self, entries):
        """
        A list, of what a single command would have.
        """
        expected = ["Expected a list, each entry an object with object_type and id."]
        assert {"subscriptions": expected} == refusal({"subscriptions": entries}).errors

    def test_names_the_command(self):
        """
        A refusal says which command it refuses, if that can be said.
        """
        assert 7 == refusal({"ref": 7}).ref
        assert refusal({"ref": []}).ref is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["action", "ref", "object_type", "id", "since", "snapshot", "subscriptions", "x"]
)


@given(st.dictionaries(KEYS, VALUES) | VALUES | st.text())
def test_nothing_else_ever_comes_out(frame):
    """
    Any text is a command or a refusal with a documented code, and the refusal can be sent.
    """
    text = frame if isinstance(frame, str) else json.dumps(frame)
    try:
        parse(text)
    except CommandError as error:
        assert error.code in ("malformed", "invalid")
        json.dumps([error.ref, error.detail, error.errors]).encode()
