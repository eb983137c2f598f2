"""What the doctor says of Redis, old, full, wrong, late or away."""

import re
import socketserver
import threading

import pytest

from tests.rig.processes import free_port
from workers.doctor import redis_servers

from .asking import found, one

pytestmark = pytest.mark.django_db(transaction=True)


class OldRedis(socketserver.BaseRequestHandler):
    """Says of itself that it is Redis 5, and that it is 2001."""

    ANSWERS = {
        b"INFO": b"$22\r\nredis_version:5.0.14\r\n\r\n",
        b"TIME": b"*2\r\n$10\r\n1000000000\r\n$1\r\n0\r\n",
        b"HELLO": b"%1\r\n+proto\r\n:3\r\n",
    }

    def handle(self):
        while asked := self.request.recv(65536):
            # One command after the other, as the client sends them; several may come at once.
            for word in re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", asked):
                self.request.sendall(self.ANSWERS.get(word, b"+OK\r\n"))


@pytest.fixture
def old_redis(settings):
    """The address of a Redis of long ago."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever).start()
        settings.REDIS_URL = f"redis://127.0.0.1:{served.server_address[1]}"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        yield
        served.shutdown()


class TestRedis:
    def test_sound(self):
        """
        As it is, nothing is found.
        """
        assert [] == found(redis_servers.are_there())
        assert [] == found(redis_servers.have_room())
        assert [] == found(redis_servers.agree_on_the_time())

    def test_each_host_is_asked(self, settings):
        """
        The bell's Redis, and each host of the layer, however it is written; those behind Sentinel not.
        """
        settings.REDIS_URL = "redis://:word@one.example:7000/2"
        hosts = ["rediss://two.example", {"host": "three.example"}, ("four.example", 7001)]
        hosts += [{"address": "unix:///run/five.sock"}, {"sentinels": [], "master_name": "six"}]
        settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": hosts}}}
        assert [
            "one.example:7000/2",
            "two.example",
            "three.example:6379",
            "four.example:7001",
            "/run/five.sock",
        ] == list(redis_servers.servers())

    def test_away(self, settings):
        """
        Each host that can't be reached is named, and no password.
        """
        port = free_port()
        settings.REDIS_URL = f"redis://:hidden@127.0.0.1:{port}/1"
        finding = one(redis_servers.are_there())
        assert f"Redis at 127.0.0.1:{port}/1 can't be used: Error 111" in finding.what
        assert "hidden" not in finding.what + finding.cure

    def test_a_replica(self, server):
        """
        A Redis that can't be written is none.
        """
        server.replicaof("127.0.0.1", free_port())
        assert "read only replica" in one(redis_servers.are_there()).what

    def test_too_old(self, old_redis):
        """
        A version that the client doesn't speak to is found.
        """
        assert "is 5.0.14." in one(redis_servers.are_there()).what

    def test_clock(self, old_redis):
        """
        A clock that stands still is found.
        """
        assert "behind this host's" in one(redis_servers.agree_on_the_time()).what

    def test_eviction(self, server):
        """
        A Redis that evicts any key is found.
        """
        server.config_set("maxmemory", "1gb")
        server.config_set("maxmemory-policy", "allkeys-lru")
        assert "evicts any key for it: allkeys-lru." in one(redis_servers.have_room()).what

    def test_full(self, server):
        """
        A Redis that is nearly full is found.
        """
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.1))
        assert " MB of its " in one(redis_servers.have_room()).what

    def test_crowded(self, server):
        """
        A Redis that soon lets nobody in is found.
        """
        clients = server.info("clients")["connected_clients"]
        server.config_set("maxclients", clients + 1)
        finding = one(redis_servers.have_room())
        assert f" clients of {clients + 1}." in finding.what
