"""Processes with a PostgreSQL and a Redis of their own, which can be killed, too."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from config.embedded import postgres_url, redis_url
from tests.waiting import wait_until

from .interrupts import undisturbed
from .keeper import KeeperError, keeper
from .processes import Processes


class ServedProcesses(Processes):
    """Processes and servers in a temporary folder. All of them are removed at the end."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__(log_folder)
        with undisturbed():
            self.data_dir = keeper().make_folder()
        self.environment |= {
            "DATA_DIR": str(self.data_dir),
            "TMPDIR": str(self.data_dir),  # has leftovers of killed processes
            "DATABASE_URL": postgres_url(self.data_dir),
            "REDIS_URL": redis_url(self.data_dir),
            "CELERY_BROKER_URL": "",
            # As in production, but reachable from this machine only.
            "DEBUG": "0",
            "SECRET_KEY": secrets.token_hex(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "HOST": "127.0.0.1",
            # Independent of the surrounding environment. Tests wait for some log lines.
            "METRICS_TOKEN": "",
            "WORKER_METRICS_PORT": "0",
            "LOG_FORMAT": "fields",
            "LOG_LEVEL": "INFO",
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._remove)
            with undisturbed():
                keeper().serve(self.data_dir)
            self.manage("migrate", "-v0")
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with undisturbed(), ExitStack() as stack:
            stack.callback(self._remove)
            super().__exit__(*error)

    def _remove(self) -> None:
        with undisturbed():
            keeper().remove(self.data_dir)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection to the database, in autocommit mode."""
        with psycopg.connect(postgres_url(self.data_dir), autocommit=True) as connection:
            yield connection

    def query(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Execute a statement, and return the rows it finds."""
        with self.connection() as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def flush_redis(self) -> None:
        """Delete all keys in Redis."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            client.flushall()

    def kill_redis(self) -> None:
        """Kill Redis. Its data is lost."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            kill_tree(int(client.info("server")["process_id"]))

    def kill_postgres(self) -> None:
        """Kill all processes of PostgreSQL."""
        pid = (self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]
        kill_tree(int(pid))

    def start_servers(self) -> None:
        """Start the servers that don't run, and wait until they answer."""
        wait_until(self._starts, "the servers start again")

    def _starts(self) -> bool:
        with suppress(KeeperError, psycopg.OperationalError):
            keeper().serve(self.data_dir)
            self.query("SELECT 1")
            return True
        return False


def kill_tree(pid: int) -> None:
    """Kill a process and its children, and wait until they are dead."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: all(map(is_dead, family)), f"{process} is dead")


def is_dead(process: psutil.Process) -> bool:
    """Whether a process has ended, even if its parent hasn't waited for it yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
