"""PostgreSQL and Redis that can be killed, with processes that use them."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from ..embedded import EmbeddedServerError, Servers, postgres_url, redis_url
from .interrupts import undisturbed
from .processes import Processes, wait_until


class Site(Processes):
    """Processes and servers of their own, in a folder of their own. Nothing is left of them."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__(log_folder)
        # A short path, and no folder above it that the servers' user can't enter.
        self.data_dir = Path(tempfile.mkdtemp(prefix="verify-"))
        self.servers = Servers(self.data_dir)
        self.environment |= {
            "DATA_DIR": str(self.data_dir),
            "TMPDIR": str(self.data_dir),  # what is killed leaves something there
            "DATABASE_URL": postgres_url(self.data_dir),
            "REDIS_URL": redis_url(self.data_dir),
            "CELERY_BROKER_URL": "",
            "DJANGO_SETTINGS_MODULE": "config.verify.settings",
            # As in production, but for this machine only.
            "DEBUG": "0",
            "SECRET_KEY": secrets.token_hex(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "HOST": "127.0.0.1",
            # Not the running site's; and what is said is waited for.
            "METRICS_TOKEN": "",
            "WORKER_METRICS_PORT": "0",
            "LOG_FORMAT": "fields",
            "LOG_LEVEL": "INFO",
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._remove)
            with undisturbed():
                self.servers.start()
            self.manage("migrate", "-v0")
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with undisturbed(), ExitStack() as stack:
            stack.callback(self._remove)
            super().__exit__(*error)

    def _remove(self) -> None:
        with undisturbed(), ExitStack() as stack:
            stack.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
            self.servers.stop()

    # What is there

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to the database, each statement a transaction."""
        with psycopg.connect(postgres_url(self.data_dir), autocommit=True) as connection:
            yield connection

    def query(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Return what the database answers."""
        with self.connection() as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    # What is done to them

    def flush_redis(self) -> None:
        """Have Redis forget everything."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            client.flushall()

    def kill_redis(self) -> None:
        """End Redis, with all it held."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            kill_family(int(client.info("server")["process_id"]))

    def kill_postgres(self) -> None:
        """End PostgreSQL, each of its processes."""
        pid = (self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]
        kill_family(int(pid))

    def start_servers(self) -> None:
        """Start the servers that were killed."""
        wait_until(self._starts, "the servers start again")

    def _starts(self) -> bool:
        with suppress(EmbeddedServerError, psycopg.OperationalError):
            self.servers.start()
            self.query("SELECT 1")
            return True
        return False


def kill_family(pid: int) -> None:
    """End a process and its children; returns when they are dead."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: all(map(_is_dead, family)), f"{process} is dead")


def _is_dead(process: psutil.Process) -> bool:
    """Whether it runs no more, though its parent may not have heard of it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
