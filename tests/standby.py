"""A standby: a second PostgreSQL server that follows the first one, until it is promoted."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from config.embedded import Servers, postgres_url
from tests.rig.keeper import keeper
from tests.rig.servers import kill_tree
from tests.waiting import wait_until

#: The lock file of the primary's socket, which a backup contains.
SOCKET_LOCK = ".s.PGSQL.5432.lock"


class Pair:
    """A primary and, once it is made, its standby, in two folders. Both are stopped at the end."""

    def __init__(self) -> None:
        folder = keeper().make_folder()  # whose path is short enough for sockets
        self.primary, self.standby = folder / "primary", folder / "standby"
        self.primary.mkdir()
        self.standby.mkdir()
        self._servers = [Servers(each, redis=False) for each in (self.primary, self.standby)]
        self._servers[0].start()
        hosts = (_host(self.primary), str(self.standby / "postgres"))
        #: The address of whichever server takes writes.
        self.url = f"postgresql://postgres@/postgres?host={','.join(hosts)}&target_session_attrs=read-write"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for servers in self._servers:
            with suppress(psutil.NoSuchProcess):  # it has just died
                servers.stop()

    def make_standby(self) -> None:
        """Copy the primary, and start the copy, which follows it."""
        data = self.standby / "postgres"
        data.mkdir(mode=0o700)
        owner = (self.primary / "postgres").owner()
        shutil.chown(data, owner)
        program = Path(f"/proc/{self._postmaster(self.primary)}/exe").resolve()
        options = ["--write-recovery-conf", "--checkpoint=fast", "--username=postgres"]
        subprocess.run(
            [program.with_name("pg_basebackup"), "-h", _host(self.primary), "-D", data, *options],
            user=owner if os.geteuid() == 0 else None,
            check=True,
            capture_output=True,
        )
        # If the folder's path is too long for a socket, it is elsewhere.
        (data / SOCKET_LOCK).unlink(missing_ok=True)
        self._servers[1].start()

    def wait_until_it_follows(self) -> None:
        """Wait until the standby has replayed what the primary has written so far."""
        (written,) = query(self.primary, "SELECT pg_current_wal_lsn()")
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
        wait_until(lambda: query(self.standby, replayed)[0], "the standby has replayed it")

    def cut(self) -> None:
        """Let the standby receive nothing more."""
        query(self.standby, "ALTER SYSTEM SET primary_conninfo = ''")
        query(self.standby, "SELECT pg_reload_conf()")
        receives = "SELECT count(*) FROM pg_stat_wal_receiver"
        wait_until(lambda: query(self.standby, receives)[0] == 0, "the standby receives nothing")

    def promote(self) -> None:
        """Make the standby a primary."""
        query(self.standby, "SELECT pg_promote()")

    def fence(self) -> None:
        """Make the primary read-only. It still answers."""
        query(self.primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        query(self.primary, "SELECT pg_reload_conf()")

    def kill_primary(self) -> None:
        """Kill all processes of the primary."""
        kill_tree(self._postmaster(self.primary))

    def _postmaster(self, folder: Path) -> int:
        return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


def query(folder: Path, statement: str) -> Any:
    """Return the first row of a query of one of the servers."""
    with psycopg.connect(postgres_url(folder), autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchone() if cursor.description else None


def _host(folder: Path) -> str:
    return str(conninfo_to_dict(postgres_url(folder))["host"])
