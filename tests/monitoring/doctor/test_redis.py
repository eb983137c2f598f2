"""Tests of the doctor's checks of Redis servers: unreachable, old, full, or misconfigured ones."""

import re
import socketserver
import threading

import pytest

from pillarbox.monitoring.doctor import redis_servers
from tests.ports import free_port
from tests.redis_servers import needs_redis_server, redis_server

from .situations import found, one

pytestmark = pytest.mark.django_db(transaction=True)


class OldRedis(socketserver.BaseRequestHandler):
    """A server that claims to be Redis 5, in the year 2001."""

    ANSWERS = {
        b"INFO": b"$22\r\nredis_version:5.0.14\r\n\r\n",
        b"TIME": b"*2\r\n$10\r\n1000000000\r\n$1\r\n0\r\n",
        b"HELLO": b"%1\r\n+proto\r\n:3\r\n",
    }

    def handle(self):
        while asked := self.request.recv(65536):
            # Several commands may arrive at once; each gets its answer, in order.
            for word in re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", asked):
                self.request.sendall(self.ANSWERS.get(word, b"+OK\r\n"))


@pytest.fixture
def old_redis(settings):
    """Let the settings name a server that claims to be an old Redis."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever).start()
        settings.PILLARBOX = settings.PILLARBOX | {
            "REDIS_URL": f"redis://127.0.0.1:{served.server_address[1]}"
        }
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        yield
        served.shutdown()


class TestRedis:
    def test_sound(self):
        """
        No check finds anything at a sound Redis.
        """
        assert [] == found(redis_servers.are_reachable())
        assert [] == found(redis_servers.have_capacity())
        assert [] == found(redis_servers.clocks_agree())

    def test_each_host_is_checked(self, settings):
        """
        The wake-ups' Redis and each host of the layer are checked; behind Sentinel, the master.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://:word@one.example:7000/2"}
        hosts = ["rediss://two.example", {"host": "three.example"}, ("four.example", 7001)]
        hosts += [{"address": "unix:///run/five.sock"}, {"sentinels": [], "master_name": "six"}]
        settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": hosts}}}
        assert [
            "one.example:7000/2",
            "two.example",
            "three.example:6379",
            "four.example:7001",
            "/run/five.sock",
            "six, the master behind Sentinel",
        ] == list(redis_servers.servers())

    def test_none(self, settings):
        """
        Settings that name no Redis are no failure of these checks; the system checks report them.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
        del settings.CHANNEL_LAYERS
        for check in (
            redis_servers.are_reachable,
            redis_servers.have_capacity,
            redis_servers.clocks_agree,
        ):
            assert "nothing to check: the settings name no Redis" == check()

    def test_away(self, settings):
        """
        The finding names the unreachable host, without its password.
        """
        port = free_port()
        settings.PILLARBOX = settings.PILLARBOX | {
            "REDIS_URL": f"redis://:hidden@127.0.0.1:{port}/1"
        }
        finding = one(redis_servers.are_reachable())
        assert f"Redis at 127.0.0.1:{port}/1 can't be used: Error 111" in finding.what
        assert "hidden" not in finding.what + finding.cure

    def test_a_replica(self, server):
        """
        A Redis that can't be written is a finding.
        """
        server.replicaof("127.0.0.1", free_port())
        assert "read only replica" in one(redis_servers.are_reachable()).what

    def test_too_old(self, old_redis):
        """
        A version that the client doesn't support is a finding.
        """
        assert "is 5.0.14." in one(redis_servers.are_reachable()).what

    @needs_redis_server
    def test_a_cluster(self, settings, tmp_path):
        """
        A Redis Cluster is called by its name, instead of by an error about a slot.
        """
        port = free_port()
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": f"redis://127.0.0.1:{port}"}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        with redis_server(tmp_path, port, port=str(port), cluster_enabled="yes"):
            finding = one(redis_servers.are_reachable())
        assert f"Redis at 127.0.0.1:{port} is part of a Redis Cluster" in finding.what
        assert "no cluster" in finding.cure

    def test_clock(self, old_redis):
        """
        A clock that stands still is a finding.
        """
        assert "behind this host's" in one(redis_servers.clocks_agree()).what

    def test_eviction(self, server):
        """
        A Redis that may evict any key is a finding.
        """
        server.config_set("maxmemory", "1gb")
        server.config_set("maxmemory-policy", "allkeys-lru")
        assert "evicts any key for it: allkeys-lru." in one(redis_servers.have_capacity()).what

    def test_full(self, server):
        """
        A Redis that is nearly full is a finding.
        """
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.1))
        assert " MB of its " in one(redis_servers.have_capacity()).what

    def test_crowded(self, server):
        """
        A Redis that is nearly out of clients is a finding.
        """
        clients = server.info("clients")["connected_clients"]
        server.config_set("maxclients", clients + 1)
        finding = one(redis_servers.have_capacity())
        assert f" clients of {clients + 1}." in finding.what
