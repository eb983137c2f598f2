"""
The keeper's own process: it executes its owner's commands, and ends everything left once the owner is gone.

    python -m tests.rig.keeper MARK
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.rig.keeper import MARK

#: Programs that overwrite their environment, and the mark in it. They are known by their working folder.
TITLED = {"nginx", "postgres", "redis-server"}
#: How long PostgreSQL may take to shut down before it is killed, in seconds.
END_SECONDS = 10.0


class Keeping:
    """The possessions of an owner: processes with its mark, and folders with servers."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.watched: list[Path] = []
        #: By folder: the steps that stop its servers and remove it.
        self.folders: dict[Path, ExitStack] = {}
        self.servers: dict[Path, Any] = {}

    def execute_commands(self) -> None:
        """Execute commands, one line of JSON each, until the owner is gone. Then end everything."""
        with suppress(BrokenPipeError):  # the owner may end before it reads an answer
            for line in sys.stdin:
                name, *arguments = json.loads(line)
                print(json.dumps(self._answer(name, *arguments)), flush=True)
        end_all(self.left)
        for stack in self.folders.values():
            stack.close()

    def _answer(self, name: str, *arguments: Any) -> dict[str, Any]:
        try:
            return {"value": getattr(self, name)(*arguments), "error": ""}
        except Exception as error:  # noqa: BLE001  # the owner decides what to do about it
            return {"value": None, "error": str(error)}

    # Orders, which the owner calls by name

    def make_folder(self) -> str:
        """Return a new folder with a path short enough for sockets, which the servers' user may enter."""
        folder = Path(tempfile.mkdtemp(prefix="rig-"))
        stack = self.folders[folder] = ExitStack()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return str(folder)

    def serve(self, name: str, postgres: bool, redis: bool) -> None:
        """Start the servers of a folder, unless they run."""
        # Imported here because it takes a while and most keepers never start servers.
        from config.embedded import Servers  # noqa: PLC0415

        folder = Path(name)
        if folder in self.servers:
            self.servers[folder].start()
            return
        servers = Servers(folder, postgres=postgres, redis=redis)
        stack = self.folders.setdefault(folder, ExitStack())
        stack.enter_context(servers.owned())
        stack.callback(servers.stop)
        self.servers[folder] = servers
        servers.start()
        if postgres:
            turn_off_fsync(folder)

    def remove(self, name: str) -> None:
        """Stop the servers of a folder, and remove it if it is a temporary one."""
        self.servers.pop(Path(name), None)
        self.folders.pop(Path(name)).close()

    def watch(self, name: str) -> None:
        """Also end servers that run in a folder, even if another process has started them."""
        self.watched.append(Path(name))

    # The end

    def left(self) -> set[psutil.Process]:
        """Return the running processes of the owner, and their children."""
        found = {process for process in psutil.process_iter() if self._is_left(process)}
        for process in [*found]:
            with suppress(psutil.NoSuchProcess):
                found.update(process.children(recursive=True))
        return {process for process in found if not is_keeper(process)}

    def _is_left(self, process: psutil.Process) -> bool:
        is_left = False
        with suppress(psutil.Error, OSError):  # the process has ended, or belongs to another user
            is_left = self.mark in process.environ().get(MARK, "") or (
                process.name() in TITLED
                and any(Path(process.cwd()).is_relative_to(folder) for folder in self.watched)
            )
        return is_left


def is_keeper(process: psutil.Process) -> bool:
    """Whether a process is a keeper. It is left alone, since it ends after its own owner."""
    command: list[str] = []
    with suppress(psutil.Error):
        command = process.cmdline()
    return "tests.rig.keeper" in command


def end_all(left: Any) -> None:
    """Kill processes until none is left. PostgreSQL may shut down by itself for a while."""
    begun = time.monotonic()
    while found := left():
        # A PostgreSQL that is killed doesn't free its shared memory.
        is_late = time.monotonic() - begun > END_SECONDS
        for process in found:
            with suppress(psutil.Error):
                is_patient = process.name() == "postgres" and not is_late
                process.send_signal(signal.SIGQUIT if is_patient else signal.SIGKILL)
        time.sleep(0.05)


def turn_off_fsync(folder: Path) -> None:
    """Turn off fsync in PostgreSQL: test data needn't survive a power cut."""
    import psycopg  # noqa: PLC0415

    from config.embedded import postgres_url  # noqa: PLC0415

    with psycopg.connect(postgres_url(folder), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    Keeping(sys.argv[1]).execute_commands()
