"""What people read of a row has no secrets in it, whoever says it."""

import json

import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, transaction

from apps.outbox.attempts import retry
from apps.outbox.capture import INSERTED_ROWS, Notification, capture
from apps.outbox.redaction import (
    REDACTED,
    UNREDACTABLE,
    mask,
    readable,
    without_quoted_rows,
    without_secrets,
)
from tests.outbox.rows import make

PAYLOAD = {"title": "Login", "login": {"password": "hunter2-and-more", "tries": 3}, "pin": 17}


def broken(object_type, payload):
    raise KeyError(payload["login"]["password"])


def unwritable(object_type, payload):
    return {"what": object()}


def destructive(object_type, payload):
    del payload["login"]
    return payload


def only_titles(object_type, payload):
    return f"{object_type}: {payload['title']}"


def use(settings, hook):
    settings.OUTBOX = settings.OUTBOX | {"REDACT": f"{__name__}.{hook.__name__}"}


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PASSWORD", "user_passwd", "passphrase", "token", "refreshToken", "secret"),
        *("client_secret", "Authorization", "authorisation", "api_key", "apikey", "api-key"),
        *("private_key", "access_key", "session_id", "sessionkey", "cookie", "credentials"),
        *("signature", "card_number", "pin", "card_cvc", "iban", "otp-code"),
    ],
)
def test_values_under_such_keys_are_masked(key):
    """
    However deep they are, and whatever they are.
    """
    expected = [{"a": 1, key: REDACTED}]
    assert expected == mask("any", [{"a": 1, key: {"deeper": "x"}}])


@pytest.mark.parametrize("key", ["title", "pinned", "spin", "passenger", "key", "keyboard", "note"])
def test_other_values_are_shown(key):
    """
    What looks a little like it is none.
    """
    assert {key: "x"} == mask("any", {key: "x"})


def test_what_is_empty_is_shown():
    """
    That there is no password is something that helps.
    """
    assert {"password": "", "token": None} == mask("any", {"password": "", "token": None})


class TestReadable:
    def test_shows_the_rest(self):
        """
        By default what has a telling key is masked.
        """
        expected = {"title": "Login", "login": {"password": REDACTED, "tries": 3}, "pin": REDACTED}
        assert expected == json.loads(readable("ticket", PAYLOAD))

    def test_a_hook_decides(self, settings):
        """
        It is told the type, and may show something else altogether.
        """
        use(settings, only_titles)
        assert '"ticket: Login"' == readable("ticket", PAYLOAD)

    @pytest.mark.parametrize("hook", [broken, unwritable])
    def test_a_broken_hook_shows_nothing(self, settings, hook):
        """
        Neither the payload nor what the hook says of it.
        """
        use(settings, hook)
        assert UNREDACTABLE == readable("ticket", PAYLOAD)

    def test_a_hook_that_is_not_there_shows_nothing(self, settings):
        """
        A wrong path is no way to read secrets.
        """
        settings.OUTBOX = settings.OUTBOX | {"REDACT": "nowhere.at_all"}
        assert UNREDACTABLE == readable("ticket", PAYLOAD)


class TestWithoutSecrets:
    @pytest.mark.parametrize(
        "text",
        [
            "bad password hunter2-and-more",
            f"got {PAYLOAD}",
            f"got {json.dumps(PAYLOAD)}",
            "glued:xhunter2-and-morex",
            "pin 17 is wrong",
        ],
    )
    def test_values_are_taken_out(self, text):
        """
        Wherever they stand in the text.
        """
        shown = without_secrets(text, "ticket", json.dumps(PAYLOAD))
        assert REDACTED in shown
        assert "hunter2" not in shown
        assert "17" not in shown

    @pytest.mark.parametrize("secret", ['it\'s "quoted"', "line\nbreak", "Ünï©ode", "back\\slash"])
    @pytest.mark.parametrize("quoted", [str, repr, json.dumps])
    def test_however_they_are_quoted(self, secret, quoted):
        """
        As text, as Python shows it, and as JSON.
        """
        payload = json.dumps({"token": secret})
        assert secret not in without_secrets(f"got {quoted(secret)}!", "ticket", payload)
        text = f"got {quoted(secret)}!"
        assert REDACTED in without_secrets(text, "ticket", payload)

    def test_short_ones_leave_other_words_alone(self):
        """
        A PIN of 17 is not what a line number has in it.
        """
        text = without_secrets("line 1717: 17", "ticket", json.dumps(PAYLOAD))
        assert f"line 1717: {REDACTED}" == text

    def test_lists_are_compared_too(self, settings):
        """
        Of a list each value is looked at where it stands, and all of one that became another.
        """
        payload = json.dumps(
            {"users": [{"name": "kim", "token": "abcdef"}, {"name": "lee", "ok": True}]}
        )
        shown = without_secrets("kim abcdef lee", "ticket", payload)
        assert f"kim {REDACTED} lee" == shown

    def test_all_that_is_in_a_masked_value_is_secret(self):
        """
        However deep it is.
        """
        payload = json.dumps({"token": ["abcdef", True, None, {"deeper": 12345678}]})
        shown = without_secrets("abcdef, 12345678, True", "ticket", payload)
        assert f"{REDACTED}, {REDACTED}, True" == shown

    def test_what_a_hook_leaves_out_is_secret(self, settings):
        """
        Also if it takes it out of the very payload that it was given.
        """
        use(settings, destructive)
        shown = without_secrets("hunter2-and-more, 3 tries", "ticket", json.dumps(PAYLOAD))
        assert f"{REDACTED}, {REDACTED} tries" == shown

    def test_a_broken_hook_shows_nothing(self, settings):
        """
        The text may be about anything.
        """
        use(settings, broken)
        assert UNREDACTABLE == without_secrets("hunter2", "ticket", json.dumps(PAYLOAD))

    def test_a_payload_that_nobody_loaded_is_in_no_error(self):
        """
        Then the text is as it is.
        """
        assert "too large" == without_secrets("too large", "ticket", None)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (
            f"refused\nDETAIL:  Failing row contains {REDACTED}\n",
            'refused\nDETAIL:  Failing row contains (1, {"password": "x"}).\n',
        ),
        (
            f"bad\nCONTEXT:  COPY outbox, line 7, column payload: {REDACTED}",
            'bad\nCONTEXT:  COPY outbox, line 7, column payload: "{""password"": ..."',
        ),
    ],
)
def test_rows_that_postgresql_quotes_are_left_out(expected, text):
    """
    The sentence stays, what it quotes goes.
    """
    assert expected == without_quoted_rows(text)


@pytest.mark.django_db
class TestPostgresql:
    """What it really says of a payload that it refuses; ours never are."""

    @pytest.mark.parametrize("rows", [1, INSERTED_ROWS + 1], ids=["insert", "copy"])
    def test_of_broken_json(self, rows):
        """
        By whichever way it is written.
        """
        broken = Notification(
            stream="a:1", event="X", object_type="a", object_id="1", payload='{"x": s3cr3t}'
        )
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            capture([broken] * rows, using=DEFAULT_DB_ALIAS)
        assert "s3cr3t" in str(refused.value)
        assert "s3cr3t" not in without_quoted_rows(str(refused.value))

    def test_of_a_row_that_may_not_be(self):
        """
        A constraint names the row.
        """
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            make(shard=99, payload={"x": "s3cr3t"})
        assert "s3cr3t" in str(refused.value)
        assert "s3cr3t" not in without_quoted_rows(str(refused.value))


@pytest.mark.django_db
def test_a_failed_attempt_keeps_no_secret():
    """
    Neither message nor traceback of the stored error has it, and the fingerprint is of what is shown.
    """
    row, other = (
        make(offset, payload={"token": token})
        for offset, token in ((1, "s3cr3t-one"), (2, "two-s3cr3t"))
    )
    failures = []
    for each in (row, other):
        token = each.payload["token"]
        try:
            raise ValueError(token + " was not expected")
        except ValueError as error:
            failures.append((each.pk, 0, error, "ticket", json.dumps(each.payload)))
    retry(failures, using=DEFAULT_DB_ALIAS)
    for each in (row, other):
        each.refresh_from_db()
        assert f"{REDACTED} was not expected" == each.error_message
        assert "s3cr3t" not in each.error_traceback
        assert "ValueError" in each.error_traceback
    assert row.error_fingerprint == other.error_fingerprint
