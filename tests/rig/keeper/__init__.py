"""
The owner's end of a keeper: a process that ends everything its owner has started once the owner is gone.

The keeper reads commands from a pipe that only its owner holds open. The system closes the pipe however the
owner ends, by SIGKILL or `os._exit` too. The keeper knows the owner's processes by a mark in their
environment, which they inherit. So no process has to be started in a special way.
"""

import json
import os
import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE

#: The environment variable with the marks of all keepers above a process.
MARK = "KEPT_BY"
ROOT = Path(__file__).parents[3]


class KeeperError(Exception):
    """An error of the keeper. Its message is a sentence for the user."""


class Keeper:
    """The keeper of this process. ``measured`` lets its own coverage be measured if this process's is."""

    def __init__(self, *, measured: bool = False) -> None:
        mark = uuid.uuid4().hex
        # Without marks: an outer keeper would kill it before it has finished.
        # Without coverage: it ends after the results have been collected.
        left_out = (MARK,) if measured else (MARK, "COVERAGE_PROCESS_CONFIG")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, mark],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in left_out},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must reach only its owner
        )
        os.environ[MARK] = f"{os.environ.get(MARK, '')} {mark}".strip()

    def make_folder(self) -> Path:
        """Return a new temporary folder, which the keeper removes in the end."""
        return Path(self._ask("make_folder"))

    def serve(self, folder: Path, *, postgres: bool = True, redis: bool = True) -> None:
        """Start the servers of a folder that don't run yet. Raises KeeperError."""
        self._ask("serve", str(folder), postgres, redis)

    def remove(self, folder: Path) -> None:
        """Stop the servers of a temporary folder, and remove it."""
        self._ask("remove", str(folder))

    def watch(self, folder: Path) -> None:
        """Also end servers that run in this folder, even if another process has started them."""
        self._ask("watch", str(folder))

    def end(self) -> None:
        """End everything that is left, and wait until it is gone."""
        self._process.communicate(timeout=PATIENCE)

    def _ask(self, *command: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["error"]:
            raise KeeperError(answer["error"])
        return answer["value"]


@cache
def keeper() -> Keeper:
    """Return the keeper of this process."""
    return Keeper()
