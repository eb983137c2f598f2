"""
The keeper's own process: it obeys its owner until that is gone, and then ends what the owner has left.

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

#: Programs that write their title over their environment. They are known by the folder they work in.
TITLED = {"nginx", "postgres", "redis-server"}
#: How long PostgreSQL may take to end its children, in seconds.
END_SECONDS = 10.0


class Keeping:
    """What an owner has: processes with its mark, and folders with servers."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.watched: list[Path] = []
        #: By folder: how to end what is in it.
        self.folders: dict[Path, ExitStack] = {}
        self.servers: dict[Path, Any] = {}

    def obey(self) -> None:
        """Obey orders, a line of JSON each, until the owner is gone. Then end everything."""
        with suppress(BrokenPipeError):  # the owner is gone before it has had its answer
            for line in sys.stdin:
                order, *words = json.loads(line)
                print(json.dumps(self._answer(order, *words)), flush=True)
        end_all(self.left)
        for stack in self.folders.values():
            stack.close()

    def _answer(self, order: str, *words: Any) -> dict[str, Any]:
        try:
            return {"value": getattr(self, order)(*words), "error": ""}
        except Exception as error:  # noqa: BLE001  # the owner decides what to do about it
            return {"value": None, "error": str(error)}

    # Orders

    def make_folder(self) -> str:
        """Return a new folder with a short path, which the servers' user may enter."""
        folder = Path(tempfile.mkdtemp(prefix="rig-"))
        stack = self.folders[folder] = ExitStack()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return str(folder)

    def serve(self, name: str, postgres: bool, redis: bool) -> None:
        """Start the servers of a folder that don't run yet."""
        # Most keepers never need them, and they take a while to import.
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
            forget_power_cuts(folder)

    def remove(self, name: str) -> None:
        """Stop the servers of a folder, and remove it if it is a temporary one."""
        self.servers.pop(Path(name), None)
        self.folders.pop(Path(name)).close()

    def watch(self, name: str) -> None:
        """Count servers that work in a folder among what is left."""
        self.watched.append(Path(name))

    # What is left

    def left(self) -> set[psutil.Process]:
        """Return the owner's processes, and their children."""
        found = {process for process in psutil.process_iter() if self._is_left(process)}
        for process in [*found]:
            with suppress(psutil.NoSuchProcess):
                found.update(process.children(recursive=True))
        return {process for process in found if not is_keeper(process)}

    def _is_left(self, process: psutil.Process) -> bool:
        is_left = False
        with suppress(psutil.Error, OSError):  # it is gone, or another user's
            is_left = self.mark in process.environ().get(MARK, "") or (
                process.name() in TITLED
                and any(Path(process.cwd()).is_relative_to(folder) for folder in self.watched)
            )
        return is_left


def is_keeper(process: psutil.Process) -> bool:
    """Whether a process is a keeper. It has an owner of its own, and ends after that."""
    words: list[str] = []
    with suppress(psutil.Error):
        words = process.cmdline()
    return "tests.rig.keeper" in words


def end_all(left: Any) -> None:
    """End processes until none is left."""
    begun = time.monotonic()
    while found := left():
        # PostgreSQL frees its shared memory if it may.
        is_late = time.monotonic() - begun > END_SECONDS
        for process in found:
            with suppress(psutil.Error):
                is_patient = process.name() == "postgres" and not is_late
                process.send_signal(signal.SIGQUIT if is_patient else signal.SIGKILL)
        time.sleep(0.05)


def forget_power_cuts(folder: Path) -> None:
    """Have PostgreSQL not wait for the disk: test data needn't survive a power cut."""
    import psycopg  # noqa: PLC0415

    from config.embedded import postgres_url  # noqa: PLC0415

    with psycopg.connect(postgres_url(folder), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    Keeping(sys.argv[1]).obey()
