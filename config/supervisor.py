"""A supervisor of the Procfile's processes: it restarts those that end, and stops them all."""

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from honcho.colour import get_colours
from honcho.printer import Message, Printer
from honcho.process import Process

#: A process that ends sooner than this is restarted after a delay, which grows each time.
STEADY_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 30.0


class SupervisedProcess:
    """A process of the Procfile: its current run, and when it may be started again."""

    def __init__(self, name: str, command: str, colour: str) -> None:
        self.name = name
        self.command = command
        self.colour = colour
        self.pid: int | None = None
        self.is_running = False
        self.deaths = 0
        self.started = 0.0
        self.due = 0.0

    def start(self, events: "queue.Queue[Any]", environment: Mapping[str, str]) -> None:
        """Start the process in its own session. Its output and its end arrive as events."""
        process = Process(self.command, name=self.name, colour=self.colour, env=dict(environment))
        threading.Thread(target=process.run, args=(events,), daemon=True).start()
        self.started, self.due, self.is_running = time.monotonic(), float("inf"), True

    def ended(self) -> float:
        """Note that the process ended; return the delay of its restart in seconds."""
        self.pid, self.is_running = None, False
        steady = time.monotonic() - self.started > STEADY_SECONDS
        self.deaths = 1 if steady else self.deaths + 1
        wait = 0.0 if self.deaths == 1 else min(LONGEST_WAIT_SECONDS, 2.0 ** (self.deaths - 2))
        self.due = time.monotonic() + wait
        return wait


class Supervisor:
    """The processes of a Procfile, until `stop` is called or SIGINT or SIGTERM arrives."""

    #: Time limit for the processes to end after SIGTERM.
    stop_seconds = 10.0

    def __init__(
        self,
        commands: Mapping[str, str],
        environment: Mapping[str, str],
        pid_file: Path,
        printer: Printer,
    ) -> None:
        colours = get_colours()
        self.processes = {
            name: SupervisedProcess(name, command, next(colours))
            for name, command in commands.items()
        }
        self.environment = environment
        self.pid_file = pid_file
        self.printer = printer
        printer.width = max(map(len, [*commands, "up"]))
        self._events: queue.Queue[Any] = queue.Queue()
        self._stopping = threading.Event()

    def say(self, sentence: str) -> None:
        """Print a message of the supervisor."""
        self.printer.write(
            Message(
                type="line", data=sentence, time=datetime.now().astimezone(), name="up", colour=None
            )
        )

    def stop(self) -> None:
        """Ask `run` to stop the processes and to return."""
        self._stopping.set()

    def run(self, each_second: Callable[[], None]) -> None:
        """Run the processes, and call ``each_second`` about every second. Returns when all have ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        checked = 0.0
        try:
            while not self._stopping.is_set():
                self._start_what_is_due()
                self._take_event(timeout=0.1)
                if time.monotonic() - checked >= 1.0:
                    checked = time.monotonic()
                    each_second()
        finally:
            self._stop_all()

    def end_leftovers(self) -> None:
        """Kill the processes that a killed earlier run left behind."""
        for name, pid, created in _read(self.pid_file):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created:
                    self.say(f"Ending {name} (process {pid}), left behind by an earlier run.")
                    family = [process, *process.children(recursive=True)]
                    os.killpg(pid, signal.SIGKILL)
                    _wait_for_end(family, self.stop_seconds)
        self.pid_file.unlink(missing_ok=True)

    def _start_what_is_due(self) -> None:
        for process in self.processes.values():
            if process.due <= time.monotonic():
                process.start(self._events, self.environment)

    def _take_event(self, timeout: float) -> None:
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return
        process = self.processes[event.name]
        if event.type == "line":
            self.printer.write(event)
        elif event.type == "start":
            process.pid = event.data["pid"]
            self._write_pids()
            if self._stopping.is_set():
                self._signal(os.kill, signal.SIGTERM)
        else:
            self._note_end(process, event.data["returncode"])

    def _note_end(self, process: SupervisedProcess, code: int) -> None:
        wait = process.ended()
        if self._stopping.is_set():
            return
        how = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        again = "starting it again" if not wait else f"starting it again in {wait:.0f} seconds"
        self.say(f"{process.name} {how}; {again}.")

    def _stop_all(self) -> None:
        self._stopping.set()
        self.say("Stopping.")
        self._signal(os.kill, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_seconds
        while any(process.is_running for process in self.processes.values()):
            self._take_event(timeout=0.1)
            if time.monotonic() > deadline:
                self._signal(os.killpg, signal.SIGKILL)
        self.pid_file.unlink(missing_ok=True)

    def _signal(self, send: Callable[[int, int], None], number: int) -> None:
        for process in self.processes.values():
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    send(process.pid, number)

    def _write_pids(self) -> None:
        running = [(p.name, p.pid) for p in self.processes.values() if p.pid is not None]
        records = []
        for name, pid in running:
            with suppress(psutil.NoSuchProcess):
                records.append((name, pid, psutil.Process(pid).create_time()))
        self.pid_file.write_text(json.dumps(records))


def _read(pid_file: Path) -> list[tuple[str, int, float]]:
    try:
        return [(name, pid, created) for name, pid, created in json.loads(pid_file.read_text())]
    except (OSError, ValueError):  # missing, or its writer was killed while writing
        return []


def _wait_for_end(family: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(_is_running, family)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_running(process: psutil.Process) -> bool:
    try:
        # The first thread of a process may be a zombie while others keep its sockets open.
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False
