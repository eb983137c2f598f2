"""Tests of commands: each frame is a valid command, or is refused with a code and the reason."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.exceptions import ClientCommandError
from pillarbox.sockets.commands import parsing as commands
from pillarbox.types import hashids

TICKET = hashids.encode("ticket", 7)


def parse(text):
    return asyncio.run(commands.parse(commands.read(text)))


def refusal(frame):
    with pytest.raises(ClientCommandError) as caught:
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
        A client may refer to a command by a number or a short string.
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
        Binary frames, broken JSON, and JSON that isn't an object are malformed.
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
        Each invalid field is named, as DRF does.
        """
        error = refusal(frame)
        assert "invalid" == error.code
        assert [field] == list(error.errors)

    @pytest.mark.parametrize("entry", [7, None, "x", [], True, 1.5])
    def test_describes_an_entry(self, entry):
        """
        The description is in the protocol's terms, not in Python's.
        """
        (error,) = parse(json.dumps({"subscriptions": [entry]})).entries
        assert {"non_field_errors": ["Expected an object with object_type and id."]} == error.errors
        frame = {"object_type": "ticket", "id": TICKET, "since": entry}
        expected = ["Expected an object with epoch and offset."]
        assert {"since": {"non_field_errors": expected}} == refusal(frame).errors

    @pytest.mark.parametrize("entries", [7, None, "all", {}])
    def test_describes_a_list_of_entries(self, entries):
        """
        The description names the list, and the fields of an entry.
        """
        expected = ["Expected a list, each entry an object with object_type and id."]
        assert {"subscriptions": expected} == refusal({"subscriptions": entries}).errors

    def test_names_some_of_many_unknown_fields(self):
        """
        The answer to a thousand unknown fields is not a thousand errors.
        """
        unknown = {str(number): number for number in range(1000)}
        frame = {"object_type": "ticket", "id": TICKET}
        errors = refusal({**frame, **unknown}).errors
        assert {key: ["Unknown field."] for key in sorted(unknown)[:10]} == errors
        assert 10 == len(refusal({**frame, "since": unknown}).errors["since"])

    def test_names_the_command(self):
        """
        A refusal has the command's ref, if the ref is valid.
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
def test_any_text_is_a_command_or_a_refusal(frame):
    """
    A refusal has a documented code, and can be sent.
    """
    text = frame if isinstance(frame, str) else json.dumps(frame)
    try:
        parse(text)
    except ClientCommandError as error:
        assert error.code in ("malformed", "invalid")
        json.dumps([error.ref, error.detail, error.errors]).encode()
