"""Tests with random frames to a real Daphne: each command has an answer, or a documented close code."""

import json
from contextlib import ExitStack, suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from tests.bare_sockets import BareSocket
from tests.communicators import collection, subject
from tests.processes import Site
from tests.protocol import Protocol

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

LARGEST = 4000
ACTIONS = ["subscribe", "unsubscribe", "ping", "pong"]
KEYS = ["action", "ref", "object_type", "id", "since", "snapshot", "subscriptions"]
#: The types of frames that answer a command. Others come unasked, or after an answer.
ANSWERS = {"subscribed", "unsubscribed", "error", "pong"}
#: The answer to each command that isn't refused.
GRANTED = {"subscribe": "subscribed", "unsubscribe": "unsubscribed", "ping": "pong"}

LAW = settings(
    max_examples=300,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TEXT = st.text(max_size=12) | st.sampled_from(["\ud800", "a\x00b", "", "x" * 64, "ü" * 65])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63 - 1, 2**63, -(2**63), 10**400])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
REFS = st.integers(-(2**63), 2**63) | TEXT | VALUES


def objects(values, max_size):
    """Draw JSON objects as text, with the protocol's keys and others. A key may occur twice."""
    pairs = st.one_of(
        *(st.tuples(st.just(key), values.get(key, VALUES)) for key in KEYS),
        st.tuples(st.sampled_from(KEYS) | TEXT, VALUES),
    )
    return st.lists(pairs, max_size=max_size).map(_written)


def _written(pairs):
    members = (f"{json.dumps(key)}:{_json(value)}" for key, value in pairs)
    return Raw(f"{{{','.join(members)}}}")


class Raw(str):
    """JSON text, which is written as it is."""


def _json(value):
    if isinstance(value, Raw):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(_json, value))}]"
    return json.dumps(value)


def commands(subjects):
    """Draw commands that are valid or nearly so."""
    subject = st.sampled_from(subjects)
    since = objects({}, 2) | st.builds(
        lambda epoch, offset: {"epoch": epoch, "offset": offset}, TEXT, st.integers(-1, 9)
    )
    entry = st.builds(
        lambda subject, more: subject | more,
        subject,
        st.fixed_dictionaries({}, optional={"since": since, "snapshot": st.booleans()}),
    )
    right = st.builds(
        lambda command, ref: _written([*command.items(), *ref]),
        st.one_of(
            entry,
            subject.map(lambda it: {"action": "unsubscribe", **it}),
            st.sampled_from(ACTIONS).map(lambda action: {"action": action}),
            st.lists(entry.map(lambda it: _written(it.items())) | VALUES, max_size=5).map(
                lambda entries: {"subscriptions": entries}
            ),
        ),
        st.lists(st.tuples(st.just("ref"), REFS), max_size=2),
    )
    values = {
        "action": st.sampled_from(ACTIONS) | VALUES,
        "ref": REFS,
        "object_type": st.sampled_from([it["object_type"] for it in subjects]) | VALUES,
        "id": st.sampled_from([it["id"] for it in subjects]) | VALUES,
        "since": since | VALUES,
    }
    return right | objects(values, 4)


def texts(subjects):
    """Draw text frames as bytes: commands, other JSON, nearly JSON, and invalid UTF-8."""
    odd = st.sampled_from(
        [
            "[" * 2000,
            '{"a":' * 700,
            "[" * 500 + "]" * 500,
            '{"action":"ping","ref":' + "[" * 300 + "]" * 300 + "}",
            '{"action":"ping","ref":1e999}',
            '{"action":"ping","ref":-0}',
            '{"action":"ping","ref":1.0}',
            '{"action":"ping","ref":NaN}',
            '{"action":"ping","ref":' + "9" * 3000 + "}",
            '{"action":"ping","ref":"\\ud800"}',
            '\ufeff{"action":"ping"}',
            '{"action":"ping"} {"action":"ping"}',
            '{"action":"pong","ref":null}',
            "\x00",
            " " * LARGEST,
            "x" * (LARGEST + 1),
            '{"subscriptions":[' + ",".join("{}" for _ in range(1000)) + "]}",
        ]
    )
    text = st.one_of(commands(subjects), VALUES.map(_json), odd, st.text(max_size=30))
    encoded = text.map(lambda it: it.encode("utf-8", "surrogatepass"))
    return encoded | st.builds(
        lambda raw, cut, rest: raw[:cut] + rest, encoded, st.integers(0, 60), st.binary(max_size=4)
    )


class Fuzzed(BareSocket):
    """A client that sends any message, in any fragments."""

    def __init__(self, port, headers):
        super().__init__(port, "/ws/notifications/", **headers)

    def begin(self, protocol):
        """Receive the hello. All received frames are checked against a protocol."""
        self.documented, self.sent_count, self.message = protocol, 0, b""
        #: Whether all messages are answered, and all answers checked.
        self.is_settled = True
        assert "hello" == next(self.received())["type"]

    def received(self):
        """Yield the server's text frames, and answer its control frames."""
        for frame in self.frames():
            if frame.opcode is Opcode.TEXT:
                yield self.documented.check_frame(frame.data.decode(), self.message)
            else:
                with suppress(ConnectionError):  # the server has closed the socket
                    self.send_answers()

    def send(self, opcode, pieces):
        """Send a message in fragments, with pings in between."""
        self.message, self.is_settled = b"".join(pieces), False
        with suppress(ConnectionError):  # the server may have closed the socket meanwhile
            first, *more = pieces
            send = self.protocol.send_text if opcode is Opcode.TEXT else self.protocol.send_binary
            send(first, fin=not more)
            while more:
                self.protocol.send_ping(b"between")
                self.protocol.send_continuation(more.pop(0), fin=not more)
            self.send_answers()

    def answers(self):
        """Return the answers to the last message. Fails if the socket then answers no ping and stays open."""
        self.sent_count += 1
        witness = {"type": "pong", "ref": f"witness {self.sent_count}"}
        with suppress(ConnectionError):
            self.send_text(json.dumps({"action": "ping", "ref": witness["ref"]}))
        frames = []
        for frame in self.received():
            if frame == witness:
                self.is_settled = True
                break
            frames.append(frame)
        else:
            self.documented.check_close_code(getattr(self.close, "code", None))
        return [it for it in frames if it["type"] in ANSWERS and "resubscribe" not in it]


def _parsed(message):
    """Return the JSON object in a message; None if it is none."""
    try:
        found = json.loads(message.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(constant):
    raise ValueError(constant)


def _is_ref(ref):
    if isinstance(ref, str):
        return len(ref) <= 64
    return type(ref) is int and abs(ref) < 2**63


@pytest.fixture
def daphne(tmp_path):
    with Site(tmp_path) as site:
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
            "DAPHNE_PILLARBOX": json.dumps(
                {
                    "COMMAND_BYTES": LARGEST,
                    "COMMANDS_PER_SECOND": 100_000,
                    "MALFORMED_FRAMES": 100_000,
                }
            ),
        }
        site.start("daphne")
        yield site
        log = site.log("daphne")
        assert "Traceback" not in log
        assert (
            "pillarbox_action=" not in log
        )  # nor any other error that an operator would have to look at


@pytest.fixture
def dial(daphne, demo):
    """Return a function that returns an open socket: the last one, or a new one."""
    headers = {"Authorization": f"Token {Token.objects.create(user=demo).key}"}
    protocol, stack, last = Protocol(), ExitStack(), None

    def dial():
        nonlocal last
        if last is None or last.close is not None or not last.is_settled:
            stack.close()
            last = stack.enter_context(Fuzzed(daphne.daphne_port, headers))
            last.begin(protocol)
        return last

    with stack:
        yield dial


def test_each_text_has_its_answers(dial, ticket, project):
    """
    A command has one answer, or one for each entry, with its ref. A pong has none. The socket stays open.
    """
    subjects = [subject(ticket), collection(project), {"object_type": "me", "id": "me"}]

    @LAW
    @given(message=texts(subjects), cuts=st.lists(st.integers(0, LARGEST), max_size=3))
    @example(message=b'{"action":"pong"}', cuts=[])
    @example(message=b'{"action":"pong","ref":7}', cuts=[3])
    @example(message=b'{"action":"ping","ref":NaN}', cuts=[])
    @example(message=b"[" * LARGEST, cuts=[1])
    @example(message=b"[" * (LARGEST + 1), cuts=[])
    def check(message, cuts):
        client = dial()
        edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
        pieces = [message[a:b] for a, b in pairwise(edges)]
        client.send(Opcode.TEXT, pieces)
        answers = client.answers()
        if len(message) > LARGEST:
            assert ([], 1009) == (answers, client.close.code)
        elif not _is_utf8(message):
            assert ([], 1007) == (answers, client.close.code)
        else:
            assert client.close is None
            _check_answers(_parsed(message), answers)

    check()


def _is_utf8(message):
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_answers(sent, answers):
    """Fail unless these are correct answers to a JSON object, or to another message (``sent`` is None)."""
    if sent is None:
        assert ["malformed"] == [answer.get("code") for answer in answers]
    elif sent.get("action") == "pong" and not answers:
        assert set(sent) <= {"action", "ref"}
    elif answers and "index" in answers[0]:
        assert list(range(len(sent["subscriptions"]))) == [answer["index"] for answer in answers]
    else:
        (answer,) = answers
        assert answer["type"] in ("error", GRANTED.get(str(sent.get("action", "subscribe"))))
        # Nested so deeply that parsers differ on it.
        assert answer.get("code") != "malformed" or "[" * 300 in json.dumps(sent)
    ref = (sent or {}).get("ref")
    for answer in answers:
        if answer.get("code") != "malformed":
            assert ref == answer["ref"] if _is_ref(ref) else "ref" not in answer


def test_each_binary_is_refused(dial):
    """
    A binary frame is refused, whatever its contents.
    """

    @settings(LAW, max_examples=50)
    @given(message=st.binary(max_size=50) | st.just(b'{"action":"ping","ref":1}'))
    def check(message):
        client = dial()
        client.send(Opcode.BINARY, [message])
        assert ["malformed"] == [answer["code"] for answer in client.answers()]
        assert client.close is None

    check()


#: Bytes that the WebSocket protocol forbids, and the close code for each.
NOISE = {
    "a reserved opcode": (b"\x83\x80" + bytes(4), 1002),
    "a reserved bit": (b"\xc1\x80" + bytes(4), 1002),
    "no mask": (b"\x81\x02{}", 1002),
    "a ping in pieces": (b"\x09\x80" + bytes(4), 1002),
    "a long ping": (b"\x89\xfe\x00\x80" + bytes(4 + 128), 1002),
    "a continuation of nothing": (b"\x80\x80" + bytes(4), 1002),
    "two beginnings": (b"\x01\x80" + bytes(4) + b"\x01\x80" + bytes(4), 1002),
    "a length longer than need be": (b"\x81\xfe\x00\x01" + bytes(5), 1002),
    "a negative length": (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
    "a length without end": (b"\x81\xff\x00" + b"\xff" * 7 + bytes(4), 1009),
    "half a letter": (b"\x81\x81" + bytes(4) + b"\xc3", 1007),
}


def test_invalid_frames_end_the_socket(dial):
    """
    The server closes with a code of the WebSocket protocol, and sends no other frame.
    """
    codes = {}
    for name, (noise, _) in NOISE.items():
        client = dial()
        client.connection.sendall(noise)
        assert (name, []) == (name, list(client.received()))
        client.documented.check_close_code(client.close.code)
        codes[name] = client.close.code
    assert {name: code for name, (_, code) in NOISE.items()} == codes
