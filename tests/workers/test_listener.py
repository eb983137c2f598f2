"""The worker's port: off by default, and this machine's alone unless there is a token."""

import socket
import threading
import urllib.error
import urllib.request

import pytest

from tests.metrics import series
from tests.ports import answers, free_port
from tests.waiting import PATIENCE, wait_until
from workers import listener
from workers.listener import listen

pytestmark = pytest.mark.django_db(transaction=True)


def read(port, path="/metrics", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return series(answer.read().decode())


@pytest.fixture
def port(settings):
    settings.WORKER_METRICS_PORT = free_port()
    return settings.WORKER_METRICS_PORT


def test_answers_who_is_on_this_machine(port):
    """
    With the metrics, and with nothing else.
    """
    listen()
    wait_until(lambda: answers(port), "it listens")
    assert 1 == read(port)["notifier_database_up"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(port, "/")


def test_with_a_token_asks_for_it(settings, port):
    """
    Then it is for other machines, too.
    """
    settings.METRICS_TOKEN = "a-token"
    listen()
    wait_until(lambda: answers(port), "it listens")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(port)
    assert 1 == read(port, Authorization="Bearer a-token")["notifier_database_up"]


def test_a_port_in_use_is_a_line_in_the_log(port, caplog, monkeypatch):
    """
    It is tried again: whoever has it may be about to end.
    """
    monkeypatch.setattr(listener, "AGAIN_SECONDS", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        listen()
        wait_until(lambda: "No metrics on port" in caplog.text, "it says so")
    wait_until(lambda: answers(port), "it has it")
    assert 1 == read(port)["notifier_database_up"]


def test_without_a_port_there_is_none(settings):
    """
    By default nobody listens.
    """
    settings.WORKER_METRICS_PORT = 0
    before = threading.active_count()
    listen()
    assert before == threading.active_count()
