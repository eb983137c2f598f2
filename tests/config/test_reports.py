"""Django's report of an error shows no payload and no secret, also while debugging."""

import sys

import pytest
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from apps.outbox.payload import encode

#: It doesn't stand in the source, which the report shows, too.
SECRET = "2retnuh"[::-1]


class Unwritable:
    """What no payload can hold."""

    def tolist(self):
        mine = SECRET[:]
        raise RuntimeError(f"{len(mine)} letters are too many")


def fail():
    password, details = SECRET[:], {"api_key": SECRET, "colour": "green"}
    encode({"x": SECRET, "y": Unwritable(), "z": details["colour"]}, str(len(password)))


@pytest.mark.parametrize("debug", [True, False])
def test_variables_are_masked(settings, debug):
    """
    Those of our frames, and of what those call, all of them; those of others by their names and keys.
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
