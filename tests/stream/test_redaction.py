"""Redaction: the texts about a row that operators see hold no secrets."""

import json

import pytest
from django.contrib.auth import hashers
from django.db import DEFAULT_DB_ALIAS, DatabaseError, ProgrammingError, connection, transaction

from pillarbox.capture.notification import Notification, capture
from pillarbox.stream.attempts import FailedAttempt, record
from pillarbox.stream.redaction import (
    REDACTED,
    UNREDACTABLE,
    mask,
    readable,
    without_quoted_rows,
    without_secrets,
    without_values,
)
from tests.rows import make

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
    settings.PILLARBOX = settings.PILLARBOX | {"REDACT": f"{__name__}.{hook.__name__}"}


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
    Values of secret keys are masked at any depth and of any type.
    """
    expected = [{"a": 1, key: REDACTED}]
    assert expected == mask("any", [{"a": 1, key: {"deeper": "x"}}])


@pytest.mark.parametrize("key", ["title", "pinned", "spin", "passenger", "key", "keyboard", "note"])
def test_other_values_are_shown(key):
    """
    Values of keys that only resemble secret ones are shown.
    """
    assert {key: "x"} == mask("any", {key: "x"})


def test_empty_values_are_shown():
    """
    An empty password is shown, because that helps operators.
    """
    assert {"password": "", "token": None} == mask("any", {"password": "", "token": None})


class TestReadable:
    def test_shows_the_rest(self):
        """
        By default only values of secret keys are masked.
        """
        expected = {"title": "Login", "login": {"password": REDACTED, "tries": 3}, "pin": REDACTED}
        assert expected == json.loads(readable("ticket", PAYLOAD))

    def test_a_hook_decides(self, settings):
        """
        The hook gets the object type, and may return anything.
        """
        use(settings, only_titles)
        assert '"ticket: Login"' == readable("ticket", PAYLOAD)

    @pytest.mark.parametrize("hook", [broken, unwritable])
    def test_a_broken_hook_shows_nothing(self, settings, hook):
        """
        If the hook raises, neither the payload nor its error is shown.
        """
        use(settings, hook)
        assert UNREDACTABLE == readable("ticket", PAYLOAD)

    def test_a_missing_hook_shows_nothing(self, settings):
        """
        With a wrong path nothing is shown.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REDACT": "nowhere.at_all"}
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
        Secrets are removed wherever they stand in the text.
        """
        shown = without_secrets(text, "ticket", json.dumps(PAYLOAD))
        assert REDACTED in shown
        assert "hunter2" not in shown
        assert "17" not in shown

    @pytest.mark.parametrize("secret", ['it\'s "quoted"', "line\nbreak", "Ünï©ode", "back\\slash"])
    @pytest.mark.parametrize("quoted", [str, repr, json.dumps])
    def test_however_they_are_quoted(self, secret, quoted):
        """
        Secrets are removed in plain, Python and JSON spelling.
        """
        payload = json.dumps({"token": secret})
        assert secret not in without_secrets(f"got {quoted(secret)}!", "ticket", payload)
        text = f"got {quoted(secret)}!"
        assert REDACTED in without_secrets(text, "ticket", payload)

    def test_short_ones_leave_other_words_alone(self):
        """
        A short secret such as 17 isn't removed inside other words.
        """
        text = without_secrets("line 1717: 17", "ticket", json.dumps(PAYLOAD))
        assert f"line 1717: {REDACTED}" == text

    def test_lists_are_compared_too(self, settings):
        """
        List items are compared by place; if the list itself was replaced, all its items are secret.
        """
        payload = json.dumps(
            {"users": [{"name": "kim", "token": "abcdef"}, {"name": "lee", "ok": True}]}
        )
        shown = without_secrets("kim abcdef lee", "ticket", payload)
        assert f"kim {REDACTED} lee" == shown

    def test_all_that_is_in_a_masked_value_is_secret(self):
        """
        All values inside a masked value are secret, at any depth.
        """
        payload = json.dumps({"token": ["abcdef", True, None, {"deeper": 12345678}]})
        shown = without_secrets("abcdef, 12345678, True", "ticket", payload)
        assert f"{REDACTED}, {REDACTED}, True" == shown

    def test_values_left_out_by_a_hook_are_secret(self, settings):
        """
        This also holds if the hook changes its argument.
        """
        use(settings, destructive)
        shown = without_secrets("hunter2-and-more, 3 tries", "ticket", json.dumps(PAYLOAD))
        assert f"{REDACTED}, {REDACTED} tries" == shown

    def test_a_broken_hook_shows_nothing(self, settings):
        """
        If the hook raises, the whole text is left out.
        """
        use(settings, broken)
        assert UNREDACTABLE == without_secrets("hunter2", "ticket", json.dumps(PAYLOAD))

    def test_without_a_loaded_payload_the_text_stays(self):
        """
        An error can't quote a payload that wasn't loaded.
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
    The message stays, without the values that it quotes.
    """
    assert expected == without_quoted_rows(text)


@pytest.mark.parametrize(
    "hasher",
    [
        hashers.PBKDF2PasswordHasher,
        hashers.PBKDF2SHA1PasswordHasher,
        hashers.ScryptPasswordHasher,
        hashers.MD5PasswordHasher,
    ],
)
def test_passwords_are_left_out(hasher):
    """
    An error that quotes a user has no password hash.
    """
    stored = hasher().encode("secret", "salt")
    assert f"ann has '{REDACTED}', and is there" == without_quoted_rows(
        f"ann has {stored!r}, and is there"
    )


def test_passwords_of_the_projects_own_hasher_are_left_out():
    """
    Django's guide wraps old hashes in new ones, under a name that a project chooses.
    """
    stored = hashers.PBKDF2PasswordHasher().encode("secret", "salt").replace("_", "_wrapped_md5_")
    assert f"ann has {REDACTED}" == without_quoted_rows(f"ann has {stored}")


@pytest.mark.django_db
class TestPostgresql:
    """PostgreSQL's real messages about refused payloads."""

    def test_of_broken_json(self):
        """
        PostgreSQL's error about broken JSON quotes the payload.
        """
        broken = Notification(
            stream="a:1", event="X", object_type="a", object_id="1", payload='{"x": s3cr3t}'
        )
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            capture(broken, using=DEFAULT_DB_ALIAS)
        assert "s3cr3t" in str(refused.value)
        assert "s3cr3t" not in without_quoted_rows(str(refused.value))

    def test_of_a_row_that_violates_a_constraint(self):
        """
        PostgreSQL's error about a constraint quotes the row.
        """
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            make(shard=99, payload={"x": "s3cr3t"})
        assert "s3cr3t" in str(refused.value)
        assert "s3cr3t" not in without_quoted_rows(str(refused.value))


@pytest.mark.django_db
def test_a_failed_attempt_keeps_no_secret():
    """
    Message and traceback are stored redacted, and the fingerprint is of the redacted message.
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
            quotable = json.dumps(each.payload)
            failures.append(FailedAttempt(each.pk, 0, error, "ticket", quotable))
    record(failures, using=DEFAULT_DB_ALIAS)
    for each in (row, other):
        each.refresh_from_db()
        assert f"{REDACTED} was not expected" == each.error_message
        assert "s3cr3t" not in each.error_traceback
        assert "ValueError" in each.error_traceback
    assert row.error_fingerprint == other.error_fingerprint


def test_an_error_about_a_name_keeps_its_first_line(db):
    """
    PostgreSQL names a missing column or table in its first line, and quotes the statement in others.
    """
    with pytest.raises(ProgrammingError) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT 'hunter2', missing")
    assert 'ProgrammingError: column "missing" does not exist' == without_values(caught.value)
