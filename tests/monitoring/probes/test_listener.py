"""Tests of the worker's metrics port, which is off by default, and local without a token."""

import socket
import threading
import urllib.error
import urllib.request

import pytest

from pillarbox.monitoring.probes import listener
from pillarbox.monitoring.probes.listener import listen
from tests.metrics import series
from tests.ports import answers, free_port
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def read(port, path="/metrics", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return series(answer.read().decode())


@pytest.fixture
def port(settings):
    port = free_port()
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_PORT": port}
    return port


def test_serves_this_machine(port):
    """
    The port serves the metrics, and nothing else, to this machine.
    """
    listen()
    wait_until(lambda: answers(port), "it listens")
    assert 1 == read(port)["notifier_database_up"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(port, "/")


def test_requires_the_token(settings, port):
    """
    If a token is configured, it is required.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_TOKEN": "a-token"}
    listen()
    wait_until(lambda: answers(port), "it listens")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(port)
    assert 1 == read(port, Authorization="Bearer a-token")["notifier_database_up"]


def test_a_port_in_use_is_logged_and_tried_again(port, caplog, monkeypatch):
    """
    A port in use is logged and tried again.
    """
    monkeypatch.setattr(listener, "AGAIN_SECONDS", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        listen()
        wait_until(lambda: "Metrics can't be served on port" in caplog.text, "it says so")
    wait_until(lambda: answers(port), "it has it")
    assert 1 == read(port)["notifier_database_up"]


def test_is_off_by_default(settings):
    """
    By default no port is opened.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_PORT": 0}
    before = threading.active_count()
    listen()
    assert before == threading.active_count()
