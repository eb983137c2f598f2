"""Tests of Django's error reports, which show no payloads or secrets, even in debug mode."""

import sys

import psycopg
import pytest
from django.db import DatabaseError
from django.test import RequestFactory
from django.views.debug import ExceptionReporter, get_exception_reporter_class

from pillarbox.types.payload import encode

#: Reversed, since the report shows the source, too.
SECRET = "2retnuh"[::-1]


class Unwritable:
    """A value that no payload can contain."""

    def tolist(self):
        mine = SECRET[:]
        raise RuntimeError(f"{len(mine)} letters are too many")


def fail():
    password, details = SECRET[:], {"api_key": SECRET, "colour": "green"}
    encode({"x": SECRET, "y": Unwritable(), "z": details["colour"]}, str(len(password)))


@pytest.mark.parametrize("debug", [True, False])
def test_variables_are_masked(settings, debug):
    """
    All variables of our frames and their callees are hidden; others by their names and keys.
    """
    settings.DEBUG = debug
    try:
        fail()
    except RuntimeError:
        reporter = ExceptionReporter(RequestFactory().get("/"), *sys.exc_info())
    frames = reporter.get_traceback_data()["frames"]
    shown = {frame["function"]: dict(frame["vars"]) for frame in frames}
    assert "green" in shown["fail"]["details"]
    assert "redacted" in shown["encode"]["o"]
    assert "redacted" in shown["tolist"]["mine"]
    assert SECRET not in reporter.get_traceback_html()


def refuse():
    try:
        raise psycopg.Error(f"refused\nDETAIL:  Failing row contains (1, {SECRET}).")
    except psycopg.Error as error:
        raise DatabaseError(*error.args) from error


def test_quoted_rows_are_redacted():
    """
    Rows that PostgreSQL quotes are redacted in the error and in its cause.
    """
    request = RequestFactory().get("/")
    try:
        refuse()
    except DatabaseError:
        reporter = get_exception_reporter_class(request)(request, *sys.exc_info())
    value = "refused\nDETAIL:  Failing row contains [redacted]"
    assert value == reporter.get_traceback_data()["exception_value"]
    for shown in (reporter.get_traceback_html(), reporter.get_traceback_text()):
        assert "Failing row contains [redacted]" in shown
        assert SECRET not in shown


def test_without_an_error():
    """
    A report without an error has no frames.
    """
    request = RequestFactory().get("/")
    reporter = get_exception_reporter_class(request)(request, None, None, None)
    assert [] == reporter.get_traceback_data()["frames"]
