"""Processes with a PostgreSQL and a Redis of their own, which can be killed."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from config.embedded import postgres_url, redis_url

from .interrupts import undisturbed
from .keeper import KeeperError, keeper
from .processes import Processes, wait_until


class ServedProcesses(Processes):
    """Processes and servers in a temporary folder of their own. Nothing is left of them."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__(log_folder)
        with undisturbed():
            self.data_dir = keeper().make_folder()
        self.environment |= {
            "DATA_DIR": str(self.data_dir),
            "TMPDIR": str(self.data_dir),  # a killed process leaves files there
            "DATABASE_URL": postgres_url(self.data_dir),
            "REDIS_URL": redis_url(self.data_dir),
            "CELERY_BROKER_URL": "",
            # As in production, but for this machine only.
            "DEBUG": "0",
            "SECRET_KEY": secrets.token_hex(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "HOST": "127.0.0.1",
            # Not the running site's. Some of what is logged is waited for.
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
        """A connection to the database, each statement a transaction."""
        with psycopg.connect(postgres_url(self.data_dir), autocommit=True) as connection:
            yield connection

    def query(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Return the database's answer."""
        with self.connection() as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def flush_redis(self) -> None:
        """Have Redis forget everything."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            client.flushall()

    def kill_redis(self) -> None:
        """Kill Redis, with all it held."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            kill_family(int(client.info("server")["process_id"]))

    def kill_postgres(self) -> None:
        """Kill PostgreSQL, each of its processes."""
        pid = (self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]
        kill_family(int(pid))

    def start_servers(self) -> None:
        """Start the servers that were killed."""
        wait_until(self._starts, "the servers start again")

    def _starts(self) -> bool:
        with suppress(KeeperError, psycopg.OperationalError):
            keeper().serve(self.data_dir)
            self.query("SELECT 1")
            return True
        return False


def kill_family(pid: int) -> None:
    """Kill a process and its children. Returns when they are dead."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: all(map(is_dead, family)), f"{process} is dead")


def is_dead(process: psutil.Process) -> bool:
    """Whether a process has ended, though its parent may not know yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
