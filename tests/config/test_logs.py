"""Tests of the formats of log records."""

import json
import logging
import sys

import pytest

from config.logs import FieldsFormatter, JsonFormatter, RarelyFilter


def raised():
    """Return the record of an exception in which PostgreSQL quotes a row."""
    try:
        raise ValueError("refused\nDETAIL:  Failing row contains (1, hunter2).")
    except ValueError:
        return logging.makeLogRecord(
            {"msg": "Lost %s", "args": ("it",), "exc_info": sys.exc_info()}
        )


def test_fields_follow_the_message():
    """
    Fields from ``extra`` follow the message; standard attributes don't.
    """
    record = logging.makeLogRecord({"msg": "Drained", "action": "drained", "published": 2})
    assert "Drained action=drained published=2" == FieldsFormatter("%(message)s").format(record)


def test_no_field_forges_a_line():
    """
    Control characters and line breaks in a field are escaped.
    """
    path = "/x\nERROR root: all is lost\x1b[2J\u2028é"
    record = logging.makeLogRecord({"msg": "Request", "path": path})
    shown = FieldsFormatter("%(message)s").format(record)
    assert "Request path=/x\\nERROR root: all is lost\\x1b[2J\\u2028é" == shown


def test_no_field_forges_a_field():
    """
    A value that looks like another field is quoted; other values aren't.
    """
    record = logging.makeLogRecord({"msg": "Request", "path": '/" status=200', "error": "a b=c"})
    record.method = "GET it"
    shown = FieldsFormatter("%(message)s").format(record)
    assert 'Request path="/\\" status=200" error="a b=c" method=GET it' == shown


def test_repeated_messages_pass_rarely():
    """
    A repeated message passes once a minute, also after the clock was set back; other messages pass.
    """
    rarely = RarelyFilter(seconds=60)
    said = [
        rarely.filter(logging.makeLogRecord({"msg": sentence, "created": moment}))
        for sentence, moment in [
            ("a %s", 0),
            ("a %s", 1),
            ("b", 2),
            ("a %s", 59),
            ("a %s", 60),
            ("a %s", -9),
        ]
    ]
    assert [True, False, True, False, True, True] == said


def test_json_is_one_object_to_a_line():
    """
    The JSON has the record's own fields; values without a JSON form become text.
    """
    record = logging.makeLogRecord(
        {"msg": "Drained %d", "args": (2,), "levelname": "INFO", "name": "workers", "created": 0.5}
    )
    record.action, record.what = "drained", {3}
    assert {
        "at": "1970-01-01T00:00:00.500+00:00",
        "level": "INFO",
        "logger": "workers",
        "message": "Drained 2",
        "action": "drained",
        "what": "{3}",
    } == json.loads(JsonFormatter().format(record))


def test_json_has_the_traceback():
    """
    The traceback is within the record's single line, so it can't forge another.
    """
    text = JsonFormatter().format(raised())
    assert "\n" not in text
    assert "in raised" in json.loads(text)["traceback"]


@pytest.mark.parametrize("formatter", [FieldsFormatter(), JsonFormatter()])
def test_secrets_are_redacted(formatter):
    """
    Secret fields, the request's address and rows quoted by PostgreSQL are redacted.
    """
    record = raised()
    record.token, record.request = "hunter2", "GET /?password=hunter2"
    text = formatter.format(record)
    assert "hunter2" not in text
    assert "Failing row contains [redacted]" in text
    assert "Lost it" in text
