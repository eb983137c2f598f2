"""Tests of ports: no two tests get the same one, in whichever processes they run."""

import socket

from tests import ports


def test_a_port_is_given_once(monkeypatch):
    """
    A port that was given before is not given again, even if no server listens on it yet.
    """
    first = ports.free_port()
    monkeypatch.setattr(ports, "PORTS", [first] * 1000 + [first + 1, first + 2])
    assert first != ports.free_port()


def test_a_port_in_use_is_not_given(monkeypatch):
    """
    A port on which any other program listens is not given.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        used, free = server.getsockname()[1], ports.free_port()
        assert ports.answers(used)
        monkeypatch.setattr(ports, "PORTS", [used] * 1000 + [free + 1])
        assert used != ports.free_port()
