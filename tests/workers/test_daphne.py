"""Daphne as its clients and applications find it: a real process, with sockets that misbehave."""

import json
import urllib.request
from functools import partial

import pytest

from tests.processes import PATIENCE, Site, wait_until
from tests.workers.clients import BareSocket

COMMAND = (
    "exec python -m workers.daphne --bind 127.0.0.1 --port $DAPHNE_PORT"
    " tests.workers.obeying:application"
)


class Daphne:
    """A process with an application that treats its sockets as they say."""

    def __init__(self, site, **realtime):
        site.commands = {"daphne": COMMAND}
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
            "DAPHNE_REALTIME": json.dumps(realtime),
        }
        site.start("daphne")
        self.port, self.process = site.daphne_port, site.running["daphne"]

    def get(self, path, body=None):
        """Return what the application answers: to a socket's path, what that socket did."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_for(self, path, condition, what):
        """Return what a socket did, once it is as it should be."""

        def look():
            journal = self.get(path)
            return journal if condition(journal) else None

        return wait_until(look, what)

    def stalled(self, path):
        """Return what a socket did, once the application waits for the client."""
        return self.wait_for(path, lambda journal: journal["idle"] > 0.5, f"{path} stalls")


@pytest.fixture
def serve(tmp_path):
    """Start Daphne, with settings; nothing goes wrong in it that it would have to log."""
    with Site(tmp_path) as site:
        yield partial(Daphne, site)
        assert "Traceback" not in site.log("daphne")


class TestFrames:
    def test_may_be_longer_than_a_client_s(self, serve):
        """
        The limit of commands is the client's: the application sends what it likes.
        """
        daphne = serve(COMMAND_BYTES=1000)
        with BareSocket(daphne.port, "/long") as client:
            client.order("send", frames=2, size=300_000)
            assert [0, 1] == client.numbers(2)
