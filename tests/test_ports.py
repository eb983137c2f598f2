"""No two tests get one port, in whichever processes they run."""

import socket

from tests import ports


def test_a_port_is_given_once(monkeypatch):
    """
    A port that was given before is not given again, though nothing listens on it yet.
    """
    first = ports.free_port()
    monkeypatch.setattr(ports, "PORTS", [first] * 1000 + [first + 1, first + 2])
    assert first != ports.free_port()


def test_a_port_in_use_is_not_given(monkeypatch):
    """
    Nor is one on which something listens that didn't ask.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        used, free = server.getsockname()[1], ports.free_port()
        assert ports.answers(used)
        monkeypatch.setattr(ports, "PORTS", [used] * 1000 + [free + 1])
        assert used != ports.free_port()
