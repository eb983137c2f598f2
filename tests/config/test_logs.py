"""A log line: a sentence, and the record's own fields."""

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


def test_fields_follow_the_sentence():
    """
    What came with ``extra`` is shown by name; what every record has is not.
    """
    record = logging.makeLogRecord({"msg": "Drained", "action": "drained", "published": 2})
    assert "Drained action=drained published=2" == FieldsFormatter("%(message)s").format(record)


def test_no_field_forges_a_line():
    """
    What a client writes into an address ends no line, and moves no terminal.
    """
    path = "/x\nERROR root: all is lost\x1b[2J\u2028é"
    record = logging.makeLogRecord({"msg": "Request", "path": path})
    shown = FieldsFormatter("%(message)s").format(record)
    assert "Request path=/x\\nERROR root: all is lost\\x1b[2J\\u2028é" == shown


def test_a_sentence_that_is_said_again_and_again_is_let_through_rarely():
    """
    An outage is a line a minute, other sentences are heard, and so is the next outage.
    """
    rarely = RarelyFilter(seconds=60)
    said = [
        rarely.filter(logging.makeLogRecord({"msg": sentence, "created": moment}))
        for sentence, moment in [("a %s", 0), ("a %s", 1), ("b", 2), ("a %s", 59), ("a %s", 60)]
    ]
    assert [True, False, True, False, True] == said


def test_json_is_one_object_to_a_line():
    """
    With the record's own fields; what has no JSON form is text.
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
    In one line like all the rest, so that no other line can be forged by it.
    """
    text = JsonFormatter().format(raised())
    assert "\n" not in text
    assert "in raised" in json.loads(text)["traceback"]


@pytest.mark.parametrize("formatter", [FieldsFormatter(), JsonFormatter()])
def test_no_secret_gets_into_a_line(formatter):
    """
    Neither a field with a telling name, nor the request's address, nor a row that PostgreSQL quotes.
    """
    record = raised()
    record.token, record.request = "hunter2", "GET /?password=hunter2"
    text = formatter.format(record)
    assert "hunter2" not in text
    assert "Failing row contains [redacted]" in text
    assert "Lost it" in text
